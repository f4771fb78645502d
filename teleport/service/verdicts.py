"""What is said of each object of a namespace: to whoever administers the cluster all of it, to a tenant what is theirs.

A namespace with a ceiling is a tenant's. What it is told never names people or hosts of others: guards that speak of
the whole cluster are named and no more, and whatever names somebody nevertheless is not passed on.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from teleport.api import models as m
from teleport.core.errors import Problem
from teleport.gitops.ceiling import Reach
from teleport.gitops.order import Ref
from teleport.gitops.partial import Partial, Waiting
from teleport.gitops.piecemeal import Case, Finding

__all__ = ["Confidant", "Settled", "Tenant", "answer_of", "problems_of"]

_WORD: Final = re.compile(r"\w+")
_ABOUT_ITSELF: Final = ("ceiling", "emptied", "secrets")
"""Guards that speak of nothing but the source."""
_GUARD: Final = re.compile(r"refused by the guard ([a-z_]+): ")
_ELSEWHERE: Final = "who administers the cluster sees why: tctl policy status"
_BEYOND: Final = "refused by the guard ceiling: the source may not own an object of this kind and name"
"""Also where somebody else has one: whether that is so is no business of a tenant."""
_LINES: Final = 20
"""Problems of one object that its status tells."""
_MOST: Final = 10
"""Names that one message lists."""


@dataclass(frozen=True)
class Settled:
    """What became of each object."""

    case: Case
    part: Partial
    findings: Mapping[Ref, Finding]
    revision: int


class Confidant:
    """Is told everything."""

    def names(self, gainers: Collection[str]) -> str:
        """Some people in words."""
        return _listed(sorted(gainers), 0)

    def text(self, problem: Problem, ref: Ref | None = None) -> str:
        """What is wrong, with the object `ref` if it is one."""
        return _without_file(problem)

    def may_own(self, ref: Ref) -> bool:
        """Whether there may be such an object of this reader at all."""
        return True


class Tenant(Confidant):
    """Is told nothing that names people or hosts of others."""

    def __init__(self, reach: Reach, own: Collection[str], others: Iterable[str]) -> None:
        """`own` are the people and hosts of the source, `others` those of everybody else, by name."""
        self._reach, self._own = reach, frozenset(own)
        self._others: dict[str, list[str]] = {}
        for name in set(others) - self._own:
            for word in _WORD.findall(name)[:1]:
                self._others.setdefault(word, []).append(name)

    def names(self, gainers: Collection[str]) -> str:
        known = sorted(self._own.intersection(gainers))
        return _listed(known, len(set(gainers)) - len(known))

    def text(self, problem: Problem, ref: Ref | None = None) -> str:
        text, guard = _without_file(problem), _GUARD.match(problem.message)
        if guard is not None and guard[1] not in _ABOUT_ITSELF:
            return f"refused by the guard {guard[1]}; {_ELSEWHERE}"
        return f"it concerns what others declare; {_ELSEWHERE}" if self._names(text, ref) else text

    def may_own(self, ref: Ref) -> bool:
        return self._reach.may_own(*ref)

    def _names(self, text: str, ref: Ref | None) -> bool:
        """Whether a text names somebody else, apart from the name that the object itself bears."""
        known = ref[1] if ref is not None else ""
        words = set(_WORD.findall(text))
        return any(name in text for word in words for name in self._others.get(word, ()) if name != known)


def problems_of(settled: Settled) -> tuple[Problem, ...]:
    """Everything that keeps something out of force, or in it, with the file of its object."""
    return tuple(_problems(settled))


def _problems(settled: Settled) -> Iterator[Problem]:
    part, case = settled.part, settled.case
    for ref, found in part.stalled.items():
        for problem in found:
            if case.pruned(ref):
                yield Problem(case.owned[ref].origin.file, 0, 0, _kept(problem.message), problem.hint)
            else:
                yield problem if problem.file else Problem(_file(case, ref), 0, 0, problem.message, problem.hint)
    for ref, waiting in part.waiting.items():
        yield Problem(_file(case, ref), 0, 0, _waits(case, ref, waiting, Confidant()))


def _file(case: Case, ref: Ref) -> str:
    resource = case.declared.get(ref) or case.owned.get(ref)
    return resource.origin.file if resource is not None else ""


def _kept(why: str) -> str:
    return f"it is declared no longer, and stays in force: {why}"


def _waits(case: Case, ref: Ref, waiting: Waiting, reader: Confidant) -> str:
    what = "its deletion waits" if case.pruned(ref) else "waits"
    if waiting.gainers:
        return f"{what} until nothing of this source is stalled: it gives more to {reader.names(waiting.gainers)}"
    return f"{what} for another change that waits: {reader.text(Problem('', 0, 0, waiting.needs))}"


def answer_of(settled: Settled, reaches: Mapping[str, str], reader: Confidant) -> m.FeedAnswer:
    """To an operator. `reaches` are lines about roles, by name."""
    case = settled.case
    objects = [_verdict(settled, file, ref, reaches, reader) for file, ref in case.read.refs.items()]
    kept = [
        _out(settled, _place(case.owned[ref].origin.file), ref, reader)
        for ref in sorted((*settled.part.stalled, *settled.part.waiting))
        if case.pruned(ref)
    ]
    return m.FeedAnswer(revision=settled.revision, objects=tuple(objects), kept=tuple(kept))


def _verdict(settled: Settled, file: str, ref: Ref, reaches: Mapping[str, str], reader: Confidant) -> m.ObjectVerdict:
    place = _place(file)
    if ref in settled.part.stalled or ref in settled.part.waiting:
        return _out(settled, place, ref, reader)
    if ref in settled.case.read.ignored:
        message = "it is left as it is in the cluster, as the annotation teleport.dev/ignore asks"
        return m.ObjectVerdict(place=place, state="Ready", reason="Ignored", message=message)
    reach = reaches.get(ref[1], "") if ref[0] == "role" else ""
    return m.ObjectVerdict(place=place, state="Ready", reason="Applied", reach=reach)


def _out(settled: Settled, place: str, ref: Ref, reader: Confidant) -> m.ObjectVerdict:
    """Of what is not as it is declared."""
    case, waiting = settled.case, settled.part.waiting.get(ref)
    if waiting is not None:
        message = _waits(case, ref, waiting, reader)
        return m.ObjectVerdict(place=place, state="Reconciling", reason="Waiting", message=message)
    finding = settled.findings.get(ref)
    if finding is not None and finding.reason == "NotOwned" and not reader.may_own(ref):
        return m.ObjectVerdict(place=place, state="Stalled", reason="Guarded", message=_BEYOND)
    message = "\n".join(dict.fromkeys(reader.text(one, ref) for one in settled.part.stalled[ref][:_LINES]))
    return m.ObjectVerdict(
        place=place, state="Stalled", reason=_reason(case, ref, finding),
        message=_kept(message) if case.pruned(ref) else message,
        valid=ref not in case.findings, owned=finding is None or finding.reason != "NotOwned",
    )  # fmt: skip


def _reason(case: Case, ref: Ref, finding: Finding | None) -> str:
    if case.pruned(ref):
        return "PruneRefused"
    return finding.reason if finding is not None else "Invalid"


def _place(file: str) -> str:
    """`KIND/NAME` of `kubernetes:NAMESPACE/KIND/NAME`."""
    return file.partition("/")[2]


def _without_file(problem: Problem) -> str:
    return str(Problem("", 0, 0, problem.message, problem.hint))


def _listed(names: list[str], more: int) -> str:
    """Some names, and how many there are besides."""
    more += max(0, len(names) - _MOST)
    if not names:
        return f"{more} {'person' if more == 1 else 'people'}"
    rest = [f"{more} other{'' if more == 1 else 's'}"] if more else []
    return ", ".join(names[:_MOST] + rest)
