"""The reconciler: the last good state stays, status says why, what fails is tried again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from teleport.core.aio import SystemClock
from teleport.core.errors import Invalid, Problem, Unavailable
from teleport.gitops.folder import FolderSource
from teleport.gitops.loop import Guarded, Loop, SourceState
from teleport.gitops.watch import watch_folder
from teleport.resources.kinds import AnyResource
from teleport.resources.load import Loaded
from tests.builders import FakeClock
from tests.gitops.test_plan import lock


class Source:
    """What a source declares, set by the test."""

    name, kind, place = "ops", "test", "nowhere"

    def __init__(self, *resources: AnyResource) -> None:
        self.loaded = Loaded(tuple(resources))
        self.failure: Exception | None = None

    async def load(self) -> Loaded:
        if self.failure is not None:
            raise self.failure
        return self.loaded


class Cluster:
    """Takes what it is given, or refuses it."""

    def __init__(self) -> None:
        self.owned: dict[tuple[str, str], AnyResource] = {}
        self.refusal: Exception | None = None
        self.applied: list[list[str]] = []
        self.stalls: list[Sequence[Problem]] = []
        self.judged: tuple[Problem, ...] = ()
        self.commits: list[str] = []
        self.stalled_at: list[str] = []

    async def apply(
        self, source: str, desired: Sequence[AnyResource], *, commit: str = ""
    ) -> tuple[int, int, tuple[Problem, ...]]:
        if self.refusal is not None:
            raise self.refusal
        before, self.owned = self.owned, {(one.kind, one.name): one for one in desired}
        self.applied.append([one.name for one in desired])
        self.commits.append(commit)
        return len(self.applied), len(before.keys() ^ self.owned.keys()), ()

    async def faults(self, source: str, loaded: Loaded) -> tuple[Problem, ...]:
        return self.judged

    async def stalled(self, source: str, problems: Sequence[Problem], *, commit: str = "") -> None:
        self.stalls.append(problems)
        self.stalled_at.append(commit)


def loop_of(source: Source, cluster: Cluster) -> tuple[Loop, list[SourceState]]:
    shown: list[SourceState] = []
    return Loop(source, cluster, clock=FakeClock(100.0), interval=30, changed=shown.append), shown


async def test_what_is_declared_is_applied_and_the_source_is_ready() -> None:
    source, cluster = Source(lock("a")), Cluster()
    loop, _ = loop_of(source, cluster)

    assert await loop.reconcile()

    assert cluster.applied == [["a"]]
    assert (loop.state.state, loop.state.objects, loop.state.last_applied) == ("Ready", 1, 100.0)


async def test_a_set_that_does_not_load_changes_nothing_and_says_why_once() -> None:
    source, cluster = Source(lock("a")), Cluster()
    loop, _ = loop_of(source, cluster)
    await loop.reconcile()
    problem = Problem("roles/dev.yaml", 14, 5, "unknown field logns", "did you mean logins?")
    source.loaded = Loaded((), (problem,))

    await loop.reconcile()
    await loop.reconcile()

    assert list(cluster.owned) == [("lock", "a")]
    assert (loop.state.state, loop.state.message) == ("Stalled", str(problem))
    assert cluster.stalls == [(problem,)]


async def test_what_the_cluster_refuses_stalls_with_every_problem() -> None:
    source, cluster = Source(lock("a")), Cluster()
    problems = [Problem("a.yaml", n, 1, f"wrong {n}") for n in (1, 2, 3)]
    cluster.refusal = Invalid(problems)
    loop, _ = loop_of(source, cluster)

    assert await loop.reconcile()

    assert loop.state.problems == tuple(problems)
    assert loop.state.message == "a.yaml:1:1: wrong 1 (and 2 more)"


async def test_commits_are_told_to_the_cluster_the_status_and_whoever_asked() -> None:
    source, cluster, told = Source(lock("a")), Cluster(), list[str]()

    async def applied(commit: str) -> None:
        told.append(commit)

    loop = Loop(source, cluster, clock=FakeClock(), interval=30, changed=lambda state: None, applied=applied)
    source.loaded = Loaded((lock("a"),), commit="c1")
    await loop.reconcile()
    source.loaded = Loaded((), (Problem("x", 1, 1, "bad"),), commit="c2")

    await loop.reconcile()

    assert (cluster.commits, told) == (["c1"], ["c1"])
    assert (loop.state.applied_commit, loop.state.attempted_commit) == ("c1", "c2")
    assert cluster.stalled_at == ["c2"]


async def test_mended_it_is_ready_again() -> None:
    source, cluster = Source(lock("a")), Cluster()
    loop, _ = loop_of(source, cluster)
    source.loaded = Loaded((), (Problem("x", 1, 1, "bad"),))
    await loop.reconcile()
    source.loaded = Loaded((lock("b"),))

    await loop.reconcile()

    assert (loop.state.state, loop.state.problems, loop.state.message) == ("Ready", (), "")


@pytest.mark.parametrize("failure", [Unavailable("the store is closed"), OSError("io")])
async def test_a_failure_that_may_pass_is_tried_again_soon(failure: Exception) -> None:
    source, cluster = Source(lock("a")), Cluster()
    source.failure = failure
    loop, _ = loop_of(source, cluster)

    assert not await loop.reconcile()

    assert loop.state.state == "Reconciling"


async def test_an_edit_in_a_watched_folder_is_applied_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: lock\nversion: v2\nmetadata: {name: a}\nspec: {target: {user: ann}}\n")
    cluster, applied = Cluster(), asyncio.Event()
    states: list[str] = []

    def changed(state: SourceState) -> None:
        states.append(state.state)
        applied.set()

    loop = Loop(FolderSource(tmp_path, name="ops"), cluster, clock=SystemClock(), interval=60, changed=changed)

    async def watch() -> AsyncIterator[None]:
        async for _ in watch_folder(tmp_path):
            yield

    running = asyncio.create_task(loop.run(watch))
    async with asyncio.timeout(5):
        await applied.wait()
        applied.clear()
        (tmp_path / "b.yaml").write_text("kind: lock\nversion: v2\nmetadata: {name: b}\nspec: {target: {user: bob}}\n")
        while len(cluster.owned) < 2:
            await applied.wait()
            applied.clear()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert sorted(cluster.owned) == [("lock", "a"), ("lock", "b")]


async def test_a_suspended_source_is_not_even_read_until_it_is_resumed() -> None:
    source, cluster = Source(lock("a")), Cluster()
    loop, shown = loop_of(source, cluster)
    await loop.reconcile()
    await loop.suspend("under attack")
    source.loaded = Loaded((lock("a"), lock("b")))

    assert await loop.reconcile()
    suspended = (loop.state.state, loop.state.message, list(cluster.applied))
    loop.resume()
    await loop.reconcile()

    assert suspended == ("Suspended", "under attack", [["a"]])
    assert cluster.applied == [["a"], ["a", "b"]]
    assert (loop.state.state, loop.state.message) == ("Ready", "")
    assert shown


async def test_suspending_waits_for_a_pass_that_is_under_way() -> None:
    began, go = asyncio.Event(), asyncio.Event()

    class Slow(Source):
        async def load(self) -> Loaded:
            began.set()
            await go.wait()
            return await super().load()

    source, cluster = Slow(lock("a")), Cluster()
    loop, _ = loop_of(source, cluster)
    passing = asyncio.create_task(loop.reconcile())
    await began.wait()

    suspending = asyncio.create_task(loop.suspend("now"))
    await asyncio.sleep(0)
    waited = not suspending.done()
    go.set()
    await asyncio.gather(passing, suspending)

    assert waited
    assert loop.state.state == "Suspended"


async def test_what_a_source_declares_is_known_though_it_is_refused() -> None:
    source, cluster = Source(lock("a")), Cluster()
    loop, _ = loop_of(source, cluster)
    cluster.refusal = Invalid([Problem("a.yaml", 1, 1, "lock/a belongs to the source api")])

    await loop.reconcile()

    assert loop.declared == {("lock", "a")}
    assert loop.looked.is_set()


async def test_a_source_says_in_a_word_why_it_is_in_its_state_and_since_when() -> None:
    source, cluster, clock = Source(lock("a")), Cluster(), FakeClock(100.0)
    loop = Loop(source, cluster, clock=clock, interval=30, changed=lambda state: None)
    found = [(loop.state.state, loop.state.reason)]

    async def after(**changes: object) -> None:
        for name, value in changes.items():
            setattr(cluster if hasattr(cluster, name) else source, name, value)
        clock.advance(10)
        await loop.reconcile()
        found.append((loop.state.state, loop.state.reason))

    await after()
    await after()
    since = loop.state.since
    await after(loaded=Loaded((), (Problem("x", 1, 1, "bad"),)))
    await after(loaded=Loaded((), (Problem("commit c", 0, 0, "unsigned"),), refusal="Unverified"))
    await after(loaded=Loaded(), refusal=Guarded([Problem("x", 0, 0, "nothing is left")], ["emptied"]))
    await after(loaded=Loaded((lock("b"),)), refusal=Guarded([Problem("x", 1, 1, "many")], ["people", "emptied"]))
    await after(refusal=Invalid([Problem("x", 1, 1, "taken")]))
    await after(refusal=Unavailable("the disk is full"))
    await after(refusal=None, failure=Unavailable("no server"))

    assert since == 110.0
    assert found == [
        ("Reconciling", "NotRead"), ("Ready", "Applied"), ("Ready", "Applied"), ("Stalled", "Invalid"),
        ("Stalled", "Unverified"), ("Stalled", "Emptied"), ("Stalled", "Guarded"), ("Stalled", "Invalid"),
        ("Reconciling", "Failed"), ("Reconciling", "Unreachable"),
    ]  # fmt: skip
    assert loop.state.tally.refused == {"Invalid": 2, "Unverified": 1, "Emptied": 1, "Guarded": 1}
    assert (loop.state.tally.reads, loop.state.tally.read_failures, loop.state.tally.apply_failures) == (9, 1, 1)


async def test_what_is_not_in_force_ages_from_when_it_was_first_seen_and_not_anew_with_each_commit() -> None:
    source, cluster, clock = Source(lock("a")), Cluster(), FakeClock(100.0)
    loop = Loop(source, cluster, clock=clock, interval=30, changed=lambda state: None)
    found = []

    async def after(loaded: Loaded | None) -> None:
        source.failure = None if loaded else Unavailable("no server")
        source.loaded = loaded or source.loaded
        clock.advance(10)
        await loop.reconcile()
        found.append(loop.state.unapplied_since)

    bad = (Problem("x", 1, 1, "bad"),)
    await after(Loaded((lock("a"),), commit="c1"))
    await after(Loaded((), bad, commit="c2"))
    await after(Loaded((), bad, commit="c3"))
    await after(None)
    await after(Loaded((lock("a"),), commit="c4"))
    await after(Loaded((), bad, commit="c5"))
    await after(Loaded((lock("a"),), commit="c4"))
    await after(Loaded((), bad, commit="c4"))

    assert found == [0.0, 120.0, 120.0, 120.0, 0.0, 160.0, 0.0, 0.0]


async def test_a_new_commit_is_told_of_before_it_is_judged() -> None:
    source, cluster, states = Source(lock("a")), Cluster(), list[tuple[str, str]]()
    loop = Loop(
        source, cluster, clock=FakeClock(), interval=30,
        changed=lambda state: states.append((state.reason, state.attempted_commit)),
    )  # fmt: skip
    source.loaded = Loaded((lock("a"),), commit="c1")

    await loop.reconcile()
    await loop.reconcile()

    assert states == [("Applying", "c1"), ("Applied", "c1"), ("Applied", "c1")]
