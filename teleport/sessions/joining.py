"""What proxies and hosts say to those who want to take part in a live session and may not.

A session that does not exist, and one that the caller may not know of, are answered in the same words.
"""

from teleport.core.errors import AccessDenied, BadInput, NotFound, TeleportError
from teleport.core.joining import MODES_SERVED, Wish

__all__ = ["check_served", "refused", "unknown"]


def check_served(wish: Wish) -> None:
    """Raises BadInput for a mode that hosts do not know yet: whoever asks, and whatever for."""
    if wish.mode not in MODES_SERVED:
        raise BadInput(
            f"sessions cannot be joined as {wish.mode} yet", hint="join as observer: you see, and type nothing"
        )


def unknown(wish: Wish) -> NotFound:
    return NotFound(f"session {wish.sid} not found", hint="`tsh sessions ls` lists those you may see")


def refused(error: AccessDenied, name: str, wish: Wish) -> TeleportError:
    """The gate's refusal in words about joining; as it is, where it is about something else."""
    if error.details.get("hidden"):
        return unknown(wish)
    reasons = error.details.get("reasons")
    if not reasons:
        return error
    because = "; ".join(reasons)
    return AccessDenied(
        f"{name} may not join session {wish.sid} as {wish.mode} ({because})", hint=error.hint, details=error.details
    )
