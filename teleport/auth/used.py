"""Passages that were used at hosts with only OpenSSH, for as long as they could be shown again. In memory alone."""

from collections.abc import Callable
from typing import Final

from teleport.core.aio import Clock
from teleport.core.errors import Unauthenticated, Unavailable
from teleport.core.identity import Passage
from teleport.pki.passages import PASSAGE_SECONDS

__all__ = ["UsedPassages"]

_KEPT_SECONDS: Final = 2 * PASSAGE_SECONDS
"""Longer than any passage is good for, also where clocks differ."""


class UsedPassages:
    """By the connection that a passage names: another passage for the same one is no other."""

    def __init__(self, *, clock: Clock, limit: Callable[[], int]) -> None:
        self._clock, self._limit = clock, limit
        self._until: dict[tuple[str, str, str], float] = {}

    def take(self, root: str, passage: Passage) -> None:
        """Use a passage of a cluster. Raises Unauthenticated if it was used, Unavailable for too many at once."""
        self._forget()
        connection = (root, passage.proxy, passage.session)
        if connection in self._until:
            raise Unauthenticated("the passage was used already")
        if len(self._until) >= self._limit():
            raise Unavailable("too many people are logging in at once; try again")
        self._until[connection] = self._clock.monotonic() + _KEPT_SECONDS

    def _forget(self) -> None:
        """Those that are too old; the oldest come first."""
        now = self._clock.monotonic()
        while self._until and next(iter(self._until.values())) <= now:
            del self._until[next(iter(self._until))]
