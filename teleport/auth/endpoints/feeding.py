"""Routes for operators: the sources they feed, and with what. An operator feeds its own sources alone."""

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.auth.endpoints.parts import Parts
from teleport.core.errors import AccessDenied, NotFound

__all__ = ["ForOperators"]


class ForOperators:
    """Sources whose manifests somebody brings. What becomes of those is decided by whoever runs the source."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_fed_sources(self, caller: Caller, request: m.Empty) -> m.FedSources:
        """Those of this cluster that the operator's token named."""
        named = caller.known.allowed_resources or ()
        fed = self._parts.surroundings.fed
        return m.FedSources(
            sources=tuple(m.FedSource(name=name, namespace=fed[name].namespace) for name in named if name in fed)
        )

    async def on_feed(self, caller: Caller, request: m.FeedRequest) -> m.FeedAnswer:
        if request.source not in (caller.known.allowed_resources or ()):
            raise AccessDenied(f"this operator does not feed the source {request.source}")
        source = self._parts.surroundings.fed.get(request.source)
        if source is None:
            raise NotFound(f"teleport.yaml names no source {request.source} that an operator feeds")
        return await source.feed(request)
