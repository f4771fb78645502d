"""A change at a later moment: accounts, roles and locks may end by themselves, and then nobody is asked any more.

So whoever is to be kept from something now is kept from letting it happen a minute later.
"""

import math
from collections.abc import Container, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from teleport.gitops.order import Ref
from teleport.gitops.review import Proposed
from teleport.resources.kinds import AnyResource
from teleport.resources.lock import Lock
from teleport.resources.times import parse_timestamp
from teleport.resources.user import User

__all__ = ["at", "changed_ends", "coming_ends", "moment"]

_BY_TIME: Final = frozenset({User.kind, Lock.kind})
"""Kinds whose ends are known to whoever judges; of all others the store drops what has ended."""


def coming_ends(proposed: Proposed, kinds: Container[str]) -> list[float]:
    """When something ends of these kinds that the change writes, in order."""
    return _ends(proposed, (proposed.after.get(ref) for ref in proposed.changed if ref[0] in kinds))


def changed_ends(proposed: Proposed, refs: Iterable[Ref]) -> list[float]:
    """When any of these ends, as it is or as the change writes it, in order."""
    return _ends(proposed, (side.get(ref) for ref in refs for side in (proposed.before, proposed.after)))


def at(proposed: Proposed, when: float) -> Proposed:
    """The same change, then: what has ended is neither in what was before nor in what is after."""
    before, after = (
        {ref: one for ref, one in side.items() if ref[0] in _BY_TIME or _end(one) > when}
        for side in (proposed.before, proposed.after)
    )
    return replace(proposed, before=before, after=after, now=when)


def moment(when: float) -> str:
    """As people write it."""
    return datetime.fromtimestamp(when, UTC).isoformat().replace("+00:00", "Z")


def _ends(proposed: Proposed, resources: Iterable[AnyResource | None]) -> list[float]:
    found = {_end(one) for one in resources if one is not None}
    return sorted(end for end in found if proposed.now < end < math.inf)


def _end(resource: AnyResource) -> float:
    """When it ends by itself; infinite for never."""
    given = [resource.metadata.expires]
    if isinstance(resource, User | Lock):
        given.append(resource.spec.expires)
    return min((parse_timestamp(text) for text in given if text is not None), default=math.inf)
