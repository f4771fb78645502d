"""The guard `emptied`: a source that declares nothing any more, or has lost a whole kind, all of a sudden.

A folder that was not mounted, a checkout that failed, a deleted kind look like this; a decision does not. Whoever
deletes through the API has named what to delete, and is not asked again.
"""

from collections import Counter
from typing import Final

from teleport.core.errors import Problem
from teleport.gitops.review import API, Proposed, Verdict, Violation
from teleport.resources.kinds import AnyResource
from teleport.resources.values import parse_timestamp

__all__ = ["NAME", "emptied"]

NAME: Final = "emptied"

_MANY: Final = 3
"""Of a kind with at least so many objects, not all may vanish at once."""


def emptied(proposed: Proposed) -> Verdict:
    """Refuse what is left of a source that fell silent."""
    if proposed.source == API or not proposed.changed:
        return Verdict()
    reason = _reason(proposed)
    return Verdict((Violation(NAME, Problem("", 0, 0, reason)),)) if reason else Verdict()


def _reason(proposed: Proposed) -> str:
    owned = [one for one in proposed.owned.values() if not _expired(one, proposed.now)]
    had, remaining = Counter(one.kind for one in owned), Counter(kind for kind, _ in proposed.desired)
    if owned and not remaining:
        stays = "one object stays" if len(owned) == 1 else f"{len(owned)} objects stay"
        return f"the source declares nothing any more; its {stays} in force"
    for kind, count in sorted(had.items()):
        if count >= _MANY and not remaining[kind]:
            return f"every {kind} is gone from the source, {count} at once; everything stays in force"
    return ""


def _expired(resource: AnyResource, now: float) -> bool:
    """Gone by itself, whatever the source declares."""
    expires = resource.metadata.expires
    return expires is not None and parse_timestamp(expires) <= now
