"""The check that keeps each source below its ceiling. Pure; what each kind can give is `ceiling_kinds`'."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from teleport.core.errors import Problem
from teleport.gitops.ceiling import PRESETS, Ceiling, Reach
from teleport.gitops.ceiling_kinds import exceeding
from teleport.gitops.order import Ref, references
from teleport.gitops.review import Check, Proposed, Verdict, Violation
from teleport.resources.faults import Fault
from teleport.resources.kinds import AnyResource, shown
from teleport.resources.role import Role

__all__ = ["GUARD", "within_ceilings"]

GUARD: Final = "ceiling"
"""The guard's name."""

_API: Final = "api"


def within_ceilings(ceiling_of: Callable[[str], Ceiling | None]) -> Check:
    """Refuses what a source writes beyond its ceiling; None stands for a source without one.

    What the write leaves as it is was judged when it was written.
    """

    def check(proposed: Proposed) -> Verdict:
        ceiling = ceiling_of(proposed.source)
        if ceiling is None:
            return Verdict()
        desired = proposed.desired
        reach = Reach(proposed.source, ceiling, frozenset(desired))
        written = {ref: one for ref, one in desired.items() if one is not proposed.before.get(ref)}
        awaited = _awaited(proposed, written)
        return Verdict(
            tuple(
                Violation(GUARD, _problem(one, fault))
                for ref, one in written.items()
                for fault in (*_owning(one, reach), *exceeding(one, reach), *_waited_for(awaited.get(ref)))
            )
        )

    return check


def _problem(resource: AnyResource, fault: Fault) -> Problem:
    line, column = resource.origin.at(*fault.path)
    what = f"{resource.kind}/{shown(resource.kind, resource.name)}"
    return Problem(resource.origin.file or what, line, column, f"{what} {fault.message}", fault.hint)


def _owning(resource: AnyResource, reach: Reach) -> Iterator[Fault]:
    names = reach.ceiling.owns.get(resource.kind, ())
    if not names:
        yield Fault((), f"is of a kind that the source {reach.source} may not own", "see its ceiling in teleport.yaml")
    elif not reach.may_own(resource.kind, resource.name):
        hint = "" if resource.secret else f"only {', '.join(names)}"
        yield Fault(("metadata", "name"), f"has a name that the source {reach.source} may not own", hint)


def _awaited(proposed: Proposed, written: Mapping[Ref, AnyResource]) -> dict[Ref, AnyResource]:
    """New roles that others name already though they did not exist, and who names them."""
    new = {ref for ref in written if ref not in proposed.before and ref[0] == Role.kind and ref[1] not in PRESETS}
    found: dict[Ref, AnyResource] = {}
    for resource in proposed.before.values() if new else ():
        if (resource.origin.source or _API) != proposed.source:
            for ref in new.intersection(references(resource)):
                found.setdefault(ref, resource)
    return found


def _waited_for(by: AnyResource | None) -> Iterator[Fault]:
    """Whoever makes such a role decides for people of others, who meant another role by that name."""
    if by is not None:
        message = f"is named by {by.ref} of the source {by.origin.source or _API} already, which means another"
        yield Fault(("metadata", "name"), message, "give it another name")
