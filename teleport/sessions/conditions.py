"""What parts of a session rest on, for `Session.hold`: each says why they must end, or nothing."""

from collections.abc import Mapping
from typing import Final

from teleport.access.options import Conditions
from teleport.sessions.session import Still

__all__ = [
    "agent_forwarding", "file_copy", "local_forwarding", "recorded_as", "remote_forwarding", "x11_forwarding",
]  # fmt: skip

_DEMAND: Final[Mapping[str, int]] = {"off": 0, "node": 1, "proxy": 1, "node-sync": 2, "proxy-sync": 2}
"""How much each recording mode demands."""


def file_copy(now: Conditions) -> str:
    return "" if now.file_copy else "the roles do not permit copying files"


def agent_forwarding(now: Conditions) -> str:
    return "" if now.agent_forwarding else "the roles do not permit forwarding the agent"


def local_forwarding(now: Conditions) -> str:
    return "" if now.local_forwarding else "the roles do not permit forwarding ports to here"


def remote_forwarding(now: Conditions) -> str:
    return "" if now.remote_forwarding else "the roles do not permit forwarding ports from here"


def x11_forwarding(now: Conditions) -> str:
    return "" if now.x11_forwarding else "the roles do not permit forwarding X11"


def recorded_as(begun: Conditions) -> Still:
    """For a channel that is recorded as the conditions demanded when it began: recording cannot be caught up on."""

    def still(now: Conditions) -> str:
        if _DEMAND[now.recording_mode] > _DEMAND[begun.recording_mode]:
            return f"sessions must be recorded in mode {now.recording_mode} from their beginning"
        if now.recording == "strict" and begun.recording != "strict" and now.recording_mode != "off":
            return "sessions must be recorded strictly from their beginning"
        return ""

    return still
