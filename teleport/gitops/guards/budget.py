"""The guards `people` and `pairs`: how much may be taken away by one change.

Somebody loses access who loses a login on some host, or whose user is gone. A pair is a user's login on a host. What
counts is what comes into force at once: of a source that had been stalled, several commits together. What the change
gives an end is counted as lost, though it is only then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from teleport.access.held import pairs_held
from teleport.core.errors import Problem
from teleport.gitops.guards.later import at, coming_ends, moment
from teleport.gitops.guards.words import brakes_alone, named
from teleport.gitops.review import Check, Proposed, Verdict, Violation

__all__ = ["PAIRS", "PEOPLE", "pairs", "people"]

PEOPLE: Final = "people"
PAIRS: Final = "pairs"

_ENDING: Final = frozenset({"user", "role"})


def people(most: int) -> Check:
    """At most so many people may lose access."""

    def check(proposed: Proposed) -> Verdict:
        found = max(_losses(proposed), key=lambda one: len(one.people))
        if len(found.people) <= most:
            return Verdict()
        verb = "person loses" if len(found.people) == 1 else "people lose"
        message = f"{len(found.people)} {verb} access, at most {most} may at once: {named(found.people)}{found.when}"
        return Verdict((Violation(PEOPLE, Problem("", 0, 0, message), found.people),))

    return check


def pairs(percent: float) -> Check:
    """At most so much of all pairs of a user's login and a host may be lost."""

    def check(proposed: Proposed) -> Verdict:
        found = max(_losses(proposed), key=lambda one: one.pairs)
        if not found.pairs:
            return Verdict()
        total = pairs_held(proposed.snapshots[0], proposed.targets[0], now=proposed.now)
        if found.pairs * 100 <= percent * total:
            return Verdict()
        message = (
            f"{found.pairs} of {total} logins on hosts are lost ({100 * found.pairs / total:.1f} %),"
            f" at most {percent:g} % may be at once: by {named(found.people)}{found.when}"
        )
        return Verdict((Violation(PAIRS, Problem("", 0, 0, message), found.people),))

    return check


@dataclass(frozen=True)
class _Loss:
    """Who loses access, how many logins on hosts all of them lose, and when if not now."""

    people: tuple[str, ...] = ()
    pairs: int = 0
    when: str = ""


def _losses(proposed: Proposed) -> Iterator[_Loss]:
    """What is lost at once, and once all has ended that the change gives an end."""
    if not proposed.changed or brakes_alone(proposed):
        yield _Loss()
        return
    yield _loss(proposed)
    ends = coming_ends(proposed, _ENDING)
    if ends:
        yield _loss(at(proposed, ends[-1]), f" (from {moment(ends[-1])} on)")


def _loss(proposed: Proposed, when: str = "") -> _Loss:
    before, after = proposed.snapshots
    gone = before.users.keys() - after.users.keys()
    return _Loss(tuple(sorted(gone | proposed.lost.people)), proposed.lost.pairs, when)
