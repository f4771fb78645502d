"""What a source's new state would change: field by field, in the order it can be done. Pure.

Where something stands, and in which order its lists are, is no change. Secrets never appear.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from teleport.gitops.fields import HIDDEN, FieldChange, differing
from teleport.gitops.order import Ref, in_order
from teleport.resources.kinds import KINDS, AnyResource, shown
from teleport.resources.model import Origin
from teleport.resources.wishes import settled

__all__ = ["Action", "Change", "FieldChange", "Plan", "fields_between", "plan"]

Action = Literal["create", "update", "delete", "adopt"]


@dataclass(frozen=True)
class Change:
    """One object that changes. `adopt` is one that exists already and belongs to somebody else so far."""

    action: Action
    kind: str
    name: str
    fields: tuple[FieldChange, ...] = field(default=(), compare=False)
    origin: Origin = field(default_factory=Origin, compare=False)
    """Where it is declared; of what is deleted, where it was."""
    owner: str = ""
    """To whom what is adopted belongs."""

    @property
    def shown(self) -> str:
        """`kind/name`, as it may be printed."""
        return f"{self.kind}/{shown(self.kind, self.name)}"

    def to_dict(self) -> dict[str, Any]:
        origin = self.origin
        return {
            "action": self.action,
            "kind": self.kind,
            "name": shown(self.kind, self.name),
            "fields": [one.to_dict() for one in self.fields],
            "origin": {"file": origin.file, "line": origin.line} if origin.file else None,
        }


@dataclass(frozen=True)
class Plan:
    changes: tuple[Change, ...]
    unchanged: int = 0
    """Objects that stay as they are."""
    left_alone: tuple[Ref, ...] = ()
    """What stays as it is: others own it and this source does not declare it, or its labels ask for that."""

    @property
    def empty(self) -> bool:
        return not self.changes

    def count(self, action: Action) -> int:
        return sum(change.action == action for change in self.changes)


def plan(
    desired: Iterable[AnyResource], owned: Mapping[Ref, AnyResource], others: Mapping[Ref, AnyResource] | None = None
) -> Plan:
    """From what a source owns to what it declares. `others` is what exists and belongs to somebody else."""
    settlement = settled(desired, owned)
    wanted, foreign = settlement.wanted, others or {}
    changes = [
        change
        for ref in in_order(wanted.values())
        if (change := _change(wanted[ref], owned.get(ref), foreign.get(ref))) is not None
    ]
    gone = in_order(owned[ref] for ref in settlement.gone)
    deletions = [Change("delete", *ref, origin=owned[ref].origin) for ref in reversed(gone)]
    stays = {*settlement.kept, *(ref for ref in settlement.ignored if ref in owned)}
    left = tuple(sorted({ref for ref in foreign if ref not in wanted} | stays))
    return Plan((*changes, *deletions), len(wanted) - len(changes), left)


def _change(resource: AnyResource, before: AnyResource | None, foreign: AnyResource | None) -> Change | None:
    if before is not None:
        fields = fields_between(before, resource)
        return _made("update", resource, fields) if fields else None
    if foreign is not None:
        return _made("adopt", resource, fields_between(foreign, resource), owner=foreign.origin.source)
    return _made("create", resource, fields_between(None, resource))


def _made(action: Action, resource: AnyResource, fields: Sequence[FieldChange], owner: str = "") -> Change:
    return Change(action, resource.kind, resource.name, tuple(fields), resource.origin, owner)


def fields_between(before: AnyResource | None, after: AnyResource) -> list[FieldChange]:
    """The fields that differ; of something new, all that is written."""
    found = list(differing(_written(before) if before is not None else {}, _written(after)))
    if not KINDS[after.kind].secret:
        return found
    return [FieldChange(one.path, _hidden(one.old), _hidden(one.new)) for one in found]


def _written(resource: AnyResource) -> dict[str, Any]:
    """What people write, without what names the resource and what the cluster notes."""
    body = resource.to_dict()
    metadata = {key: value for key, value in body["metadata"].items() if key not in ("name", "revision", "id")}
    kept = {**body, "metadata": metadata} if metadata else {key: body[key] for key in body if key != "metadata"}
    return {key: value for key, value in kept.items() if key != "kind"}


def _hidden(value: Any) -> Any:
    return None if value is None else HIDDEN
