"""The order in which resources can be made: what others refer to comes first. Pure."""

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from typing import Final

from teleport.resources.kinds import AnyResource
from teleport.resources.references import Ref, references

__all__ = ["Ref", "in_order", "references"]

_FIRST: Final = (
    "cluster_auth_preference", "cluster_networking_config", "session_recording_config", "role", "user", "token", "node",
)  # fmt: skip


def in_order(resources: Iterable[AnyResource]) -> list[Ref]:
    """Kind and name of each, after all that it refers to. Roles that refer to each other are in order of name."""
    found = {(one.kind, one.name): one for one in sorted(resources, key=_place)}
    sorter: TopologicalSorter[Ref] = TopologicalSorter()
    for ref, resource in found.items():
        sorter.add(ref, *(to for to in references(resource) if to in found and to != ref))
    try:
        sorter.prepare()
    except CycleError:
        return list(found)
    ordered: list[Ref] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda ref: _place(found[ref]))
        ordered += ready
        sorter.done(*ready)
    return sorted(ordered, key=lambda ref: _rank(ref[0]))


def _place(resource: AnyResource) -> tuple[int, str, str]:
    return _rank(resource.kind), resource.kind, resource.name


def _rank(kind: str) -> int:
    """Kinds refer only to kinds before them; locks come last, so that they shut out whoever is new."""
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST)
