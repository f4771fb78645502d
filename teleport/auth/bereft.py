"""The judge's word on a change: what others still refer to is a fault of whoever removes it, not of theirs."""

from collections.abc import Collection, Mapping

from teleport.access.judge import Judgement, judge
from teleport.core.errors import Problem
from teleport.resources.kinds import AnyResource
from teleport.resources.presets import preset_roles
from teleport.resources.references import Ref, references

__all__ = ["judge_change"]


def judge_change(before: Mapping[Ref, AnyResource], after: Mapping[Ref, AnyResource], *, api: str) -> Judgement:
    """What is wrong with a policy, given the one it takes the place of. `api` is the source of what has none."""
    judgement = judge(after.values())
    if not judgement.problems:
        return judgement
    presets = {("role", role.name) for role in preset_roles()}
    removed = before.keys() - after.keys() - presets
    bereft = {
        ref: lost
        for ref, one in after.items()
        if one is before.get(ref) and (lost := [to for to in references(one) if to in removed and to[0] == "role"])
    }
    if not bereft:
        return judgement
    rest = judge([one for ref, one in after.items() if ref not in bereft], broken=bereft)
    used = [_used(before[to], after[ref], api) for ref, lost in bereft.items() for to in lost]
    return Judgement((*rest.problems, *_each(used)), rest.warnings)


def _used(removed: AnyResource, by: AnyResource, api: str) -> Problem:
    origin = by.origin
    place = f", {origin.file}:{origin.line}" if origin.line else f", {origin.file}" if origin.file else ""
    message = f"{removed.ref} is still used by {by.ref} (source {origin.source or api}{place})"
    return Problem(removed.origin.file, 0, 0, message, "change that first")


def _each(problems: Collection[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(set(problems)))
