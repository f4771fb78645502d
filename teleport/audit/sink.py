"""Where a service's events go: to auth at once, or to the local spool first."""

from typing import Protocol

from teleport.audit.events import Event

__all__ = ["EventSink"]


class EventSink(Protocol):
    """Takes events and returns when they are durable: at auth, or on this host's disk."""

    async def emit(self, event: Event) -> None:
        """Raises Unavailable when the event cannot be kept: then what it tells of must not happen."""
        ...
