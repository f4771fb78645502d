"""The guard `weakened`: what a policy promises about itself is not taken back by the change that would break it.

Whether what is promised holds is another question, and that answer nobody overrides.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from teleport.core.errors import Problem
from teleport.gitops.order import Ref
from teleport.gitops.review import Check, Proposed, Verdict, Violation
from teleport.resources.kinds import AnyResource

__all__ = ["NAME", "Weakened", "Weakening", "promises_kept"]

NAME: Final = "weakened"


class Weakening(Protocol):
    """A test or an invariant that is deleted, or promises less."""

    @property
    def resource(self) -> AnyResource:
        """As it is in force."""
        ...

    @property
    def what(self) -> str:
        """In which respect."""
        ...


Weakened = Callable[[Mapping[Ref, AnyResource], Mapping[Ref, AnyResource]], Iterable[Weakening]]
"""What a policy promised before, and does not after."""


def promises_kept(weakened: Weakened) -> Check:
    """Refuse a change that weakens a test or an invariant, or deletes one."""

    def check(proposed: Proposed) -> Verdict:
        if not proposed.changed:
            return Verdict()
        return Verdict(tuple(_violation(one) for one in weakened(proposed.before, proposed.after)))

    return check


def _violation(weakening: Weakening) -> Violation:
    origin = weakening.resource.origin
    place = Problem(origin.file, origin.line, 1 if origin.line else 0, weakening.what)
    return Violation(NAME, place, (weakening.resource.ref, weakening.what))
