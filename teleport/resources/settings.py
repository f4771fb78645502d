"""The cluster's settings: one document each for authentication, session recording and networking."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Model, Resource, Spec
from teleport.resources.role_options import IdpOption, SessionMfa
from teleport.resources.values import Count, Duration, Spelling, Switch, Text, Texts, Vocabulary

__all__ = [
    "AuthPreference",
    "AuthPreferenceSpec",
    "NetworkingConfig",
    "NetworkingConfigSpec",
    "RecordingConfig",
    "RecordingConfigSpec",
]

SecondFactors = Annotated[Texts, Vocabulary("second factor", ("otp", "webauthn", "sso"))]


class Webauthn(Model):
    """Passkeys and security keys."""

    rp_id: Text = Field(default="", description="the domain that passkeys are bound to; it must never change")
    attestation_allowed_cas: Texts = Field(default=(), description="makers of keys that are accepted, in PEM")
    attestation_denied_cas: Texts = Field(default=(), description="makers of keys that are refused, in PEM")


class U2f(Model):
    """The predecessor of passkeys."""

    app_id: Text = Field(default="", description="the application that keys were registered for")
    facets: Texts = Field(default=(), description="accepted for the format; nothing reads it")
    device_attestation_cas: Texts = Field(default=(), description="makers of keys that are accepted, in PEM")


class DeviceTrust(Model):
    """Devices that are known to the cluster."""

    mode: Annotated[Literal["", "off", "optional", "required", "required-for-humans"], Spelling({False: "off"})] = (
        Field(default="", description="whether a session needs one; `off` if empty")
    )
    auto_enroll: Switch = Field(default=False, description="whether users may enrol known devices by themselves")
    ekcert_allowed_cas: Texts = Field(default=(), description="makers of TPMs that are accepted, in PEM")


class PinnedSerials(Model):
    """Which hardware keys a user may use."""

    enabled: Switch = Field(default=False, description="whether serial numbers are compared")
    serial_number_trait_name: Text = Field(default="", description="trait that holds a user's serial numbers")


class HardwareKey(Model):
    """Keys that live in a PIV device."""

    piv_slot: Text = Field(default="", description="slot of the device")
    pin_cache_ttl: Duration = Field(default=0.0, description="how long a PIN is remembered")
    serial_number_validation: PinnedSerials | None = Field(default=None, description="which devices a user may use")


class StableUnixUsers(Model):
    """One uid for a created host user on every host."""

    enabled: Switch = Field(default=False, description="whether uids are kept the same")
    first_uid: Count = Field(default=90000, description="first uid that may be given")
    last_uid: Count = Field(default=95000, description="last uid that may be given")


class OktaOptions(Model):
    """Synchronisation with Okta."""

    sync_period: Duration = Field(default=0.0, description="time between two synchronisations")


class AuthPreferenceSpec(Spec):
    """How people authenticate."""

    type: Literal["local", "github", "oidc", "saml"] = Field(
        default="local", description="how people log in by default"
    )
    second_factor: Annotated[
        Literal["", "off", "otp", "u2f", "webauthn", "on", "optional"], Spelling({True: "on", False: "off"})
    ] = Field(default="", description="the older spelling of second_factors")
    second_factors: SecondFactors = Field(default=(), description="second factors that are accepted")
    connector_name: Text = Field(default="", description="connector that is used by default")
    allow_local_auth: Switch = Field(default=True, description="whether local users may log in with a password")
    allow_passwordless: Switch = Field(default=True, description="whether a passkey alone is enough")
    allow_headless: Switch = Field(default=True, description="whether a login may be confirmed on another machine")
    require_session_mfa: SessionMfa = Field(default="no", description="a second factor for every session")
    webauthn: Webauthn | None = Field(default=None, description="passkeys and security keys")
    u2f: U2f | None = Field(default=None, description="the predecessor of passkeys")
    locking_mode: Literal["best_effort", "strict"] = Field(
        default="best_effort", description="whether live sessions end when locks can no longer be read (`strict`)"
    )
    disconnect_expired_cert: Switch = Field(default=False, description="end sessions when their certificate expires")
    default_session_ttl: Duration = Field(
        default=12 * 3600.0, description="life of a certificate when none is asked for"
    )
    device_trust: DeviceTrust | None = Field(default=None, description="devices that are known to the cluster")
    message_of_the_day: Text = Field(default="", description="shown at login")
    piv_slot: Text = Field(default="", description="the older spelling of hardware_key.piv_slot")
    hardware_key: HardwareKey | None = Field(default=None, description="keys that live in a PIV device")
    signature_algorithm_suite: Literal["", "legacy", "balanced-v1", "fips-v1", "hsm-v1"] = Field(
        default="", description="accepted for the format: keys are Ed25519 and ECDSA P-256"
    )
    idp: IdpOption | None = Field(default=None, description="the cluster as an identity provider")
    okta: OktaOptions | None = Field(default=None, description="synchronisation with Okta")
    stable_unix_user_config: StableUnixUsers | None = Field(
        default=None, description="one uid for a created host user on every host"
    )


class AuthPreference(Resource[AuthPreferenceSpec]):
    kind = "cluster_auth_preference"
    aliases = ("cap",)
    versions = ("v2",)
    singleton = "cluster-auth-preference"
    summary = "how people authenticate"
    example = """\
kind: cluster_auth_preference
version: v2
spec:
  second_factors: [otp]
  default_session_ttl: 8h
  message_of_the_day: Sessions are recorded.
"""

    spec: AuthPreferenceSpec = Field(default_factory=AuthPreferenceSpec, description="how people authenticate")


class KeyLabel(Model):
    """Where a key is found."""

    type: Text = Field(default="", description="kind of key store")
    label: Text = Field(default="", description="label of the key there")


class ManualKeys(Model):
    """Keys that others keep."""

    enabled: Switch = Field(default=False, description="whether keys are kept elsewhere")
    active_keys: tuple[KeyLabel, ...] = Field(default=(), description="keys in use")
    rotated_keys: tuple[KeyLabel, ...] = Field(default=(), description="keys of older recordings")


class RecordingEncryption(Model):
    """Encryption of recordings."""

    enabled: Switch = Field(default=False, description="only `no` as yet")
    manual_key_management: ManualKeys | None = Field(default=None, description="keys that others keep")


class RecordingConfigSpec(Spec):
    """How sessions are recorded."""

    mode: Annotated[Literal["node", "node-sync", "proxy", "proxy-sync", "off"], Spelling({False: "off"})] = Field(
        default="node", description="where sessions are recorded, and whether before anything is seen (`-sync`)"
    )
    proxy_checks_host_keys: Switch = Field(default=True, description="whether a recording proxy verifies host keys")
    exec_recording_limit: Count = Field(
        default=1 << 20, description="bytes recorded of a command without a terminal; the rest is counted and digested"
    )
    encryption: RecordingEncryption | None = Field(default=None, description="encryption of recordings")

    @model_validator(mode="after")
    def _built(self) -> "RecordingConfigSpec":
        if self.encryption is not None and self.encryption.enabled:
            raise_faults([Fault(("encryption", "enabled"), "encrypted recordings are not supported yet", "remove it")])
        return self


class RecordingConfig(Resource[RecordingConfigSpec]):
    kind = "session_recording_config"
    aliases = ("src",)
    versions = ("v2",)
    singleton = "session-recording-config"
    summary = "how sessions are recorded"
    example = """\
kind: session_recording_config
version: v2
spec:
  mode: node-sync
"""

    spec: RecordingConfigSpec = Field(default_factory=RecordingConfigSpec, description="how sessions are recorded")


class AgentMesh(Model):
    """Every agent connects to every proxy."""

    active: Switch = Field(default=True, description="accepted for the format; nothing reads it")


class ProxyPeering(Model):
    """Every agent connects to some proxies."""

    agent_connection_count: Count = Field(default=1, description="to how many")


class TunnelStrategy(Model):
    """To which proxies agents connect."""

    type: Literal["agent_mesh", "proxy_peering"] = Field(
        default="agent_mesh", description="to every proxy, or to some of them"
    )
    agent_connection_count: Count = Field(default=1, ge=1, description="to how many (`proxy_peering`)")
    agent_mesh: AgentMesh | None = Field(default=None, description="another spelling of `type: agent_mesh`")
    proxy_peering: ProxyPeering | None = Field(default=None, description="another spelling of `type: proxy_peering`")


class NetworkingConfigSpec(Spec):
    """Timeouts and routing."""

    client_idle_timeout: Duration = Field(
        default=0.0,
        description="disconnect sessions after this long a silence",
        json_schema_extra={"default": "never"},
    )
    client_idle_timeout_message: Text = Field(default="", description="the older spelling of idle_timeout_message")
    idle_timeout_message: Text = Field(default="", description="what is said before that")
    keep_alive_interval: Duration = Field(
        default=300.0, description="how often a silent peer is asked for a sign of life"
    )
    keep_alive_count_max: Count = Field(
        default=3, ge=1, description="unanswered questions before the connection is closed"
    )
    session_control_timeout: Duration = Field(
        default=120.0, description="how long a host may be out of touch before counted sessions end"
    )
    web_idle_timeout: Duration = Field(default=600.0, description="log out of the web after this long a silence")
    proxy_listener_mode: Annotated[Literal["separate", "multiplex"], Spelling({}, ("separate", "multiplex"))] = Field(
        default="multiplex", description="one port for everything, or several"
    )
    routing_strategy: Annotated[
        Literal["unambiguous_match", "most_recent"], Spelling({}, ("unambiguous_match", "most_recent"))
    ] = Field(default="unambiguous_match", description="which host is meant when several have one name")
    tunnel_strategy: TunnelStrategy | None = Field(default=None, description="to which proxies agents connect")
    proxy_ping_interval: Duration = Field(default=30.0, description="how often idle connections are kept alive")
    assist_command_execution_workers: int = Field(default=30, description="accepted for the format; nothing reads it")
    case_insensitive_routing: Switch = Field(default=False, description="whether case counts in host names")
    ssh_dial_timeout: Duration = Field(default=30.0, description="how long a host may take to answer")
    tls_throughout: Switch = Field(
        default=False, description="keep TLS around SSH for the whole connection, not only for its first exchange"
    )


class NetworkingConfig(Resource[NetworkingConfigSpec]):
    kind = "cluster_networking_config"
    aliases = ("cnc", "networking_config")
    versions = ("v2",)
    singleton = "cluster-networking-config"
    summary = "timeouts and routing"
    example = """\
kind: cluster_networking_config
version: v2
spec:
  client_idle_timeout: 1h
  keep_alive_interval: 2m
"""

    spec: NetworkingConfigSpec = Field(default_factory=NetworkingConfigSpec, description="timeouts and routing")
