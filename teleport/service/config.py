"""teleport.yaml, version 3: the upstream's names for what both have, and ours under `policies` and `admins`.

Unknown fields are errors with their place and the likely right name. Sections of services that are not built yet
are accepted as long as they are not enabled.
"""

import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from teleport.core.errors import BadInput, Invalid, Problem
from teleport.resources.faults import Fault, raise_faults
from teleport.resources.load import explain
from teleport.resources.node import CommandLabel
from teleport.resources.settings import AuthPreferenceSpec
from teleport.resources.values import Duration, Switch, Text, Texts
from teleport.resources.yaml_reader import read

__all__ = ["Address", "Config", "Roles", "defaults", "load_config"]

DEFAULT_DATA_DIR: Final = "/var/lib/teleport"
DEFAULT_PORT: Final = 3080
DEFAULT_AUTH_PORT: Final = 3025

Role = Literal["auth", "proxy", "node"]
Roles: Final[tuple[Role, ...]] = ("auth", "proxy", "node")


class Section(BaseModel):
    """Frozen; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Address:
    """A host and a port. The host is a name or an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @classmethod
    def parse(cls, text: str, default_port: int) -> "Address":
        """`HOST`, `HOST:PORT` or `[V6]:PORT`. Raises ValueError."""
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]\s]+))(?::([0-9]{1,5}))?", text)
        port = int(match[3]) if match and match[3] else default_port
        if match is None or not 0 <= port <= 65535:
            raise ValueError(f"{text!r} is not HOST:PORT")
        return cls(match[1] or match[2], port)


def _address(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("an address is HOST:PORT")
    Address.parse(value, 0)
    return value


AddressText = Annotated[str, BeforeValidator(_address)]


class Log(Section):
    output: Text = Field(default="stderr", description="stderr, stdout or a file")
    severity: Literal["DEBUG", "INFO", "WARN", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] | None = Field(default=None, description="text for people, json for programs")

    @field_validator("severity", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("format", mode="before")
    @classmethod
    def _either_form(cls, value: object) -> object:
        """The upstream writes `format: {output: json}`."""
        return value.get("output", "text") if isinstance(value, Mapping) else value


class JoinParams(Section):
    method: Literal["token"] = "token"
    token_name: Text


class Storage(Section):
    type: Literal["sqlite", "dir"] = Field(default="sqlite", description="where state is kept; dir means sqlite too")
    path: Text = ""


class Global(Section):
    """What holds for every service of the process."""

    nodename: Text = Field(default="", description="this host's name; by default the system's")
    data_dir: Text = Field(default=DEFAULT_DATA_DIR, description="where everything is kept")
    auth_token: Text = Field(default="", description="the older spelling of join_params; a file if it starts with /")
    join_params: JoinParams | None = None
    ca_pin: Texts = Field(default=(), description="pins of the cluster's host authority, as `tctl status` prints them")
    auth_server: AddressText | None = Field(default=None, description="HOST:PORT of the auth service")
    proxy_server: AddressText | None = Field(default=None, description="HOST:PORT of a proxy")
    log: Log = Field(default_factory=Log)
    diag_addr: AddressText | None = Field(default=None, description="HOST:PORT of /healthz, /readyz and /metrics")
    storage: Storage = Field(default_factory=Storage)
    shutdown_timeout: Duration = Field(default=30.0, description="how long sessions may go on after SIGTERM")
    staleness_limit: Duration = Field(default=60.0, description="age of the policy after which nobody new is admitted")


class AuthService(Section):
    enabled: Switch = True
    cluster_name: Text = Field(default="", description="fixed at the first start")
    listen_addr: AddressText | None = Field(default=None, description="a port of its own, 3025 without a proxy")
    public_addr: Texts = ()
    authentication: AuthPreferenceSpec | None = Field(default=None, description="as cluster_auth_preference")
    session_recording: Literal["node", "node-sync", "proxy", "proxy-sync", "off"] | None = Field(
        default=None, description="as session_recording_config.mode"
    )
    client_idle_timeout: Duration | None = None
    keep_alive_interval: Duration | None = None
    keep_alive_count_max: int | None = None
    disconnect_expired_cert: Switch | None = None
    audit_retention: Duration = Field(default=0.0, description="age at which audit files are deleted; never by default")
    tokens: Texts = Field(default=(), description="static tokens `roles:secret`; better are tokens that expire")

    @field_validator("session_recording", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value


class KeyPair(Section):
    key_file: Text
    cert_file: Text


class ProxyService(Section):
    enabled: Switch = True
    web_listen_addr: AddressText = Field(default=f"127.0.0.1:{DEFAULT_PORT}", description="the one TLS port")
    public_addr: Texts = Field(default=(), description="HOST:PORT under which people reach it")
    https_keypairs: tuple[KeyPair, ...] = Field(default=(), description="publicly trusted certificates for browsers")
    trusted_balancers: Texts = Field(
        default=(), description="networks whose PROXY headers are believed; none by default"
    )


class CommandEntry(Section):
    name: Text
    command: Texts = Field(min_length=1)
    period: Duration = 60.0


class SshService(Section):
    enabled: Switch = True
    labels: dict[str, Text] = Field(default_factory=dict, description="static labels of this host")
    commands: tuple[CommandEntry, ...] = Field(default=(), description="labels that commands print")

    def command_labels(self) -> dict[str, CommandLabel]:
        return {entry.name: CommandLabel(command=entry.command, period=entry.period) for entry in self.commands}


class Policies(Section):
    """Where the policy comes from."""

    dir: Text = Field(description="a folder of YAML")
    name: Text = Field(default="folder", description="the source's name, as ownership and the audit log show it")
    interval: Duration = Field(default=30.0, description="how often everything is compared anyway")


class AdminMapping(Section):
    """Who else may administer at the socket on the auth host."""

    uid: int | None = None
    user: Text = ""
    role: Text


class Config(Section):
    """A whole teleport.yaml."""

    version: Literal["v3"] = "v3"
    teleport: Global = Field(default_factory=Global)
    auth_service: AuthService = Field(default_factory=AuthService)
    proxy_service: ProxyService = Field(default_factory=ProxyService)
    ssh_service: SshService = Field(default_factory=SshService)
    policies: Policies | None = None
    admins: tuple[AdminMapping, ...] = ()
    app_service: dict[str, Any] | None = None
    db_service: dict[str, Any] | None = None
    kubernetes_service: dict[str, Any] | None = None
    windows_desktop_service: dict[str, Any] | None = None
    discovery_service: dict[str, Any] | None = None
    debug_service: dict[str, Any] | None = None
    demo: Switch = Field(default=False, description="serve SSH to the user that auth itself runs as; for trying out")

    @field_validator(
        "app_service",
        "db_service",
        "kubernetes_service",
        "windows_desktop_service",
        "discovery_service",
        "debug_service",
    )
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
        if not self.roles:
            yield Fault((), "no service is enabled")
        if self.teleport.auth_server and self.teleport.proxy_server:
            yield Fault(("teleport", "proxy_server"), "both auth_server and proxy_server are set", "keep one of them")
        remote = self.teleport.auth_server or self.teleport.proxy_server
        if "auth" not in self.roles and self.roles and not remote:
            yield Fault(("teleport",), "no auth service here and none named", "set proxy_server or auth_server")
        if "proxy" in self.roles and "auth" not in self.roles and not self.teleport.auth_server:
            yield Fault(("teleport",), "a proxy needs auth_server")

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
    def listen(self) -> Address:
        return Address.parse(self.proxy_service.web_listen_addr, DEFAULT_PORT)

    @property
    def token(self) -> str:
        """The join token, read from its file where the setting is a path. Raises BadInput."""
        text = self.teleport.join_params.token_name if self.teleport.join_params else self.teleport.auth_token
        if not text.startswith("/"):
            return text
        try:
            return Path(text).read_text().strip()
        except OSError as error:
            raise BadInput(f"the join token's file {text} cannot be read: {error.strerror}") from None

    def settings(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """The cluster settings that teleport.yaml gives: authentication, networking, recording."""
        auth = self.auth_service
        preference = auth.authentication.model_dump(exclude_unset=True) if auth.authentication else {}
        if auth.disconnect_expired_cert is not None:
            preference["disconnect_expired_cert"] = auth.disconnect_expired_cert
        network = {
            name: getattr(auth, name)
            for name in ("client_idle_timeout", "keep_alive_interval", "keep_alive_count_max")
            if getattr(auth, name) is not None
        }
        recording = {} if auth.session_recording is None else {"mode": auth.session_recording}
        return preference, network, recording


def defaults() -> Config:
    """What `teleport start` does without a file: every service, on loopback."""
    home = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local/share")) / "teleport"
    data_dir = DEFAULT_DATA_DIR if os.geteuid() == 0 else str(home)
    return Config(teleport=Global(data_dir=data_dir))


def load_config(path: Path) -> Config:
    """Read and check a file. Raises Invalid with every fault and its place."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    documents, problems = read(data, file=str(path))
    if len(documents) > 1:
        problems.append(
            Problem(str(path), documents[1].marks.line, 1, "more than one document", "teleport.yaml is one")
        )
    if not documents and not problems:
        problems.append(Problem(str(path), 1, 1, "empty", "see `teleport configure`"))
    if documents:
        problems += documents[0].problems
    if problems:
        raise Invalid(problems)
    return _validated(documents[0].value, documents[0].marks, path)


def _validated(value: Any, marks: Any, path: Path) -> Config:
    if not isinstance(value, dict):
        raise Invalid([Problem(str(path), 1, 1, "teleport.yaml is a mapping", "see `teleport configure`")])
    try:
        return Config.model_validate(value)
    except ValidationError as error:
        raise Invalid(explain(Config, error, marks, file=str(path))) from None
