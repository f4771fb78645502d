"""The only door: who is let in, who is put out again, and that it happens once, with a reason."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from teleport.access.clusters import reaches_cluster
from teleport.access.decide import AccessRequest, Decision, Target, decide
from teleport.access.snapshot import Snapshot
from teleport.core.aio import utc
from teleport.core.errors import AccessDenied, Unavailable
from teleport.core.identity import Identity, Passage
from teleport.resources.kinds import AnyResource
from teleport.sessions.conditions import file_copy, recorded_as
from teleport.sessions.gate import AccessWithdrawn, Gate, Session
from tests.access.builders import from_yaml
from tests.builders import FakeClock
from tests.sessions.policies import CLUSTER, Policy, lock, role, setting, user

NOW = FakeClock().time()
ANN = Identity("user", "ann", "u-ann", CLUSTER, expires=NOW + 3600, authenticated=NOW - 60)
HOST = Target("node", "db-1", "h-1", {"env": "prod"})


def asking(identity: Identity = ANN, *, target: Target = HOST, login: str = "root") -> AccessRequest:
    return AccessRequest(identity, target, login)


@dataclass
class Visit:
    """One session in a task of its own, and how it went."""

    gate: Gate
    request: AccessRequest
    judge: Callable[[Snapshot, AccessRequest, float], Decision] = field(default=lambda s, r, n: decide(s, r, now=n))
    session: Session | None = None
    error: BaseException | None = None
    cancellations: int = 0
    task: "asyncio.Task[None]" = field(init=False)
    inside: asyncio.Event = field(default_factory=asyncio.Event)
    leave: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            async with self.gate.admit(self.request, judge=self.judge) as self.session:
                self.inside.set()
                try:
                    await self.leave.wait()
                except asyncio.CancelledError:
                    self.cancellations += 1
                    raise
        except (AccessDenied, Unavailable, AccessWithdrawn) as error:
            self.error = error
        finally:
            self.inside.set()

    @property
    def over(self) -> bool:
        return self.task.done()

    async def ended(self) -> str:
        """Why the session was withdrawn."""
        async with asyncio.timeout(1):
            await self.task
        assert isinstance(self.error, AccessWithdrawn), self.error
        return str(self.error)


@dataclass
class House:
    """A gate, its policy and its clock."""

    policy: Policy
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.gate = Gate(self.policy, clock=self.clock, staleness=60)

    async def enter(self, request: AccessRequest | None = None, **more: Any) -> Visit:
        visit = Visit(self.gate, request or asking(), **more)
        await visit.inside.wait()
        return visit


@asynccontextmanager
async def house(*resources: AnyResource) -> AsyncIterator[House]:
    made = House(Policy(*(resources or (role("dev"), user()))))
    before = asyncio.all_tasks()
    yield made
    for task in asyncio.all_tasks() - before:
        task.cancel()
        await asyncio.wait([task])


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


# -- at the door


async def test_who_may_enter_enters_and_the_session_says_why() -> None:
    async with house() as made:
        visit = await made.enter()

        assert visit.session is not None
        assert (visit.session.user, visit.session.login) == ("ann", "root")
        assert visit.session.decision.role == "dev"
        assert list(made.gate.live) == [visit.session]


async def test_who_leaves_is_not_live_any_more() -> None:
    async with house() as made:
        visit = await made.enter()

        visit.leave.set()
        await visit.task

        assert list(made.gate.live) == []
        assert visit.error is None


async def test_a_login_that_no_role_allows_is_refused_with_the_reason() -> None:
    async with house() as made:
        visit = await made.enter(asking(login="postgres"))

        assert isinstance(visit.error, AccessDenied)
        assert "ann may not log in as postgres on db-1 (role/dev allows root, not postgres)" in str(visit.error)
        assert list(made.gate.live) == []


async def test_a_host_that_no_role_could_mean_does_not_exist() -> None:
    async with house(role("dev", labels={"env": "test"}), user()) as made:
        visit = await made.enter()

        assert isinstance(visit.error, AccessDenied)
        assert visit.error.message == "node db-1 not found"
        assert "dev" not in str(visit.error.to_wire())


async def test_an_error_inside_a_decision_is_a_denial(caplog: pytest.LogCaptureFixture) -> None:
    def broken(snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
        raise ZeroDivisionError("secret detail")

    async with house() as made:
        visit = await made.enter(judge=broken)

        assert isinstance(visit.error, AccessDenied)
        assert "could not be evaluated" in visit.error.message
        assert "secret detail" not in str(visit.error.to_wire())
        assert "secret detail" in caplog.text


async def test_no_more_connections_than_the_roles_permit() -> None:
    async with house(role("dev", options={"max_connections": 2}), user(), user("bob")) as made:
        first, _ = await made.enter(), await made.enter()
        third = await made.enter()
        bob = await made.enter(asking(replace(ANN, name="bob", uid="u-bob")))

        assert isinstance(third.error, AccessDenied)
        assert "2 connections already" in third.error.message
        assert bob.error is None
        first.leave.set()
        await first.task
        assert (await made.enter()).error is None


async def test_a_login_older_than_the_roles_permit_is_refused() -> None:
    async with house(role("dev", options={"max_session_ttl": "1h"}), user()) as made:
        old = await made.enter(asking(replace(ANN, authenticated=NOW - 3600)))
        fresh = await made.enter(asking(replace(ANN, authenticated=NOW - 3599)))

        assert isinstance(old.error, AccessDenied)
        assert "log in again" in old.error.hint
        assert fresh.error is None


async def test_a_recreated_user_is_another() -> None:
    async with house(role("dev"), user(uid="u-2")) as made:
        visit = await made.enter()

        assert isinstance(visit.error, AccessDenied)
        assert "deleted and created again" in visit.error.message


@pytest.mark.parametrize("kind", ["host", "admin"])
async def test_only_users_have_sessions(kind: Any) -> None:
    async with house() as made:
        visit = await made.enter(asking(replace(ANN, kind=kind)))

        assert isinstance(visit.error, AccessDenied)


# -- a policy too old to trust


@pytest.mark.parametrize(("age", "let_in"), [(0.0, True), (60.0, True), (60.1, False), (float("inf"), False),
                                             (float("nan"), False)])  # fmt: skip
async def test_nobody_is_admitted_by_a_policy_too_old_to_trust(age: float, let_in: bool) -> None:
    async with house() as made:
        made.policy.seconds_old = age

        visit = await made.enter()

        assert (visit.error is None) == let_in
        assert let_in or isinstance(visit.error, Unavailable)


async def test_in_strict_mode_a_stale_policy_ends_sessions() -> None:
    async with house(role("dev", options={"lock": "strict"}), user()) as made:
        visit = await made.enter()
        made.policy.seconds_old = 60
        made.gate.check_staleness()
        await settle()
        assert not visit.over

        made.policy.seconds_old = 61
        made.gate.check_staleness()

        assert "the policy is 61 seconds old" in await visit.ended()


async def test_in_best_effort_mode_a_stale_policy_keeps_sessions_until_the_certificate_expires() -> None:
    async with house() as made:
        visit = await made.enter()
        made.policy.seconds_old = 3000
        made.clock.advance(3599)
        made.gate.check_staleness()
        await settle()
        assert not visit.over

        made.clock.advance(1)
        made.gate.check_staleness()

        assert "certificate expired while the policy could not be refreshed" in await visit.ended()


async def test_a_certificate_for_one_session_counts_by_the_login_behind_it() -> None:
    async with house() as made:
        visit = await made.enter(asking(replace(ANN, expires=NOW + 60, session_until=NOW + 3600)))
        made.policy.seconds_old = 3000

        made.clock.advance(61)
        made.gate.check_staleness()
        await settle()

        assert not visit.over


# -- judged again


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ([role("dev", logins="postgres"), user()], "role/dev no longer allows root on db-1"),
        ([role("dev", labels={"env": "test"}), user()], "role/dev no longer allows root on db-1"),
        ([role("dev")], "user ann does not exist"),
        ([role("dev"), user(uid="u-2")], "deleted and created again"),
        ([role("dev"), user(roles="")], "ann has no roles"),
        ([user(roles="dev")], "role/dev does not exist"),
        ([role("dev"), user(), lock(user="ann", message="gone fishing")], "lock/freeze on user ann: gone fishing"),
        ([role("dev"), user(), lock(role="dev")], "lock/freeze on role dev"),
        ([role("dev"), user(), lock(login="root")], "lock/freeze on login root"),
        ([role("dev"), user(), lock(server_id="h-1")], "lock/freeze on server_id h-1"),
        ([role("dev"), user(), lock(node="db-1")], "lock/freeze on node db-1"),
        ([role("dev"), role("no", labels={}, deny={"node_labels": {"env": "prod"}}), user(roles="dev no")],
         "role/no denies env=prod"),
        ([role("dev"), role("no", labels={}, deny={"logins": ["root"]}), user(roles="dev no")],
         "role/no denies login root"),
        ([role("dev", options={"require_session_mfa": True}), user()], "requires a second factor for each session"),
        ([role("dev"), user(), setting("cluster_auth_preference", require_session_mfa=True)],
         "this cluster requires a second factor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
async def test_a_changed_policy_ends_the_session_and_says_why(change: list[AnyResource], reason: str) -> None:
    async with house() as made:
        visit = await made.enter()

        made.policy.install(*change)

        said = await visit.ended()
        assert said.startswith("access withdrawn: ")
        assert reason in said
        assert visit.cancellations == 1


def of_commit(resource: AnyResource, commit: str) -> AnyResource:
    return resource.with_origin(replace(resource.origin, commit=commit))


@pytest.mark.parametrize(
    ("change", "commit"),
    [
        ([of_commit(role("dev", logins="postgres"), "c2"), of_commit(user(), "c1")], "(commit c2)"),
        ([of_commit(role("dev"), "c1"), of_commit(user(roles=""), "c2")], "(commit c2)"),
        ([of_commit(role("dev"), "c1"), of_commit(user(roles="dev no"), "c2"),
          of_commit(role("no", labels={}, deny={"logins": ["root"]}), "c3")], "(commit c3)"),
        ([of_commit(role("dev"), "c2"), of_commit(user(), "c1"), lock(user="ann")], ""),
        ([of_commit(role("dev"), "c1")], ""),
    ],
    ids=["role", "user", "deny", "lock", "deleted"],
)  # fmt: skip
async def test_the_commit_that_withdraws_access_is_named_where_it_can_be_told(
    change: list[AnyResource], commit: str
) -> None:
    async with house(of_commit(role("dev"), "c1"), of_commit(user(), "c1")) as made:
        visit = await made.enter()

        made.policy.install(*change)

        said = await visit.ended()
        assert said.endswith(commit)
        assert ("commit" in said) == bool(commit)


def declared(kind: str, commit: str, spec: str) -> AnyResource:
    """What is declared of the cluster `other`, in YAML's flow style."""
    version = {"trusted_cluster": "v2", "remote_cluster": "v3"}[kind]
    (one,) = from_yaml(f"kind: {kind}\nversion: {version}\nmetadata: {{name: other, {spec}\n")
    return of_commit(one, commit)


def mapping(remote: str, commit: str) -> AnyResource:
    role_map = f"role_map: [{{remote: {remote}, local: [dev]}}]"
    return declared("trusted_cluster", commit, f"}}\nspec: {{enabled: yes, web_proxy_addr: 'o:443', {role_map}}}")


@pytest.mark.parametrize(
    ("change", "commit"),
    [
        ([mapping("dev", "c2")], "(commit c2)"),
        ([mapping("ops", "c1"), lock(user="remote-ann-other")], ""),
    ],
    ids=["map", "lock"],
)
async def test_the_commit_of_a_map_that_gives_a_visitor_nothing_any_more_is_named(
    change: list[AnyResource], commit: str
) -> None:
    passage = Passage("ann", CLUSTER, "db-1", "root", "sid", "proxy", ("ops",), ())
    visitor = Identity("user", "remote-ann-other", "u", "other", expires=NOW + 3600, passage=passage)
    async with house(of_commit(role("dev"), "c1"), mapping("ops", "c1")) as made:
        visit = await made.enter(asking(visitor))

        made.policy.install(of_commit(role("dev"), "c1"), *change)

        said = await visit.ended()
        assert said.endswith(commit)
        assert ("commit" in said) == bool(commit)


@pytest.mark.parametrize(
    ("labels", "also", "commit"),
    [("no", [], "(commit c2)"), ("yes", [lock(user="ann")], "")],
    ids=["labels", "lock"],
)
async def test_the_commit_of_labels_that_no_role_selects_any_more_is_named(
    labels: str, also: list[AnyResource], commit: str
) -> None:
    text = "kind: role\nversion: v7\nmetadata: {name: dev}\nspec: {allow: {cluster_labels: {partner: 'yes'}}}\n"
    dev = [of_commit(one, "c1") for one in from_yaml(text)]

    def remote(value: str, commit: str) -> AnyResource:
        return declared("remote_cluster", commit, f"labels: {{partner: '{value}'}}}}")

    async with house(*dev, user(), remote("yes", "c1")) as made:
        visit = await made.enter(
            asking(target=Target("cluster", "other", "other", {}), login=""),
            judge=lambda snapshot, asked, now: reaches_cluster(snapshot, asked.identity, "other", now=now),
        )

        made.policy.install(*dev, user(), remote(labels, "c2"), *also)

        said = await visit.ended()
        assert said.endswith(commit)
        assert ("commit" in said) == bool(commit)


async def test_a_change_that_takes_nothing_away_disturbs_nobody() -> None:
    async with house() as made:
        visit = await made.enter()

        made.policy.install(role("dev", logins="root postgres"), user(), user("bob"), lock(user="bob"))
        made.policy.install(role("dev"), user(roles="dev"), lock(user="ann", expires=utc(NOW - 1)))
        await settle()

        assert not visit.over
        assert visit.session is not None
        assert visit.session.decision.revision == made.policy.current.revision


async def test_another_role_may_take_over_without_a_cut() -> None:
    async with house() as made:
        visit = await made.enter()

        made.policy.install(role("ops"), user(roles="ops"))
        await settle()

        assert not visit.over
        assert visit.session is not None
        assert visit.session.decision.role == "ops"


async def test_a_lock_that_was_lifted_lets_new_sessions_in_and_does_not_revive_old_ones() -> None:
    async with house() as made:
        locked_out = await made.enter()
        made.policy.install(role("dev"), user(), lock(user="ann"))
        await locked_out.ended()

        made.policy.install(role("dev"), user())

        assert (await made.enter()).error is None
        assert locked_out.over


async def test_judges_that_look_at_labels_of_their_own_are_asked_again() -> None:
    labels = {"env": "test"}

    def judge(snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
        return decide(snapshot, replace(request, target=replace(HOST, labels=dict(labels))), now=now)

    async with house(role("dev", labels={"env": "test"}), user()) as made:
        visit = await made.enter(judge=judge)

        labels["env"] = "prod"
        made.gate.rejudge()

        assert "role/dev no longer allows root" in await visit.ended()


async def test_an_error_while_judging_again_ends_that_session_and_the_others_are_judged_all_the_same() -> None:
    fail = False

    def brittle(snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
        if fail:
            raise ZeroDivisionError
        return decide(snapshot, request, now=now)

    async with house(role("dev"), user(), user("bob"), user("eve")) as made:
        unlucky = await made.enter(judge=brittle)
        bob = await made.enter(asking(replace(ANN, name="bob", uid="u-bob")))
        eve = await made.enter(asking(replace(ANN, name="eve", uid="u-eve")))

        fail = True
        made.policy.install(role("dev"), user(), user("eve"))

        assert "could not be evaluated" in await unlucky.ended()
        assert "user bob does not exist" in await bob.ended()
        await settle()
        assert not eve.over


async def test_a_closed_gate_follows_no_policy() -> None:
    async with house() as made:
        visit = await made.enter()

        made.gate.close()
        made.policy.install(role("dev"))
        await settle()

        assert not visit.over


async def test_a_thousand_sessions_are_judged_at_once_and_those_that_ask_the_same_only_once() -> None:
    asked = 0

    class Server:
        """Has a judge as protocols do: a method, which is another object each time it is looked up."""

        def judge(self, snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
            nonlocal asked
            asked += 1
            return decide(snapshot, request, now=now)

    server = Server()
    people = [f"p{number}" for number in range(10)]
    async with house(role("dev"), *(user(name) for name in people)) as made:
        visits = [
            await made.enter(asking(replace(ANN, name=name, uid=f"u-{name}")), judge=server.judge)
            for name in people
            for _ in range(100)
        ]
        asked, started = 0, time.perf_counter()

        made.policy.install(role("dev"), *(user(name) for name in people[1:]))
        took = time.perf_counter() - started
        await settle()

        assert asked == len(people)
        assert took < 0.5
        assert [visit.over for visit in visits] == [True] * 100 + [False] * 900


# -- by time alone


async def test_a_shortened_session_ends_at_its_new_end() -> None:
    async with house() as made:
        visit = await made.enter(asking(replace(ANN, authenticated=NOW - 1799.95)))

        made.policy.install(role("dev", options={"max_session_ttl": "30m"}), user())
        await settle()
        assert not visit.over

        assert "role/dev permits logins of at most 30m" in await visit.ended()


async def test_a_session_older_than_its_shortened_end_ends_at_once() -> None:
    async with house() as made:
        visit = await made.enter(asking(replace(ANN, authenticated=NOW - 7200)))

        made.policy.install(role("dev", options={"max_session_ttl": "1h"}), user())

        assert "at most 1h" in await visit.ended()


async def test_an_expired_certificate_ends_the_session_where_the_policy_says_so() -> None:
    async with house(role("dev", options={"disconnect_expired_cert": True}), user()) as made:
        visit = await made.enter(asking(replace(ANN, expires=NOW + 0.05)))

        assert "the certificate expired at" in await visit.ended()


async def test_an_expired_certificate_keeps_its_session_otherwise() -> None:
    async with house() as made:
        visit = await made.enter(asking(replace(ANN, expires=NOW + 0.02)))

        made.clock.advance(10)
        made.gate.check_staleness()
        await asyncio.sleep(0.05)

        assert not visit.over


async def test_the_certificates_expiry_counts_once_the_policy_says_so() -> None:
    async with house() as made:
        visit = await made.enter(asking(replace(ANN, expires=NOW + 5)))
        made.clock.advance(10)

        made.policy.install(role("dev"), user(), setting("cluster_auth_preference", disconnect_expired_cert=True))

        assert "the certificate expired" in await visit.ended()


async def test_a_user_who_ceases_to_exist_is_put_out_though_nothing_was_edited() -> None:
    async with house(role("dev"), user(expires=utc(NOW + 0.05))) as made:
        visit = await made.enter()
        await asyncio.sleep(0)
        made.clock.advance(1)

        assert "user ann expired at" in await visit.ended()


async def test_a_jump_of_the_wall_clock_is_noticed() -> None:
    async with house(role("dev", options={"disconnect_expired_cert": True}), user()) as made:
        visit = await made.enter()
        made.clock.advance(4000)
        await settle()
        assert not visit.over

        made.gate.check_staleness()

        assert "the certificate expired" in await visit.ended()


# -- what rests on conditions


@pytest.mark.parametrize(
    "change",
    [
        [role("dev", options={"record_session": {"default": "strict"}}), user()],
        [role("dev"), user(), setting("session_recording_config", mode="node-sync")],
    ],
)
async def test_a_channel_that_is_recorded_too_little_now_ends_and_the_session_goes_on(
    change: list[AnyResource],
) -> None:
    async with house() as made:
        visit = await made.enter()
        assert visit.session is not None
        ended: list[str] = []

        with visit.session.hold(recorded_as(visit.session.conditions), ended.append):
            made.policy.install(*change)
            made.policy.install(*change)

        assert len(ended) == 1
        assert "recorded" in ended[0]
        await settle()
        assert not visit.over


async def test_a_channel_that_is_recorded_more_than_demanded_goes_on() -> None:
    strict = role("dev", options={"record_session": {"default": "strict"}})
    async with house(strict, user(), setting("session_recording_config", mode="node-sync")) as made:
        visit = await made.enter()
        assert visit.session is not None
        ended: list[str] = []

        with visit.session.hold(recorded_as(visit.session.conditions), ended.append):
            made.policy.install(role("dev"), user(), setting("session_recording_config", mode="off"))

        assert ended == []


async def test_what_is_not_permitted_is_not_begun() -> None:
    async with house(role("dev", options={"ssh_file_copy": False}), user()) as made:
        visit = await made.enter()
        assert visit.session is not None

        with pytest.raises(AccessDenied, match="copying files"), visit.session.hold(file_copy, print):
            pytest.fail("the block ran")


async def test_a_finished_channel_is_not_told_any_more() -> None:
    async with house() as made:
        visit = await made.enter()
        assert visit.session is not None
        ended: list[str] = []
        with visit.session.hold(file_copy, ended.append):
            pass

        made.policy.install(role("dev", options={"ssh_file_copy": False}), user())

        assert ended == []


async def test_who_watches_hears_of_changes_and_of_nothing_else() -> None:
    async with house() as made:
        visit = await made.enter()
        assert visit.session is not None
        heard: list[float] = []
        stop = visit.session.watch(lambda: heard.append(visit.session.conditions.idle_timeout if visit.session else 0))

        made.policy.install(role("dev"), user(), user("bob"))
        made.policy.install(role("dev", options={"client_idle_timeout": "5m"}), user())
        stop()
        stop()
        made.policy.install(role("dev"), user())

        assert heard == [300.0]


async def test_who_cannot_be_told_takes_the_session_down() -> None:
    async with house() as made:
        visit = await made.enter()
        assert visit.session is not None
        visit.session.watch(lambda: 1 / 0)  # type: ignore[arg-type]

        made.policy.install(role("dev", options={"client_idle_timeout": "5m"}), user())

        assert "an internal error" in await visit.ended()


# -- cancellation, to the letter


async def test_several_reasons_at_once_cancel_once_and_the_first_is_told() -> None:
    async with house() as made:
        visit = await made.enter()
        assert visit.session is not None

        made.policy.install(role("dev"))
        made.policy.install(role("dev", logins="x"), user())
        visit.session.end("something else")

        assert "user ann does not exist" in await visit.ended()
        assert visit.cancellations == 1
        assert visit.task.cancelling() == 0


async def test_a_cancellation_from_outside_stays_one() -> None:
    async with house() as made:
        visit = await made.enter()

        visit.task.cancel()
        await asyncio.wait([visit.task])

        assert visit.task.cancelled()
        assert visit.error is None
        assert list(made.gate.live) == []


@pytest.mark.parametrize("outside_first", [True, False])
async def test_a_cancellation_from_outside_beats_a_withdrawal_at_the_same_moment(outside_first: bool) -> None:
    async with house() as made:
        visit = await made.enter()
        assert visit.session is not None

        for step in (True, False):
            if step == outside_first:
                visit.task.cancel()
            else:
                visit.session.end("withdrawn")
        await asyncio.wait([visit.task])

        assert visit.task.cancelled()


async def test_a_timeout_around_a_session_stays_a_timeout() -> None:
    async with house() as made:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), made.gate.admit(asking()):
                await asyncio.sleep(5)

        assert list(made.gate.live) == []


async def in_a_task(work: Any) -> Any:
    """In a task of its own, whose pending cancellations must all be used up afterwards."""

    async def run() -> Any:
        task = asyncio.current_task()
        assert task is not None
        try:
            return await work
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert task.cancelling() == 0

    return await asyncio.wait_for(asyncio.create_task(run()), 2)


async def test_a_body_that_finishes_at_the_moment_of_the_withdrawal_finishes() -> None:
    async with house() as made:

        async def work() -> str:
            async with made.gate.admit(asking()) as session:
                session.end("too late")
            await asyncio.sleep(0)
            return "finished"

        assert await in_a_task(work()) == "finished"


async def test_a_body_that_swallows_the_cancellation_leaves_none_behind() -> None:
    async with house() as made:

        async def work() -> str:
            async with made.gate.admit(asking()) as session:
                session.end("withdrawn")
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(5)
            await asyncio.sleep(0)
            return "finished"

        assert await in_a_task(work()) == "finished"


async def test_an_error_of_the_body_is_the_bodys() -> None:
    async with house() as made:

        async def work() -> None:
            async with made.gate.admit(asking()):
                raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await in_a_task(work())
        assert list(made.gate.live) == []


@pytest.mark.parametrize("delivered", [True, False])
async def test_an_error_while_being_withdrawn_is_a_withdrawal_that_knows_its_cause(delivered: bool) -> None:
    async with house() as made:

        async def work() -> None:
            async with made.gate.admit(asking()) as session:
                session.end("withdrawn")
                try:
                    if delivered:
                        await asyncio.sleep(5)
                finally:
                    raise OSError("cleaning up failed")

        with pytest.raises(AccessWithdrawn, match="withdrawn") as caught:
            await in_a_task(work())
        assert isinstance(caught.value.__cause__, OSError)


async def test_a_session_that_ends_itself_is_withdrawn() -> None:
    async with house() as made:

        async def work() -> None:
            async with made.gate.admit(asking()) as session:
                session.end("idle for too long")
                await asyncio.sleep(5)

        with pytest.raises(AccessWithdrawn, match="idle for too long"):
            await in_a_task(work())


async def test_ending_a_session_that_is_over_cancels_nobody() -> None:
    async with house() as made:

        async def work() -> str:
            async with made.gate.admit(asking()) as session:
                pass
            session.end("too late")
            await asyncio.sleep(0)
            return "finished"

        assert await in_a_task(work()) == "finished"


@pytest.mark.parametrize("which", ["outer", "inner", "both"])
async def test_nested_admissions_end_each_for_itself(which: str) -> None:
    async with house() as made:
        heard: list[str] = []

        async def work() -> None:
            try:
                async with made.gate.admit(asking()) as outer:
                    try:
                        async with made.gate.admit(asking(login="root")) as inner:
                            if which in ("outer", "both"):
                                outer.end("outer withdrawn")
                            if which in ("inner", "both"):
                                inner.end("inner withdrawn")
                            await asyncio.sleep(5)
                    except AccessWithdrawn as end:
                        heard.append(str(end))
            except AccessWithdrawn as end:
                heard.append(str(end))

        await in_a_task(work())

        assert heard == {"outer": ["outer withdrawn"], "inner": ["inner withdrawn"], "both": ["outer withdrawn"]}[which]
        assert list(made.gate.live) == []


async def test_children_of_the_session_are_cancelled_with_it() -> None:
    async with house() as made:
        cancelled = []

        async def child() -> None:
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        async def work() -> None:
            async with made.gate.admit(asking()) as session, asyncio.TaskGroup() as tasks:
                tasks.create_task(child())
                tasks.create_task(child())
                await asyncio.sleep(0)
                session.end("withdrawn")

        with pytest.raises(AccessWithdrawn):
            await in_a_task(work())
        assert cancelled == [True, True]
