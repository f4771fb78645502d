"""Metrics about the sources of policy and about telling others. `docs/watching.md` explains each, with alerts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from teleport.gitops.loop import Loop, SourceState
from teleport.service.notify import Notifier

__all__ = ["SOURCE_METRICS", "Metric", "Sample", "of_notifications", "of_sources"]


@dataclass(frozen=True)
class Metric:
    type: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()


Sample = tuple[str, Sequence[str], float]
"""A metric's name, the values of its labels, and its value."""

_SOURCE: Final = ("source",)
SOURCE_METRICS: Final[Mapping[str, Metric]] = {
    "teleport_source_state": Metric("gauge", "1 for the state that a source of policy is in", ("source", "state")),
    "teleport_source_unapplied_seconds": Metric(
        "gauge", "since something that is not in force was first seen; 0 if all that was read is in force", _SOURCE
    ),
    "teleport_source_applied_seconds": Metric("gauge", "since the source last changed something", _SOURCE),
    "teleport_source_applied_timestamp_seconds": Metric("gauge", "when the source last changed something", _SOURCE),
    "teleport_source_seen_seconds": Metric("gauge", "since the source was last read", _SOURCE),
    "teleport_source_seen_timestamp_seconds": Metric("gauge", "when the source was last read", _SOURCE),
    "teleport_source_problems": Metric("gauge", "faults for which the source is stalled", _SOURCE),
    "teleport_source_warnings": Metric("gauge", "warnings about what the source declares", _SOURCE),
    "teleport_source_objects": Metric("gauge", "objects that the source has in force", _SOURCE),
    "teleport_source_revision": Metric("gauge", "revision of the policy that the source was applied at", _SOURCE),
    "teleport_source_reads_total": Metric("counter", "readings of the source, by outcome", ("source", "outcome")),
    "teleport_source_read_seconds_total": Metric("counter", "what readings took in all", _SOURCE),
    "teleport_source_applies_total": Metric("counter", "times that something new was applied", ("source", "outcome")),
    "teleport_source_refusals_total": Metric("counter", "times that something new was refused", ("source", "reason")),
    "teleport_notifications_total": Metric("counter", "messages, by what became of them", ("receiver", "outcome")),
    "teleport_notifications_waiting": Metric("gauge", "messages that wait to be sent", ("receiver",)),
}

_STATES: Final = ("Ready", "Reconciling", "Stalled", "Suspended")
_OUTCOMES: Final = ("delivered", "failed", "dropped")
REASONS: Final = ("Invalid", "Emptied", "Guarded", "Partial", "WentBack", "Unverified", "Unapproved")


def of_sources(loops: Iterable[Loop], now: float) -> Iterator[Sample]:
    for loop in loops:
        yield from _of_state(loop.state, now)
        yield from _of_tally(loop.state)


def _of_state(state: SourceState, now: float) -> Iterator[Sample]:
    label = (state.name,)
    for known in _STATES:
        yield "teleport_source_state", (state.name, known), float(state.state == known)
    yield "teleport_source_unapplied_seconds", label, now - state.unapplied_since if state.unapplied_since else 0.0
    for name, moment in (("applied", state.last_applied), ("seen", state.last_seen)):
        if moment:
            yield f"teleport_source_{name}_seconds", label, now - moment
            yield f"teleport_source_{name}_timestamp_seconds", label, moment
    yield "teleport_source_problems", label, len(state.problems)
    yield "teleport_source_warnings", label, len(state.warnings)
    yield "teleport_source_objects", label, state.objects
    yield "teleport_source_revision", label, state.revision


def _of_tally(state: SourceState) -> Iterator[Sample]:
    name, tally = state.name, state.tally
    yield "teleport_source_reads_total", (name, "read"), tally.reads - tally.read_failures
    yield "teleport_source_reads_total", (name, "failed"), tally.read_failures
    yield "teleport_source_read_seconds_total", (name,), tally.read_seconds
    yield "teleport_source_applies_total", (name, "applied"), tally.applied
    yield "teleport_source_applies_total", (name, "failed"), tally.apply_failures
    for reason in sorted({*REASONS, *tally.refused}):
        yield "teleport_source_refusals_total", (name, reason), tally.refused[reason]


def of_notifications(notifier: Notifier) -> Iterator[Sample]:
    for name, channel in notifier.channels.items():
        for outcome in _OUTCOMES:
            yield "teleport_notifications_total", (channel.label, outcome), channel.outcomes[outcome]
        yield "teleport_notifications_waiting", (channel.label,), notifier.waiting(name)
