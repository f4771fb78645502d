"""What a source's new state would change. Pure; order and positions do not count as changes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from teleport.resources.kinds import AnyResource

__all__ = ["Change", "Plan", "guard", "plan"]

Action = Literal["create", "update", "delete"]

_MANY: Final = 3
"""Of a kind with at least so many objects, not all may vanish at once."""


@dataclass(frozen=True)
class Change:
    action: Action
    kind: str
    name: str


@dataclass(frozen=True)
class Plan:
    changes: tuple[Change, ...]

    @property
    def empty(self) -> bool:
        return not self.changes

    def count(self, action: Action) -> int:
        return sum(change.action == action for change in self.changes)


def plan(desired: Iterable[AnyResource], owned: Mapping[tuple[str, str], AnyResource]) -> Plan:
    """From what a source owns to what it declares."""
    wanted = {(one.kind, one.name): one for one in desired}
    changes: list[Change] = []
    for ref, resource in sorted(wanted.items()):
        before = owned.get(ref)
        if before is None:
            changes.append(Change("create", *ref))
        elif before.to_dict() != resource.to_dict():
            changes.append(Change("update", *ref))
    changes += (Change("delete", *ref) for ref in sorted(owned) if ref not in wanted)
    return Plan(tuple(changes))


def guard(desired: Iterable[AnyResource], owned: Mapping[tuple[str, str], AnyResource]) -> str:
    """Why a source must not be obeyed, or nothing: it has emptied itself, or lost a whole kind, all of a sudden.

    A folder that was not mounted, a checkout that failed, a deleted kind look like this; a decision does not.
    """
    remaining: dict[str, int] = {}
    for resource in desired:
        remaining[resource.kind] = remaining.get(resource.kind, 0) + 1
    if owned and not remaining:
        return f"the source declares nothing any more; its {len(owned)} objects stay in force"
    had: dict[str, int] = {}
    for kind, _ in owned:
        had[kind] = had.get(kind, 0) + 1
    for kind, count in sorted(had.items()):
        if count >= _MANY and not remaining.get(kind):
            return f"every {kind} is gone from the source, {count} at once; everything stays in force"
    return ""
