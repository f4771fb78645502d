"""The guard `tests`: what a policy promises about itself is not taken back by the change that would break it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from teleport.core.errors import Problem
from teleport.gitops.order import Ref
from teleport.gitops.review import Check, Proposed, Verdict, Violation
from teleport.resources.kinds import AnyResource

__all__ = ["NAME", "Weakened", "tests"]

NAME: Final = "tests"

Weakened = Callable[[Mapping[Ref, AnyResource], Mapping[Ref, AnyResource]], Iterable[Problem]]
"""The tests and invariants of the policy before that the one after deletes or weakens, each with how."""


def tests(weakened: Weakened) -> Check:
    """Refuse a change that weakens a test or an invariant, or deletes one."""

    def check(proposed: Proposed) -> Verdict:
        if not proposed.changed:
            return Verdict()
        found = weakened(proposed.before, proposed.after)
        return Verdict(tuple(Violation(NAME, one, (one.message,)) for one in found))

    return check
