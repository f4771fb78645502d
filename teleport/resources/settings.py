"""The cluster's settings: one document each for authentication, session recording and networking."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Model, Resource, Spec
from teleport.resources.role import IdpOption
from teleport.resources.values import Duration, Switch, Text, Texts

__all__ = ["AuthPreference", "NetworkingConfig", "RecordingConfig"]


def _on_off(value: object) -> object:
    return ("on" if value else "off") if isinstance(value, bool) else value


def _yes_no(value: object) -> object:
    return ("yes" if value else "no") if isinstance(value, bool) else value


class Webauthn(Model):
    rp_id: Text = Field(default="", description="the domain that passkeys are bound to")
    attestation_allowed_cas: Texts = ()
    attestation_denied_cas: Texts = ()


class U2f(Model):
    app_id: Text = ""
    facets: Texts = ()
    device_attestation_cas: Texts = ()


class DeviceTrust(Model):
    mode: Annotated[Literal["", "off", "optional", "required", "required-for-humans"], BeforeValidator(_on_off)] = ""
    auto_enroll: Switch = False
    ekcert_allowed_cas: Texts = ()


class PinnedSerials(Model):
    enabled: Switch = False
    serial_number_trait_name: Text = ""


class HardwareKey(Model):
    piv_slot: Text = ""
    pin_cache_ttl: Duration = 0.0
    serial_number_validation: PinnedSerials | None = None


class StableUnixUsers(Model):
    enabled: Switch = False
    first_uid: int = 90000
    last_uid: int = 95000


class AuthPreferenceSpec(Spec):
    type: Literal["local", "github", "oidc", "saml"] = Field(
        default="local", description="how people log in by default"
    )
    second_factor: Annotated[
        Literal["", "off", "otp", "u2f", "webauthn", "on", "optional"], BeforeValidator(_on_off)
    ] = Field(default="", description="the older spelling of second_factors")
    second_factors: Texts = Field(default=(), description="otp, webauthn, sso")
    connector_name: Text = ""
    allow_local_auth: Switch = Field(default=True, description="whether local users may log in with a password")
    allow_passwordless: Switch = True
    allow_headless: Switch = True
    require_session_mfa: Annotated[
        Literal["no", "yes", "hardware_key", "hardware_key_touch", "hardware_key_pin", "hardware_key_touch_and_pin"],
        BeforeValidator(_yes_no),
    ] = Field(default="no", description="a second factor for every session of the cluster")
    webauthn: Webauthn | None = None
    u2f: U2f | None = None
    locking_mode: Literal["best_effort", "strict"] = Field(
        default="best_effort", description="what live sessions do when the policy is too old to trust"
    )
    disconnect_expired_cert: Switch = Field(default=False, description="end sessions with their certificate")
    default_session_ttl: Duration = Field(
        default=12 * 3600.0, description="life of a certificate when none is asked for"
    )
    device_trust: DeviceTrust | None = None
    message_of_the_day: Text = Field(default="", description="shown at login")
    hardware_key: HardwareKey | None = None
    signature_algorithm_suite: Literal["", "legacy", "balanced-v1", "fips-v1", "hsm-v1"] = ""
    idp: IdpOption | None = None
    stable_unix_user_config: StableUnixUsers | None = None


class AuthPreference(Resource[AuthPreferenceSpec]):
    kind = "cluster_auth_preference"
    aliases = ("cap",)
    versions = ("v2",)
    singleton = "cluster-auth-preference"
    summary = "how people authenticate"

    spec: AuthPreferenceSpec = Field(default_factory=AuthPreferenceSpec)


class ManualKeys(Model):
    enabled: Switch = False
    active_keys: tuple[dict[str, str], ...] = ()
    rotated_keys: tuple[dict[str, str], ...] = ()


class RecordingEncryption(Model):
    enabled: Switch = False
    manual_key_management: ManualKeys | None = None


class RecordingConfigSpec(Spec):
    mode: Annotated[Literal["node", "node-sync", "proxy", "proxy-sync", "off"], BeforeValidator(_on_off)] = Field(
        default="node", description="where sessions are recorded, and whether before anything is seen (-sync)"
    )
    proxy_checks_host_keys: Switch = Field(default=True, description="whether a recording proxy verifies host keys")
    exec_recording_limit: int = Field(
        default=1 << 20,
        ge=0,
        description="bytes recorded of a command without a terminal; then only counted and digested",
    )
    encryption: RecordingEncryption | None = None

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

    spec: RecordingConfigSpec = Field(default_factory=RecordingConfigSpec)


class TunnelStrategy(Model):
    type: Literal["agent_mesh", "proxy_peering"] = "agent_mesh"
    agent_connection_count: int = Field(default=1, ge=1)


class NetworkingConfigSpec(Spec):
    client_idle_timeout: Duration = Field(default=0.0, description="disconnect silent sessions; never by default")
    client_idle_timeout_message: Text = ""
    idle_timeout_message: Text = ""
    keep_alive_interval: Duration = Field(
        default=300.0, description="how often a silent peer is asked for a sign of life"
    )
    keep_alive_count_max: int = Field(
        default=3, ge=1, description="unanswered questions before the connection is closed"
    )
    session_control_timeout: Duration = 120.0
    web_idle_timeout: Duration = Field(default=600.0, description="log out of the web after silence")
    proxy_listener_mode: Literal["separate", "multiplex"] = "multiplex"
    routing_strategy: Literal["unambiguous_match", "most_recent"] = Field(
        default="unambiguous_match", description="which host is meant when several have one name"
    )
    tunnel_strategy: TunnelStrategy | None = None
    proxy_ping_interval: Duration = 30.0
    assist_command_execution_workers: int = 30
    case_insensitive_routing: Switch = False
    ssh_dial_timeout: Duration = Field(default=30.0, description="how long a host may take to answer")
    tls_throughout: Switch = Field(default=True, description="keep TLS around SSH for the whole connection")


class NetworkingConfig(Resource[NetworkingConfigSpec]):
    kind = "cluster_networking_config"
    aliases = ("cnc", "networking_config")
    versions = ("v2",)
    singleton = "cluster-networking-config"
    summary = "timeouts and routing"

    spec: NetworkingConfigSpec = Field(default_factory=NetworkingConfigSpec)
