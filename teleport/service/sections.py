"""The sections of teleport.yaml: fields, types, defaults, and one line about each for the reference and the example.

Names are the upstream's where both have the thing. Nothing here knows what the services make of it.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.kinds import KINDS
from teleport.resources.node import CommandLabel, host_name_faults
from teleport.resources.settings import AuthPreferenceSpec, TunnelStrategy
from teleport.resources.values import Duration, Switch, Text, Texts, Vocabulary, duration_text
from teleport.service.address import DEFAULT_PORT, AddressText
from teleport.service.ignored import Ignored
from teleport.service.tokens import token_faults

__all__ = [
    "AdminMapping", "AuthSection", "Global", "JoinParams", "KeyPair", "Log", "ProxySection",
    "Section", "SshSection", "Storage",
]  # fmt: skip

DEFAULT_DATA_DIR: Final = "/var/lib/teleport"

_CLUSTER: Final = re.compile(r"(?=.{1,200}\Z)[a-zA-Z0-9]+([.-][a-zA-Z0-9]+)*")
_MODERN: Final = "a fixed set of modern algorithms is offered"
_ONE_PORT: Final = "everything is served on web_listen_addr"
_ONE_NAME: Final = "everything is reached under public_addr"
_NO_PORT: Final = "agents open no port; they are reached through the proxy"


class Section(BaseModel):
    """Frozen; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _unsupported(value: object, why: str) -> object:
    if value:
        raise_faults([Fault((), why, "remove it")])
    return value


class Log(Section):
    output: Text = Field(default="stderr", description="stderr, stdout, or a file; SIGHUP opens it anew")
    severity: Literal["DEBUG", "INFO", "WARN", "WARNING", "ERROR"] = Field(
        default="INFO", description="the least that is logged"
    )
    format: Literal["text", "json"] = Field(default="text", description="text for people, json for programs")

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
    method: Literal["token"] = Field(default="token", description="how this host proves that it may join")
    token_name: Text = Field(
        description="the token, or a file that holds it (starting with /)", examples=["/run/token"]
    )


class Storage(Section):
    type: Literal["sqlite", "dir"] = Field(default="sqlite", description="where state is kept; dir means sqlite too")
    path: Annotated[Any, Ignored("the store is a file in data_dir")] = None
    audit_events_uri: Any = Field(default=None, description="not supported yet: the audit log is kept in data_dir")
    audit_sessions_uri: Any = Field(default=None, description="not supported yet: recordings are kept in data_dir")

    @field_validator("audit_events_uri", "audit_sessions_uri")
    @classmethod
    def _here(cls, value: object) -> object:
        return _unsupported(value, "the audit log is kept in data_dir; other places are not supported yet")


class Global(Section):
    """What holds for every service of the process."""

    nodename: Text = Field(default="", description="this host's name; by default the system's", examples=["db-1"])
    data_dir: Text = Field(default=DEFAULT_DATA_DIR, description="where everything is kept, one process a directory")
    proxy_server: AddressText | None = Field(
        default=None, description="join the cluster through this proxy", examples=["teleport.example.com:443"]
    )
    auth_server: AddressText | None = Field(
        default=None, description="join through the auth service itself; proxies do", examples=["auth.example.com:3025"]
    )
    join_params: JoinParams | None = Field(default=None, description="what this host shows to join, the first time")
    auth_token: Text = Field(
        default="", description="the older spelling of join_params.token_name", examples=["/run/token"]
    )
    ca_pin: Texts = Field(
        default=(), description="pins of the cluster to join, as `tctl status` prints them, or files that hold one",
        examples=[["sha256:7e12c17c20d9cb504bbcb3f0236be3f446861f1396dcbb44425fe28ec1c108f1"]],
    )  # fmt: skip
    log: Log = Field(default_factory=Log, description="what is logged, where and how")
    diag_addr: AddressText | None = Field(
        default=None, description="serve /healthz, /readyz and /metrics here, without TLS", examples=["127.0.0.1:3000"]
    )
    shutdown_timeout: Duration = Field(default=30.0, description="how long sessions may go on after SIGTERM")
    staleness_limit: Duration = Field(default=60.0, description="age of the policy after which nobody is admitted")
    storage: Storage = Field(default_factory=Storage, description="the store of the auth service")
    connection_limits: Annotated[Any, Ignored("limits are fixed, and a role's max_connections")] = None
    cache: Annotated[Any, Ignored("services always keep the policy in memory")] = None
    ciphers: Annotated[Any, Ignored(_MODERN)] = None
    kex_algos: Annotated[Any, Ignored(_MODERN)] = None
    mac_algos: Annotated[Any, Ignored(_MODERN)] = None
    ciphersuites: Annotated[Any, Ignored(_MODERN)] = None
    advertise_ip: Annotated[Any, Ignored(_NO_PORT)] = None
    pid_file: Annotated[Any, Ignored("the process id is in the file `lock` of data_dir")] = None

    @field_validator("nodename")
    @classmethod
    def _host_name(cls, name: str) -> str:
        raise_faults(host_name_faults(name, ()))
        return name


class AuthSection(Section):
    """The auth service: authorities, policy, audit log."""

    enabled: Switch = Field(default=True, description="whether this process runs it")
    cluster_name: Text = Field(
        default="", description="the cluster's name, for ever; by default that of the host", examples=["example.com"]
    )
    listen_addr: AddressText | None = Field(
        default=None, description="its port (127.0.0.1:3025) where no proxy runs beside it; with one they share",
        examples=["0.0.0.0:3025"],
    )  # fmt: skip
    tokens: Texts = Field(
        default=(), description="tokens that never expire, ROLES:SECRET or ROLES:FILE; see also tctl tokens",
        examples=[["node:/etc/teleport/node-token"]],
    )  # fmt: skip
    authentication: AuthPreferenceSpec | None = Field(
        default=None,
        description="how people log in: the fields of cluster_auth_preference",
        examples=[{"second_factors": ["otp"], "default_session_ttl": "12h"}],
    )
    session_recording: Literal["node", "node-sync", "proxy", "proxy-sync", "off"] | None = Field(
        default=None, description="where sessions are recorded: the mode of session_recording_config (node)"
    )
    proxy_checks_host_keys: Switch | None = Field(
        default=None, description="whether a proxy that records verifies host keys (yes)", examples=[True]
    )
    disconnect_expired_cert: Switch | None = Field(default=None, description="end sessions with their certificate (no)")
    message_of_the_day: Text | None = Field(default=None, description="shown at login", examples=["Be kind."])
    client_idle_timeout: Duration | None = Field(default=None, description="disconnect silent sessions (never)")
    client_idle_timeout_message: Text | None = Field(
        default=None, description="what they read then", examples=["You were away for too long."]
    )
    web_idle_timeout: Duration | None = Field(
        default=None, description="log out of the web after silence (10m)", examples=["10m"]
    )
    keep_alive_interval: Duration | None = Field(
        default=None, description="how often a silent peer is asked for a sign of life (5m)", examples=["5m"]
    )
    keep_alive_count_max: int | None = Field(
        default=None, ge=1, description="how often it may stay silent (3)", examples=[3]
    )
    session_control_timeout: Duration | None = Field(
        default=None, description="as in cluster_networking_config (2m)", examples=["2m"]
    )
    proxy_ping_interval: Duration | None = Field(
        default=None, description="as in cluster_networking_config (30s)", examples=["30s"]
    )
    ssh_dial_timeout: Duration | None = Field(
        default=None, description="how long a host may take to answer (30s)", examples=["30s"]
    )
    routing_strategy: Literal["unambiguous_match", "most_recent"] | None = Field(
        default=None, description="which host is meant when several have one name (unambiguous_match)"
    )
    case_insensitive_routing: Switch | None = Field(default=None, description="whether DB-1 and db-1 are one host (no)")
    proxy_listener_mode: Literal["separate", "multiplex"] | None = Field(
        default=None,
        description="as in cluster_networking_config; there is one port in any case",
        examples=["multiplex"],
    )
    tunnel_strategy: TunnelStrategy | None = Field(
        default=None, description="as in cluster_networking_config", examples=[{"type": "agent_mesh"}]
    )
    audit_retention: Duration = Field(default=0.0, description="age at which audit files are deleted; never by default")
    closed_kinds: Annotated[Texts, Vocabulary("kind", tuple(KINDS))] = Field(
        default=(), description="kinds that tctl and the API may not write, so that only a source of policy can",
        examples=[["role", "user"]],
    )  # fmt: skip
    public_addr: Annotated[Any, Ignored("services know it by its certificate, whatever the address")] = None
    proxy_protocol: Annotated[Any, Ignored("see proxy_service.trusted_balancers")] = None
    license_file: Annotated[Any, Ignored("there is no licence to check")] = None
    access_monitoring: Annotated[Any, Ignored("not supported yet")] = None
    ca_key_params: Any = Field(default=None, description="not supported yet: keys are sealed in the store")

    @field_validator("session_recording", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value

    @field_validator("cluster_name")
    @classmethod
    def _name(cls, name: str) -> str:
        if name and _CLUSTER.fullmatch(name) is None:
            raise_faults([Fault((), f"{name} is no name for a cluster", "letters, digits, - and . as in a domain")])
        return name

    @field_validator("ca_key_params")
    @classmethod
    def _in_software(cls, value: object) -> object:
        return _unsupported(value, "keys in hardware are not supported yet")

    @field_validator("tokens")
    @classmethod
    def _readable(cls, tokens: tuple[str, ...]) -> tuple[str, ...]:
        raise_faults(token_faults(tokens))
        return tokens


class KeyPair(Section):
    key_file: Text = Field(description="private key, PEM", examples=["/etc/teleport/web.key"])
    cert_file: Text = Field(description="certificate and its chain, PEM", examples=["/etc/teleport/web.pem"])


class ProxySection(Section):
    """The proxy: the one port that people and agents connect to."""

    enabled: Switch = Field(default=True, description="whether this process runs it")
    web_listen_addr: AddressText = Field(default=f"127.0.0.1:{DEFAULT_PORT}", description="the one TLS port")
    public_addr: Texts = Field(
        default=(), description="HOST:PORT under which people reach it; the first goes into links",
        examples=[["teleport.example.com:443"]],
    )  # fmt: skip
    tunnel_public_addr: AddressText | None = Field(
        default=None, description="where agents reach this very proxy, if public_addr is that of a balancer",
        examples=["proxy-1.example.com:3080"],
    )  # fmt: skip
    https_keypairs: tuple[KeyPair, ...] = Field(
        default=(), description="publicly trusted certificates for browsers; read again when the files change"
    )
    trusted_balancers: Texts = Field(
        default=(), description="networks whose PROXY headers are believed; none by default", examples=[["10.0.0.0/24"]]
    )
    https_keypairs_reload_interval: Duration = Field(default=0.0, description="accepted; changes are noticed at once")
    listen_addr: Annotated[Any, Ignored(_ONE_PORT)] = None
    tunnel_listen_addr: Annotated[Any, Ignored(_ONE_PORT)] = None
    kube_listen_addr: Annotated[Any, Ignored(_ONE_PORT)] = None
    mysql_listen_addr: Annotated[Any, Ignored(_ONE_PORT)] = None
    postgres_listen_addr: Annotated[Any, Ignored(_ONE_PORT)] = None
    mongo_listen_addr: Annotated[Any, Ignored(_ONE_PORT)] = None
    peer_listen_addr: Annotated[Any, Ignored("proxies do not talk to each other")] = None
    ssh_public_addr: Annotated[Any, Ignored(_ONE_NAME)] = None
    kube_public_addr: Annotated[Any, Ignored(_ONE_NAME)] = None
    mysql_public_addr: Annotated[Any, Ignored(_ONE_NAME)] = None
    postgres_public_addr: Annotated[Any, Ignored(_ONE_NAME)] = None
    mongo_public_addr: Annotated[Any, Ignored(_ONE_NAME)] = None
    peer_public_addr: Annotated[Any, Ignored("proxies do not talk to each other")] = None
    acme: Annotated[Any, Ignored("no certificate is obtained; name one in https_keypairs")] = None
    trust_x_forwarded_for: Annotated[Any, Ignored("addresses come from PROXY headers; see trusted_balancers")] = None
    proxy_protocol: Annotated[Any, Ignored("see trusted_balancers")] = None
    ui: Annotated[Any, Ignored("not supported yet")] = None

    @field_validator("trusted_balancers")
    @classmethod
    def _networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        faults = []
        for index, text in enumerate(texts):
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                faults.append(Fault((index,), f"{error}", "a network is written 10.0.0.0/24"))
        raise_faults(faults)
        return texts

    @property
    def balancers(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        return tuple(ipaddress.ip_network(text) for text in self.trusted_balancers)


class CommandEntry(Section):
    name: Text = Field(description="the label", examples=["arch"])
    command: Texts = Field(min_length=1, description="program and arguments; no shell", examples=[["uname", "-m"]])
    period: Duration = Field(default=60.0, description="how often it runs")


class Unbuilt(Section):
    """Something of a host that is not built yet; whoever switches it on would miss it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    enabled: Switch = Field(default=False, description="not supported yet: only no")

    @field_validator("enabled")
    @classmethod
    def _not_yet(cls, enabled: bool) -> bool:
        if enabled:
            raise_faults([Fault((), "this is not supported yet", "set enabled: no")])
        return enabled


class SshSection(Section):
    """The SSH agent: guards this host."""

    enabled: Switch = Field(default=True, description="whether this process runs it")
    labels: dict[str, Text] = Field(
        default_factory=dict,
        description="static labels of this host, which roles select by",
        examples=[{"env": "prod"}],
    )
    commands: tuple[CommandEntry, ...] = Field(default=(), description="labels whose values commands print")
    ssh_file_copy: Switch = Field(
        default=True,
        description="whether scp, SFTP and rsync may be used on this host; roles may only restrict further",
    )
    pam: Unbuilt | None = Field(default=None, description="only `enabled: no`: PAM is not supported yet")
    enhanced_recording: Unbuilt | None = Field(default=None, description="only `enabled: no`: not supported yet")
    listen_addr: Annotated[Any, Ignored(_NO_PORT)] = None
    public_addr: Annotated[Any, Ignored(_NO_PORT)] = None
    force_listen: Annotated[Any, Ignored(_NO_PORT)] = None
    permit_user_env: Annotated[Any, Ignored("~/.tsh/environment is never read")] = None
    x11: Annotated[Any, Ignored("the roles decide: permit_x11_forwarding")] = None
    port_forwarding: Annotated[Any, Ignored("the roles decide: ssh_port_forwarding")] = None
    disable_create_host_user: Switch = Field(default=True, description="accepted; no host users are created")

    def command_labels(self) -> dict[str, CommandLabel]:
        return {entry.name: _label(entry) for entry in self.commands}


def _label(entry: CommandEntry) -> CommandLabel:
    return CommandLabel(command=entry.command, period=duration_text(entry.period))


class AdminMapping(Section):
    """Who else may administer at the socket on the auth host, besides root and the service's own user."""

    uid: int | None = Field(default=None, description="the operating system's user id", examples=[1000])
    user: Text = Field(default="", description="or the user's name", examples=["ops"])
    role: Text = Field(description="the role whose admin rules apply", examples=["editor"])

    @model_validator(mode="after")
    def _somebody(self) -> "AdminMapping":
        if self.uid is None and not self.user:
            raise_faults([Fault((), "neither uid nor user", "say who may administer")])
        return self
