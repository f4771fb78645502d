"""Which connected services cannot read what a policy uses, and would deny by it: told by name, before it is applied."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from teleport.core.errors import Problem
from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.reading import Reads

__all__ = ["Reader", "not_read_by", "unsaid"]

_NAMED = 3


@dataclass(frozen=True)
class Reader:
    """A connected service, and what it says it reads; None if it does not say."""

    name: str
    version: str
    reads: Reads | None


def not_read_by(readers: Sequence[Reader], resources: Iterable[AnyResource]) -> tuple[Problem, ...]:
    """One warning for each version or field that is not read everywhere, at the place of its first use."""
    by_format: dict[str, list[Reader]] = {}
    for reader in readers:
        if reader.reads is not None:
            by_format.setdefault(reader.reads.format, []).append(reader)
    used = [one for one in resources if not KINDS[one.kind].secret]
    found = [problem for alike in by_format.values() for problem in _not_read(alike, used)]
    return tuple(sorted(set(found)))


def _not_read(alike: Sequence[Reader], resources: Sequence[AnyResource]) -> Iterable[Problem]:
    reads = alike[0].reads
    assert reads is not None
    uses: dict[str, list[AnyResource]] = {}
    for resource in resources:
        for what in reads.lacking(resource):
            uses.setdefault(what, []).append(resource)
    for what, users in uses.items():
        origin = users[0].origin
        line, column = origin.at("version") if " " in what else origin.at(*what.split(".")[1:])
        more = f" and {len(users) - 1} more" if len(users) > 1 else ""
        yield Problem(
            origin.file, line, column,
            f"{_named(alike)} cannot read {what}, which {users[0].ref}{more} would use, and would deny by it",
            "upgrade first",
        )  # fmt: skip


def unsaid(readers: Sequence[Reader]) -> str:
    """Who does not say what it reads; empty if everybody does."""
    silent = [one for one in readers if one.reads is None]
    return f"{_named(silent)} has not said what it reads" if silent else ""


def _named(readers: Sequence[Reader]) -> str:
    """`the service on db-1 (version 0.0.9)`, or of several the first."""
    names = sorted({one.name for one in readers})
    versions = ", ".join(sorted({one.version for one in readers}))
    if len(names) == 1:
        return f"the service on {names[0]} (version {versions})"
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"each of the services on {', '.join(names[:_NAMED])}{rest} (version {versions})"
