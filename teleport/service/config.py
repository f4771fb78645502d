"""teleport.yaml, version 3: the upstream's names for what both have, and ours under `policies`, `admins` and `demo`.

Unknown fields are errors with their place and the likely right name. Sections of services that are not built yet
are accepted as long as they are not enabled.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from teleport.core.errors import BadInput, Invalid, Problem
from teleport.resources.faults import Fault, raise_faults
from teleport.resources.load import explain
from teleport.resources.values import Switch
from teleport.resources.yaml_reader import Marks, read
from teleport.service.address import DEFAULT_AUTH_PORT, DEFAULT_PORT, Address
from teleport.service.ignored import Ignored, without_effect
from teleport.service.policies import Policies
from teleport.service.sections import (
    DEFAULT_DATA_DIR,
    AdminMapping,
    AuthSection,
    Global,
    ProxySection,
    Section,
    SshSection,
)

__all__ = ["SECTIONS", "Config", "Role", "Roles", "checked", "defaults", "load_config", "own_data_dir"]

Role = Literal["auth", "proxy", "node"]
Roles: Final[tuple[Role, ...]] = ("auth", "proxy", "node")
SECTIONS: Final[Mapping[Role, str]] = {"auth": "auth_service", "proxy": "proxy_service", "node": "ssh_service"}

_PREFERENCE: Final = ("disconnect_expired_cert", "message_of_the_day")
_NETWORKING: Final = (
    "client_idle_timeout", "client_idle_timeout_message", "web_idle_timeout", "keep_alive_interval",
    "keep_alive_count_max", "session_control_timeout", "proxy_ping_interval", "ssh_dial_timeout", "routing_strategy",
    "case_insensitive_routing", "proxy_listener_mode", "tunnel_strategy",
)  # fmt: skip
_UNBUILT: Final = "not supported yet: only `enabled: no`"


class Config(Section):
    """A whole teleport.yaml."""

    version: Literal["v3"] = Field(default="v3", description="the version of this format")
    teleport: Global = Field(default_factory=Global, description="what holds for every service of the process")
    auth_service: AuthSection = Field(default_factory=AuthSection, description="authorities, policy, audit log")
    proxy_service: ProxySection = Field(default_factory=ProxySection, description="the port people connect to")
    ssh_service: SshSection = Field(default_factory=SshSection, description="the SSH agent of this host")
    policies: Policies | None = Field(default=None, description="where the cluster's policy comes from")
    admins: tuple[AdminMapping, ...] = Field(
        default=(), description="who may administer at the socket, besides root and the service's own user"
    )
    demo: Switch = Field(default=False, description="serve SSH to the user that auth itself runs as; for trying out")
    app_service: dict[str, Any] | None = Field(default=None, description=_UNBUILT)
    db_service: dict[str, Any] | None = Field(default=None, description=_UNBUILT)
    kubernetes_service: dict[str, Any] | None = Field(default=None, description=_UNBUILT)
    windows_desktop_service: dict[str, Any] | None = Field(default=None, description=_UNBUILT)
    discovery_service: dict[str, Any] | None = Field(default=None, description=_UNBUILT)
    okta_service: dict[str, Any] | None = Field(default=None, description=_UNBUILT)
    relay_service: dict[str, Any] | None = Field(default=None, description=_UNBUILT)
    debug_service: Annotated[Any, Ignored("see teleport.diag_addr")] = None

    @field_validator(
        "app_service", "db_service", "kubernetes_service", "windows_desktop_service", "discovery_service",
        "okta_service", "relay_service",
    )  # fmt: skip
    @classmethod
    def _not_yet(cls, section: dict[str, Any] | None) -> dict[str, Any] | None:
        if section is not None and str(section.get("enabled", False)).lower() not in ("no", "false", "off"):
            raise_faults([Fault(("enabled",), "this service is not supported yet", "set enabled: no")])
        return section

    @model_validator(mode="after")
    def _sensible(self) -> "Config":
        raise_faults(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        base, roles = self.teleport, self.roles
        if not roles:
            yield Fault((), "no service is enabled")
            return
        if base.auth_server and base.proxy_server:
            yield Fault(("teleport", "proxy_server"), "both auth_server and proxy_server are set", "keep one of them")
            return
        if "auth" not in roles and not base.auth_server and not base.proxy_server:
            yield Fault(
                ("teleport",), "no auth service here and none named", "set proxy_server: --proxy-server HOST:PORT"
            )
        elif "auth" not in roles and "proxy" in roles and not base.auth_server:
            yield Fault(
                ("teleport", "proxy_server"),
                "a proxy joins at the auth service itself",
                "set auth_server: --auth-server HOST:PORT",
            )
        elif "node" in roles and "proxy" not in roles and not base.proxy_server:
            hint = "set proxy_server: --proxy-server HOST:PORT"
            yield Fault(("teleport",), "an agent is reached through a proxy, and none is here or named", hint)

    @property
    def roles(self) -> tuple[Role, ...]:
        enabled = {
            "auth": self.auth_service.enabled, "proxy": self.proxy_service.enabled, "node": self.ssh_service.enabled,
        }  # fmt: skip
        return tuple(role for role in Roles if enabled[role])

    @property
    def data_dir(self) -> Path:
        return Path(self.teleport.data_dir)

    @property
    def nodename(self) -> str:
        return self.teleport.nodename or socket.gethostname()

    @property
    def listen(self) -> Address | None:
        """Where this process listens: the proxy's port, or the auth service's own; agents nowhere."""
        if "proxy" in self.roles:
            return Address.parse(self.proxy_service.web_listen_addr, DEFAULT_PORT)
        if "auth" in self.roles:
            return Address.parse(self.auth_service.listen_addr or "127.0.0.1", DEFAULT_AUTH_PORT)
        return None

    @property
    def remote(self) -> Address:
        """Where the cluster is, of a process without auth service."""
        base = self.teleport
        if base.auth_server:
            return Address.parse(base.auth_server, DEFAULT_AUTH_PORT)
        return Address.parse(base.proxy_server or "", DEFAULT_PORT)

    @property
    def token(self) -> str:
        """The join token, read from its file where the setting is a path. Raises BadInput."""
        base = self.teleport
        return _or_file(base.join_params.token_name if base.join_params else base.auth_token, "the join token's file")

    @property
    def pins(self) -> tuple[str, ...]:
        """The pins of the cluster to join. Raises BadInput where a file with one cannot be read."""
        return tuple(_or_file(text, "the pin's file") for text in self.teleport.ca_pin)

    def without_effect(self) -> tuple[tuple[str, str], ...]:
        """Fields that the file sets in vain, with the reason of each."""
        found = list(without_effect(self))
        if self.auth_service.listen_addr and {"auth", "proxy"} <= set(self.roles):
            found.append(("auth_service.listen_addr", "auth and proxy of one process share web_listen_addr"))
        return tuple(found)

    def settings(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """The cluster settings that teleport.yaml gives: authentication, networking, recording."""
        auth = self.auth_service
        preference = auth.authentication.model_dump(exclude_unset=True) if auth.authentication else {}
        preference |= _given(auth, _PREFERENCE)
        recording = _given(auth, ("proxy_checks_host_keys",))
        if auth.session_recording is not None:
            recording["mode"] = auth.session_recording
        return preference, _given(auth, _NETWORKING), recording


def _given(section: Section, names: tuple[str, ...]) -> dict[str, Any]:
    return section.model_dump(include={name for name in names if getattr(section, name) is not None}, exclude_none=True)


def _or_file(text: str, what: str) -> str:
    if not text.startswith("/"):
        return text
    try:
        return Path(text).read_text().strip()
    except OSError as error:
        raise BadInput(f"{what} {text} cannot be read: {error.strerror}") from None
    except ValueError:  # a path with a zero byte, a file that is no text
        raise BadInput(f"{what} {text!r} cannot be read: it is no text file") from None


def own_data_dir() -> str:
    """Where state is kept without a file: the system's place for root, the user's own otherwise."""
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    return DEFAULT_DATA_DIR if os.geteuid() == 0 else str(home / "teleport")


def defaults() -> Config:
    """What `teleport start` does without a file: every service, on loopback."""
    return Config(teleport=Global(data_dir=own_data_dir()))


def load_config(path: Path) -> Config:
    """Read and check a file. Raises Invalid with every fault and its place."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    return checked(data, file=str(path))


def checked(data: bytes, *, file: str) -> Config:
    """A configuration from its text. Raises Invalid with every fault and its place."""
    documents, problems = read(data, file=file)
    if len(documents) > 1:
        problems.append(Problem(file, documents[1].marks.line, 1, "more than one document", "teleport.yaml is one"))
    if not documents and not problems:
        problems.append(Problem(file, 1, 1, "empty", "see `teleport configure`"))
    if not documents:
        raise Invalid(problems)
    first = documents[0]
    config, found = _validated(first.value, first.marks, file)
    problems += [*first.problems, *found]
    if problems or config is None:
        raise Invalid(problems)
    return config


def _validated(value: Any, marks: Marks, file: str) -> tuple[Config | None, list[Problem]]:
    if not isinstance(value, dict):
        return None, [Problem(file, 1, 1, "teleport.yaml is a mapping", "see `teleport configure`")]
    try:
        return Config.model_validate(value), []
    except ValidationError as error:
        return None, explain(Config, error, marks, file=file)
