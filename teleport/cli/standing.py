"""How far the policy of a cluster has come: whether all of it is in force, and whether a commit is. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from teleport.api import models as m
from teleport.core.errors import problem_from_wire

__all__ = ["IN_FORCE", "REFUSED", "WAITING", "Standing", "standing"]

IN_FORCE, REFUSED, WAITING = 0, 4, 5
"""Exit statuses: all of it is in force; something is refused; something is not in force yet."""
_PROBLEMS: Final = 20


@dataclass(frozen=True)
class Standing:
    """The exit status that says it, and what stands in the way."""

    status: int
    reasons: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Of what is refused; not all of very many."""


def standing(found: m.PolicyStatus, commit: str = "", known: Sequence[m.CommitStanding] = ()) -> Standing:
    """Of everything, or of a commit: `known` are the sources that have it. What stalls others does not refuse it."""
    behind = {one.source for one in known if not one.applied}
    asked = [one for one in found.sources if not commit or one.name in behind]
    refused = [one for one in asked if one.state == "Stalled"]
    if refused:
        problems = tuple(problem for one in refused for problem in _problems(one))
        return Standing(REFUSED, tuple(_refusal(one) for one in refused), problems)
    waiting = tuple(_waiting(found, commit, known))
    return Standing(WAITING if waiting else IN_FORCE, waiting)


def _refusal(source: m.SourceStatus) -> str:
    commit = f" at commit {source.attempted_commit}" if source.attempted_commit else ""
    return f"source {source.name} is stalled{commit}: {source.reason}"


def _problems(source: m.SourceStatus) -> Iterator[str]:
    for body in source.problems[:_PROBLEMS]:
        yield str(problem_from_wire(body))
    if len(source.problems) > _PROBLEMS:
        yield f"{len(source.problems) - _PROBLEMS} more problems: tctl policy status -o json has all"


def _waiting(found: m.PolicyStatus, commit: str, known: Sequence[m.CommitStanding]) -> Iterator[str]:
    if commit and not known:
        read = ", ".join(
            f"{one.name} has read {one.attempted_commit[:12]}" for one in found.sources if one.kind == "git"
        )
        yield f"no source has commit {commit}{f': {read}' if read else ''}"
    for one in known:
        if not one.applied:
            yield f"source {one.source} has read commit {one.commit}, which is not in force yet"
    for source in found.sources:
        if source.state != "Ready":
            message = f": {source.message}" if source.message else ""
            yield f"source {source.name} is {source.state.lower()} ({source.reason}){message}"
    wanted = min(max((one.revision for one in found.sources), default=0), found.revision)
    for service in found.services:
        if service.revision < wanted:
            yield f"the service on {service.hostname} enforces revision {service.revision} of {wanted}"
