"""The guards `people` and `pairs`: how much may be taken away by one change.

Somebody loses access who loses a login on some host, or whose user is gone. A pair is a user's login on a host. What
counts is what comes into force at once: of a source that had been stalled, several commits together.
"""

from collections.abc import Sequence
from typing import Final

from teleport.access.held import pairs_held
from teleport.core.errors import Problem
from teleport.gitops.guards.words import brakes_alone, named
from teleport.gitops.review import Check, Proposed, Verdict, Violation

__all__ = ["PAIRS", "PEOPLE", "pairs", "people"]

PEOPLE: Final = "people"
PAIRS: Final = "pairs"


def people(most: int) -> Check:
    """At most so many people may lose access."""

    def check(proposed: Proposed) -> Verdict:
        losing, _ = _lost(proposed)
        if len(losing) <= most:
            return Verdict()
        verb = "person loses" if len(losing) == 1 else "people lose"
        message = f"{len(losing)} {verb} access, at most {most} may at once: {named(losing)}"
        return Verdict((Violation(PEOPLE, Problem("", 0, 0, message), tuple(losing)),))

    return check


def pairs(percent: float) -> Check:
    """At most so much of all pairs of a user's login and a host may be lost."""

    def check(proposed: Proposed) -> Verdict:
        losing, lost = _lost(proposed)
        if not lost:
            return Verdict()
        total = pairs_held(proposed.snapshots[0], proposed.targets[0], now=proposed.now)
        if lost * 100 <= percent * total:
            return Verdict()
        message = (
            f"{lost} of {total} logins on hosts are lost ({100 * lost / total:.1f} %),"
            f" at most {percent:g} % may be at once: by {named(losing)}"
        )
        return Verdict((Violation(PAIRS, Problem("", 0, 0, message), tuple(losing)),))

    return check


def _lost(proposed: Proposed) -> tuple[Sequence[str], int]:
    """Who loses access, and how many logins on hosts all of them lose."""
    if not proposed.changed or brakes_alone(proposed):
        return (), 0
    before, after = proposed.snapshots
    return sorted((before.users.keys() - after.users.keys()) | proposed.lost.people), proposed.lost.pairs
