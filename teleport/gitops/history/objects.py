"""What became of one object, commit by commit: who made it, what changed in it, who removed it. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from teleport.gitops.fields import FieldChange
from teleport.gitops.history.walk import Moment
from teleport.gitops.order import Ref
from teleport.gitops.plan import fields_between
from teleport.resources.kinds import AnyResource

__all__ = ["ObjectChange", "changes_of"]


@dataclass(frozen=True)
class ObjectChange:
    """A commit that changed an object. `in_force` is another one if the policy held only with that."""

    commit: str
    in_force: str
    action: Literal["created", "updated", "deleted", "there"]
    """`there`: the line begins with it."""
    fields: tuple[FieldChange, ...]
    file: str
    line: int


def changes_of(moments: Iterable[Moment], ref: Ref) -> Iterator[ObjectChange]:
    """Oldest first. Where it stands is no change."""
    before: AnyResource | None = None
    for moment in moments:
        if ref not in moment.written:
            continue
        after, commit = moment.resources.get(ref), moment.written[ref]
        found = _change(before, after, moment, commit)
        if found is not None:
            yield found
        before = after


def _change(before: AnyResource | None, after: AnyResource | None, moment: Moment, commit: str) -> ObjectChange | None:
    if after is None:
        if before is None:
            return None
        return ObjectChange(commit, moment.step.commit, "deleted", (), before.origin.file, before.origin.line)
    fields = tuple(fields_between(before, after))
    if before is not None and not fields:
        return None
    action: Literal["created", "updated", "there"] = (
        "updated" if before is not None else "there" if moment.base else "created"
    )
    return ObjectChange(commit, moment.step.commit, action, fields, after.origin.file, after.origin.line)
