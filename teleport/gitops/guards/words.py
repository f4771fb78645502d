"""What several guards say and ask alike."""

from collections.abc import Sequence
from typing import Final

from teleport.gitops.review import API, Proposed
from teleport.resources.lock import Lock

__all__ = ["brakes_alone", "named"]

_FEW: Final = 5


def named(names: Sequence[str]) -> str:
    """Some of the names, and how many others there are."""
    if len(names) <= _FEW + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_FEW])} and {len(names) - _FEW} others"


def brakes_alone(proposed: Proposed) -> bool:
    """Whether somebody locks out, there and then, and does nothing else: that must not wait for a second person."""
    return proposed.source == API and all(
        kind == Lock.kind and (kind, name) in proposed.after for kind, name in proposed.changed
    )
