"""The options of a role: conditions on what it allows. How those of several roles combine is `access`'s business."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from teleport.resources.model import Model
from teleport.resources.values import Count, Duration, Spelling, Switch, Text, Texts, Vocabulary

__all__ = ["CertExtension", "IdpOption", "RoleOptions", "SessionMfa"]

SessionMfa = Annotated[
    Literal["no", "yes", "hardware_key", "hardware_key_touch", "hardware_key_pin", "hardware_key_touch_and_pin"],
    Spelling(
        {False: "no", True: "yes"},
        ("no", "yes", "hardware_key", "hardware_key_touch", "hardware_key_pin", "hardware_key_touch_and_pin"),
    ),
]
"""Whether each session needs a second factor, and of which kind."""

_OFF: Final = {False: "off"}

RecordedEvents = Annotated[Texts, Vocabulary("recorded event", ("command", "disk", "network"))]
Strictness = Literal["", "best_effort", "strict"]


_IF_ANY: Final = "yes if any role says yes"
_UNLESS_ANY: Final = "no if any role says no"
_SMALLEST: Final = "the smallest that is not 0"


def option(unset: str, description: str, *, over: str = "") -> Any:
    """A field that is None where the role says nothing; in words, what then holds, and what several roles come to."""
    return Field(default=None, description=description, json_schema_extra={"default": unset, "over": over})


class ForwardingSwitch(Model):
    """One direction of port forwarding."""

    enabled: Switch = Field(description="whether this direction is permitted")


class SshPortForwarding(Model):
    """Port forwarding by direction; replaces `port_forwarding`."""

    local: ForwardingSwitch | None = option("yes", "from the client's side to the host's (`ssh -L` and `-D`)")
    remote: ForwardingSwitch | None = option("yes", "from the host's side to the client's (`ssh -R`)")


class RecordSession(Model):
    """What happens when a recording cannot be made, and whether desktops are recorded."""

    default: Strictness = Field(default="", description="`strict` ends a session that cannot be recorded")
    ssh: Strictness = Field(default="", description="the same for SSH alone")
    desktop: Switch | None = option("yes", "whether desktop sessions are recorded")


class CertExtension(Model):
    """One extension added to SSH certificates."""

    type: Annotated[Literal["ssh"], Spelling({}, ("ssh",))] = Field(default="ssh", description="kind of certificate")
    mode: Annotated[Literal["extension"], Spelling({}, ("extension",))] = Field(
        default="extension", description="critical options cannot be added"
    )
    name: Text = Field(description="name of the extension, such as `login@github.com`")
    value: Text = Field(default="", description="its value; a template")


class SamlOption(Model):
    """Use of the cluster as a SAML identity provider."""

    enabled: Switch = Field(description="whether it may be used")


class IdpOption(Model):
    """Use of the cluster as an identity provider."""

    saml: SamlOption | None = Field(default=None, description="for SAML")


class RoleOptions(Model):
    """Conditions on what the role allows."""

    max_session_ttl: Duration | None = option(
        "30h", "longest life of a certificate", over="the shortest, and at most 30h"
    )
    forward_agent: Switch | None = option("no", "SSH agent forwarding", over=_IF_ANY)
    port_forwarding: Switch | None = option(
        "yes", "SSH port forwarding, both directions", over="no only if every role says no"
    )
    ssh_port_forwarding: SshPortForwarding | None = option(
        "", "SSH port forwarding by direction", over="a direction that any role switches off is off"
    )
    ssh_file_copy: Switch | None = option("yes", "scp, sftp and rsync", over=_UNLESS_ANY)
    permit_x11_forwarding: Switch | None = option("no", "X11 forwarding", over=_IF_ANY)
    client_idle_timeout: Duration | None = option(
        "never", "disconnect after this long a silence", over="the shortest, that of the cluster included"
    )
    disconnect_expired_cert: Switch | None = option(
        "no", "end sessions when their certificate expires", over="yes if any role or the cluster says yes"
    )
    max_connections: Count | None = option("0", "concurrent connections of one user; 0 is any number", over=_SMALLEST)
    max_sessions: Count | None = option("0", "sessions within one connection; 0 is any number", over=_SMALLEST)
    max_kubernetes_connections: Count | None = option("0", "concurrent Kubernetes sessions; 0 is any number")
    require_session_mfa: SessionMfa | None = option(
        "no",
        "a second factor for each session",
        over="the strictest of the roles that allow the target and of the cluster",
    )
    mfa_verification_interval: Duration | None = option("", "how long one confirmation lasts for local proxies")
    device_trust_mode: Annotated[Literal["off", "optional", "required"], Spelling(_OFF)] | None = option(
        "off",
        "whether the device must be a known one",
        over="required, then optional, wins among the roles that allow the target and the cluster",
    )
    lock: Literal["best_effort", "strict"] | None = option(
        "",
        "whether live sessions end when locks can no longer be read; by default as the cluster says",
        over="strict if any role says strict; the cluster counts only where no role says anything",
    )
    record_session: RecordSession | None = option(
        "best_effort",
        "what happens when a recording cannot be made",
        over="strict if any role says strict; desktops are recorded unless every role says no",
    )
    enhanced_recording: RecordedEvents | None = option(
        "[command, network]", "kernel events recorded in sessions", over="the events of all roles"
    )
    pin_source_ip: Switch | None = option("no", "certificates bound to the client's address", over=_IF_ANY)
    desktop_clipboard: Switch | None = option("yes", "clipboard sharing with desktops", over=_UNLESS_ANY)
    desktop_directory_sharing: Switch | None = option("yes", "folder sharing with desktops", over=_UNLESS_ANY)
    create_desktop_user: Switch | None = option("no", "create missing users on desktops")
    create_host_user: Switch | None = option("no", "the older spelling of create_host_user_mode: keep")
    create_host_user_mode: (
        Annotated[Literal["off", "keep", "insecure-drop"], Spelling(_OFF, ("off", "off", "", "keep", "insecure-drop"))]
        | None
    ) = option(
        "off", "create missing users on hosts, and what becomes of them afterwards",
        over="off unless every role that matches the target enables it; keep wins over insecure-drop",
    )  # fmt: skip
    create_host_user_default_shell: Text | None = option("", "login shell of created host users")
    create_db_user: Switch | None = option("no", "the older spelling of create_db_user_mode: keep")
    create_db_user_mode: (
        Annotated[
            Literal["off", "keep", "best_effort_drop"], Spelling(_OFF, ("off", "off", "keep", "best_effort_drop"))
        ]
        | None
    ) = option("off", "create missing users in databases, and what becomes of them afterwards")
    cert_format: Literal["standard", "oldssh"] | None = option("standard", "format of SSH certificates")
    cert_extensions: tuple[CertExtension, ...] = Field(
        default=(), description="extensions added to SSH certificates", json_schema_extra={"over": "those of all roles"}
    )
    request_access: Literal["optional", "always", "reason"] | None = option(
        "optional", "whether holders ask for more access at every login"
    )
    request_prompt: Text | None = option("", "what to tell those who ask")
    idp: IdpOption | None = option("", "use of the cluster as an identity provider")
