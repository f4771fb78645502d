"""The reconciler: load, judge, apply; again when the source changes, and every so often anyway.

Level-triggered: each pass compares everything. What is wrong with a source stalls it, with the reasons in its
status, and the last good state stays in force; what fails for other reasons is tried again.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from teleport.core.aio import Clock
from teleport.core.errors import Invalid, Problem, TeleportError
from teleport.gitops.order import Ref
from teleport.gitops.tally import Tally
from teleport.resources.kinds import AnyResource
from teleport.resources.load import Loaded
from teleport.resources.secret_ref import plain_secrets

__all__ = ["Guarded", "Loop", "Outcome", "PolicyService", "Settle", "Source", "SourceState"]

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
_EMPTIED = "emptied"
"""The guard against a source that loses all of something at once."""


class Guarded(Invalid):
    """What is declared would hold by itself, and yet these guards, tests or invariants refuse it."""

    def __init__(self, problems: Sequence[Problem], guards: Iterable[str]) -> None:
        super().__init__(problems)
        self.guards = frozenset(guards)


class Source(Protocol):
    """Where policy comes from."""

    name: str
    kind: str

    @property
    def place(self) -> str: ...

    async def load(self) -> Loaded: ...


class PolicyService(Protocol):
    """The cluster's policy, as a source sees it."""

    async def apply(
        self, source: str, desired: Sequence[AnyResource], *, commit: str = ""
    ) -> tuple[int, int, tuple[Problem, ...]]:
        """Make it own exactly this: the revision, how many objects changed, and warnings. Raises Invalid."""
        ...

    async def faults(self, source: str, loaded: Loaded) -> tuple[Problem, ...]:
        """What the judge says about that part of a broken set which could be read."""
        ...

    async def stalled(self, source: str, problems: Sequence[Problem], *, commit: str = "") -> None:
        """Note in the audit log that a source is refused, and at which commit."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What came into force."""

    revision: int
    changed: int
    """How many objects."""
    objects: int
    """How many the source has in force now."""
    warnings: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Why that is not all that is declared."""


Settle = Callable[[Loaded], Awaitable[Outcome]]
"""Brings into force what can be of a set whose objects stand alone."""


@dataclass
class SourceState:
    """What `tctl policy status` shows of a source."""

    name: str
    kind: str
    place: str
    state: Literal["Ready", "Reconciling", "Stalled", "Suspended"] = "Reconciling"
    reason: str = "NotRead"
    """The state's cause in one word: `Applied`; `NotRead`, `Applying`, `Unreachable`, `Failed`; or of what is stalled
    `Invalid`, `Emptied`, `Guarded`, `Partial`, or the source's own, such as `Unverified`."""
    since: float = 0.0
    """Since when it is in this state for this reason."""
    message: str = ""
    last_seen: float = 0.0
    last_applied: float = 0.0
    revision: int = 0
    objects: int = 0
    problems: tuple[Problem, ...] = field(default_factory=tuple)
    warnings: tuple[Problem, ...] = field(default_factory=tuple)
    attempted_commit: str = ""
    """The commit that was read last; empty for sources that have none."""
    applied_commit: str = ""
    """The commit that is in force."""
    news: bool = False
    """Whether the last pass changed what is in force."""
    unapplied_since: float = 0.0
    """When this cluster first saw something that is not in force yet; 0 while all that was read is."""
    tally: Tally = field(default_factory=Tally)

    def turn(
        self, state: Literal["Ready", "Reconciling", "Stalled", "Suspended"], reason: str, message: str, now: float
    ) -> None:
        """Come to a state for a reason."""
        if (self.state, self.reason) != (state, reason) or not self.since:
            self.since = now
        self.state, self.reason, self.message = state, reason, message


class Loop:
    """Keeps one source reconciled. `poke` makes the next pass come at once."""

    def __init__(
        self, source: Source, service: PolicyService, *, clock: Clock, interval: float,
        changed: Callable[[SourceState], None], applied: Callable[[str], Awaitable[None]] | None = None,
        retry: float = _RETRY_SECONDS, suspended: str = "", settle: Settle | None = None,
    ) -> None:  # fmt: skip
        """`applied` is told the commit of what came into force; `retry` are the seconds after a failure.

        `settle` is asked of sources whose objects stand alone; all others come into force whole or not at all.

        `suspended` says why nothing is to be read, applied or repaired for the time being.
        """
        self._source, self._service, self._clock = source, service, clock
        self._changed, self._applied, self._retry, self._settle = changed, applied, retry, settle
        self.interval = interval
        """Seconds between full passes; may be changed while the loop runs."""
        self._poked = asyncio.Event()
        self._passing = asyncio.Lock()
        self.looked = asyncio.Event()
        """Set once the first pass is over, however it ended."""
        self.declared: frozenset[Ref] = frozenset()
        """What the source declared when it was read last."""
        self.suspended = suspended
        """Why nothing is done for the time being, or nothing."""
        self.state = SourceState(source.name, source.kind, source.place)

    def poke(self) -> None:
        self._poked.set()

    async def suspend(self, reason: str) -> None:
        """Nothing is read, applied or repaired any more once this returns."""
        self.suspended = reason
        async with self._passing:
            self._suspended()

    def resume(self) -> None:
        self.suspended = ""
        self.poke()

    async def run(self, watch: Callable[[], AsyncIterator[None]] | None = None) -> None:
        """Reconcile until cancelled; `watch` yields when the source may have changed."""
        watching = asyncio.create_task(self._follow(watch)) if watch is not None else None
        try:
            while True:
                self._poked.clear()
                again = await self.reconcile()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.interval if again else self._retry):
                        await self._poked.wait()
        finally:
            if watching is not None:
                watching.cancel()

    async def reconcile(self) -> bool:
        """One pass at a time. False if it failed for a reason that trying again soon may mend."""
        async with self._passing:
            try:
                return await self._reconcile()
            finally:
                self.looked.set()

    def _suspended(self) -> None:
        self.state.turn("Suspended", "Suspended", self.suspended, self._clock.time())
        self.state.problems = ()
        self._changed(self.state)

    async def _reconcile(self) -> bool:
        if self.suspended:
            self._suspended()
            return True
        self.state.news = False
        loaded = await self._read()
        if loaded is None:
            return False
        try:
            if self._settle is not None:
                await self._settled(await self._settle(loaded))
                return True
            problems = [*loaded.problems, *plain_secrets((*loaded.resources, *loaded.remnants))]
            if problems:
                problems += await self._service.faults(self._source.name, loaded)
                await self._stall(problems, loaded.refusal or "Invalid")
                return True
            await self._apply(loaded.resources, loaded.commit)
        except Guarded as error:
            await self._stall(error.problems, "Emptied" if error.guards == {_EMPTIED} else "Guarded")
        except Invalid as error:
            await self._stall(error.problems, "Invalid")
        except (TeleportError, OSError) as error:
            self.state.tally.apply_failures += 1
            self._failed("Failed", error)
            return False
        return True

    async def _read(self) -> Loaded | None:
        """What is declared now; nothing if that cannot be found out. Tells of a commit that is new."""
        state, began = self.state, self._clock.monotonic()
        state.tally.reads += 1
        try:
            loaded = await self._source.load()
        except Invalid as error:
            loaded = Loaded(problems=error.problems, commit=state.attempted_commit)
        except (TeleportError, OSError) as error:
            state.tally.read_failures += 1
            self._failed("Unreachable", error)
            return None
        finally:
            state.tally.read_seconds += self._clock.monotonic() - began
        self.declared = frozenset((one.kind, one.name) for one in loaded.resources)
        state.last_seen, new = self._clock.time(), loaded.commit != state.attempted_commit
        state.attempted_commit = loaded.commit
        if new and loaded.commit != state.applied_commit:
            state.unapplied_since = state.unapplied_since or state.last_seen
            state.turn("Reconciling", "Applying", "", state.last_seen)
            self._changed(state)
        return loaded

    def _failed(self, reason: str, error: Exception) -> None:
        log.warning("source %s: %s", self._source.name, error)
        self.state.turn("Reconciling", reason, str(error), self._clock.time())
        self._changed(self.state)

    async def _apply(self, resources: Sequence[AnyResource], commit: str) -> None:
        revision, changed, warnings = await self._service.apply(self._source.name, resources, commit=commit)
        if self._applied is not None:
            await self._applied(commit)
        self._note(Outcome(revision, changed, len(resources), warnings), commit)
        self._ready()

    async def _settled(self, outcome: Outcome) -> None:
        self._note(outcome, "")
        if outcome.problems:
            await self._stall(outcome.problems, "Partial")
        else:
            self._ready()

    def _note(self, outcome: Outcome, commit: str) -> None:
        """What is in force now."""
        state = self.state
        if outcome.changed or state.applied_commit != commit:
            state.tally.applied += 1
        if outcome.changed or state.applied_commit != commit or not state.last_applied:
            state.last_applied = self._clock.time()
        if outcome.changed or state.state != "Ready":
            log.info("source %s: %d objects, %d changed, revision %d",
                     state.name, outcome.objects, outcome.changed, outcome.revision)  # fmt: skip
        for warning in outcome.warnings if outcome.warnings != state.warnings else ():
            log.warning("source %s: %s", state.name, warning)
        state.applied_commit, state.warnings, state.news = commit, outcome.warnings, bool(outcome.changed)
        state.revision, state.objects = outcome.revision, outcome.objects

    def _ready(self) -> None:
        self.state.turn("Ready", "Applied", "", self._clock.time())
        self.state.problems, self.state.unapplied_since = (), 0.0
        self._changed(self.state)

    async def _stall(self, problems: Sequence[Problem], reason: str) -> None:
        found = tuple(sorted(set(problems)))
        state, news = self.state, found != self.state.problems
        state.problems = found
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        state.turn("Stalled", reason, f"{found[0]}{more}", self._clock.time())
        if not state.attempted_commit or state.attempted_commit != state.applied_commit:
            state.unapplied_since = state.unapplied_since or state.last_seen
        if news:
            state.tally.refused[reason] += 1
        self._changed(state)
        if news:
            for problem in found[:20]:
                log.error("source %s is stalled: %s", state.name, problem)
            await self._service.stalled(state.name, found, commit=state.attempted_commit)

    async def _follow(self, watch: Callable[[], AsyncIterator[None]]) -> None:
        while True:
            try:
                async for _ in watch():
                    self.poke()
            except OSError as error:
                log.warning("source %s cannot be watched, so it is compared every %.0f s: %s",
                            self._source.name, self.interval, error)  # fmt: skip
            await self._clock.sleep(_RETRY_SECONDS)
