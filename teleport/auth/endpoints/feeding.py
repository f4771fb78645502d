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
        """Those of this cluster that the operator's token named; of every namespace, those that were fed before too."""
        return m.FedSources(
            sources=tuple(
                m.FedSource(name=name, namespace=source.namespace)
                for name, source in self._parts.surroundings.fed.items()
                if _feeds(caller, name)
            )
        )

    async def on_feed(self, caller: Caller, request: m.FeedRequest) -> m.FeedAnswer:
        if not _feeds(caller, request.source):
            raise AccessDenied(f"this operator does not feed the source {request.source}")
        fed = self._parts.surroundings.fed
        source = fed.get(request.source) or fed.get(request.source.partition("/")[0])
        if source is None:
            raise NotFound(f"teleport.yaml names no source {request.source} that an operator feeds")
        return await source.feed(request)


def _feeds(caller: Caller, source: str) -> bool:
    """Whether a source, or what it is one namespace of, is one that the operator's token named."""
    return source.partition("/")[0] in (caller.known.allowed_resources or ())
