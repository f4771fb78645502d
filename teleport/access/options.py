"""How the options of a set of roles combine into the conditions of one session (SEMANTICS: "Role", options).

What permits is taken from the roles within the certificate's scope; what restricts, from every live role, so that
asking for fewer roles never loosens anything.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from teleport.access.roles import CompiledRole
from teleport.resources.role_options import CertExtension, ForwardingSwitch, RecordSession, RoleOptions
from teleport.resources.settings import AuthPreferenceSpec, NetworkingConfigSpec, RecordingConfigSpec
from teleport.resources.values import duration_text

__all__ = ["DEFAULT_MAX_TTL", "MIN_TTL", "Conditions", "Matching", "Strictness", "combine", "forwards", "strictest_mfa"]

DEFAULT_MAX_TTL: Final = 30 * 3600.0
MIN_TTL: Final = 60.0

Strictness = Literal["best_effort", "strict"]

_MFA_ORDER: Final[Sequence[str]] = (
    "no", "yes", "hardware_key", "hardware_key_touch", "hardware_key_pin", "hardware_key_touch_and_pin",
)  # fmt: skip


@dataclass(frozen=True)
class Conditions:
    """Under which conditions a session is allowed. Durations in seconds, 0 for none; counts, 0 for any."""

    mfa: str = "no"
    device_trust: str = "off"
    max_session_ttl: float = DEFAULT_MAX_TTL
    shortest: str = field(default="", compare=False)
    """The role whose `max_session_ttl` that is, with its place; empty where no role says anything."""
    idle_timeout: float = 0.0
    disconnect_expired_cert: bool = False
    lock: Strictness = "best_effort"
    max_connections: int = 0
    max_sessions: int = 0
    agent_forwarding: bool = False
    local_forwarding: bool = True
    remote_forwarding: bool = True
    x11_forwarding: bool = False
    file_copy: bool = True
    desktop_clipboard: bool = True
    desktop_directory_sharing: bool = True
    desktop_recording: bool = True
    pin_source_ip: bool = False
    recording: str = "best_effort"
    recording_mode: str = "node"
    enhanced_recording: tuple[str, ...] = ()
    host_user: str = "off"
    cert_extensions: tuple[CertExtension, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For programs; `docs/access.md` documents each key."""
        return {
            "mfa": self.mfa,
            "device_trust": self.device_trust,
            "max_session_ttl": duration_text(self.max_session_ttl),
            "idle_timeout": duration_text(self.idle_timeout) if self.idle_timeout else "never",
            "disconnect_expired_cert": self.disconnect_expired_cert,
            "lock": self.lock,
            "max_connections": self.max_connections,
            "max_sessions": self.max_sessions,
            "agent_forwarding": self.agent_forwarding,
            "local_forwarding": self.local_forwarding,
            "remote_forwarding": self.remote_forwarding,
            "x11_forwarding": self.x11_forwarding,
            "file_copy": self.file_copy,
            "desktop_clipboard": self.desktop_clipboard,
            "desktop_directory_sharing": self.desktop_directory_sharing,
            "desktop_recording": self.desktop_recording,
            "pin_source_ip": self.pin_source_ip,
            "recording": self.recording,
            "recording_mode": self.recording_mode,
            "enhanced_recording": list(self.enhanced_recording),
            "host_user": self.host_user,
            "cert_extensions": [
                {"name": extension.name, "value": extension.value} for extension in self.cert_extensions
            ],
        }

    def with_mfa(self, mfa: str) -> "Conditions":
        return replace(self, mfa=mfa)


@dataclass(frozen=True)
class Matching:
    """The roles that match one target, by its labels alone, and by labels and login."""

    kind: str = "node"
    by_labels: Sequence[CompiledRole] = ()
    allowing: Sequence[CompiledRole] = ()


_ANYWHERE: Final = Matching()


def combine(
    scoped: Iterable[CompiledRole],
    live: Iterable[CompiledRole],
    *,
    auth: AuthPreferenceSpec,
    network: NetworkingConfigSpec,
    recording: RecordingConfigSpec,
    matching: Matching = _ANYWHERE,
) -> Conditions:
    """The conditions for a holder of `live` roles whose certificate covers the `scoped` ones.

    Second factors, trusted devices and host users depend on the roles that match the target; without a target,
    they are what the cluster says.
    """
    held = tuple(live)
    permit = [role.options for role in scoped]
    restrict = [role.options for role in held]
    allowing = [role.options for role in matching.allowing]
    return Conditions(
        mfa=strictest_mfa([auth.require_session_mfa, *(options.require_session_mfa for options in allowing)]),
        device_trust=_device_trust(auth, allowing),
        max_session_ttl=max(MIN_TTL, _smallest([DEFAULT_MAX_TTL, *_set(restrict, "max_session_ttl")])),
        shortest=_shortest(held),
        idle_timeout=_smallest([network.client_idle_timeout, *_set(restrict, "client_idle_timeout")]),
        disconnect_expired_cert=auth.disconnect_expired_cert or any(_set(restrict, "disconnect_expired_cert")),
        lock=_lock(auth, restrict),
        max_connections=int(_smallest(_set(restrict, "max_connections"))),
        max_sessions=int(_smallest(_set(restrict, "max_sessions"))),
        agent_forwarding=any(_set(permit, "forward_agent")),
        local_forwarding=_forwarding(permit, restrict, "local"),
        remote_forwarding=_forwarding(permit, restrict, "remote"),
        x11_forwarding=any(_set(permit, "permit_x11_forwarding")),
        file_copy=all(_set(restrict, "ssh_file_copy")),
        desktop_clipboard=all(_set(restrict, "desktop_clipboard")),
        desktop_directory_sharing=all(_set(restrict, "desktop_directory_sharing")),
        desktop_recording=_desktop_recording(restrict),
        pin_source_ip=any(_set(restrict, "pin_source_ip")),
        recording=_recording(restrict, matching.kind),
        recording_mode=recording.mode,
        enhanced_recording=_enhanced(restrict),
        host_user=_host_user([role.options for role in matching.by_labels]),
        cert_extensions=tuple(extension for options in permit for extension in options.cert_extensions),
    )


def strictest_mfa(values: Iterable[str | None]) -> str:
    """The strictest of the requirements that are set, `no` where none is."""
    return max((value for value in values if value is not None), key=_MFA_ORDER.index, default="no")


def _set(options: Iterable[RoleOptions], name: str) -> list[Any]:
    """The values of those roles that say anything."""
    return [value for option in options if (value := getattr(option, name)) is not None]


def _smallest(values: Iterable[float]) -> float:
    return min((value for value in values if value > 0), default=0)


def _shortest(roles: Iterable[CompiledRole]) -> str:
    """Names the role whose lifetime counts."""
    limits = [(ttl, role) for role in roles if (ttl := role.options.max_session_ttl)]
    if not limits:
        return ""
    _, role = min(limits, key=lambda one: one[0])
    line, _ = role.origin.at("spec", "options", "max_session_ttl")
    return f"role/{role.name}" + (f" ({role.origin.file}:{line})" if role.origin.file and line else "")


def _device_trust(auth: AuthPreferenceSpec, own: Sequence[RoleOptions]) -> str:
    modes = set(_set(own, "device_trust_mode"))
    if auth.device_trust is not None:
        modes.add("required" if auth.device_trust.mode.startswith("required") else auth.device_trust.mode)
    return next((mode for mode in ("required", "optional") if mode in modes), "off")


def _lock(auth: AuthPreferenceSpec, options: Iterable[RoleOptions]) -> Strictness:
    modes = _set(options, "lock") or [auth.locking_mode]
    return "strict" if "strict" in modes else "best_effort"


def _forwarding(permit: Sequence[RoleOptions], restrict: Sequence[RoleOptions], direction: str) -> bool:
    """Permitted unless every role forbids it; a direction that some role switches off stays off."""
    if any(_direction(option, direction) is False for option in restrict):
        return False
    return any(_direction(option, direction) or _by_default(option, direction) for option in permit)


def forwards(options: RoleOptions) -> bool:
    """Whether a role, held alone, permits port forwarding in any direction."""
    return any(_forwarding((options,), (options,), direction) for direction in ("local", "remote"))


def _direction(option: RoleOptions, direction: str) -> bool | None:
    """What a role says about one direction in the newer form, which goes before `port_forwarding`."""
    switches = option.ssh_port_forwarding
    switch: ForwardingSwitch | None = getattr(switches, direction) if switches is not None else None
    return switch.enabled if switch is not None else None


def _by_default(option: RoleOptions, direction: str) -> bool:
    return _direction(option, direction) is None and option.port_forwarding is not False


def _recording(options: Iterable[RoleOptions], kind: str) -> Strictness:
    """What happens when a recording cannot be made: a protocol's own word goes before the default."""
    records: list[RecordSession] = _set(options, "record_session")
    words = [(record.ssh if kind == "node" else "") or record.default for record in records]
    return "strict" if "strict" in words else "best_effort"


def _desktop_recording(options: Sequence[RoleOptions]) -> bool:
    """Desktops are recorded unless every role switches it off."""
    off = [option.record_session is not None and option.record_session.desktop is False for option in options]
    return not off or not all(off)


def _enhanced(options: Sequence[RoleOptions]) -> tuple[str, ...]:
    events = {
        event
        for option in options
        for event in (option.enhanced_recording if option.enhanced_recording is not None else ("command", "network"))
    }
    return tuple(sorted(events))


def _host_user(own: Sequence[RoleOptions]) -> str:
    """`off` unless every matching role enables it; `keep` beats `insecure-drop`."""
    modes = [option.create_host_user_mode or ("keep" if option.create_host_user else "off") for option in own]
    return next((mode for mode in ("off", "keep", "insecure-drop") if mode in modes), "off")
