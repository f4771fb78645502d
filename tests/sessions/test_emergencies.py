"""Emergency changes as services follow them: in force at once, and over by their own clock, whoever is away."""

import asyncio
import contextlib

from teleport.access.decide import AccessRequest
from teleport.access.overlays import Overlay
from teleport.access.target import Target
from teleport.core.errors import AccessDenied
from teleport.core.identity import Identity
from teleport.resources.kinds import AnyResource
from teleport.sessions.gate import AccessWithdrawn, Gate
from teleport.sessions.policy import OVERLAYS
from tests.access.test_overlays import overlay
from tests.builders import FakeClock
from tests.sessions.live import Live, live
from tests.sessions.policies import CLUSTER, node, role, user

NARROW, WIDE, ANN = role("dev", labels={"env": "test"}), role("dev"), user("ann")
HOST = Target("node", "db-1", "h-1", {"env": "prod"})
REQUEST = AccessRequest(Identity("user", "ann", "u-ann", CLUSTER, expires=2e9), HOST, "root")


async def lay(seen: Live, one: Overlay) -> None:
    await seen._commit({f"{OVERLAYS}{one.ref}": one.encode()})


def emergency(
    clock: FakeClock, before: AnyResource = NARROW, after: AnyResource = WIDE, *, lasts: float = 60
) -> Overlay:
    return overlay(before, after, since=clock.time(), lasts=lasts)


async def test_it_is_in_force_at_once_and_over_at_its_end_though_nobody_says_so() -> None:
    clock = FakeClock()
    async with live(NARROW, ANN, clock=clock) as seen:
        await lay(seen, emergency(clock))
        during = seen.policy.current.roles["dev"].source.spec.allow.node_labels
        clock.advance(60)

        assert during == WIDE.spec.allow.node_labels
        assert seen.policy.current.roles["dev"].source.spec.allow == NARROW.spec.allow
        assert seen.policy.overlays != ()  # nobody has cleared it away


async def test_a_session_that_it_alone_allowed_ends_with_it_and_reads_why() -> None:
    clock = FakeClock()
    async with live(NARROW, ANN, clock=clock) as seen:
        gate = Gate(seen.policy, clock=clock)
        await lay(seen, emergency(clock))
        withdrawn = ""
        try:
            async with gate.admit(REQUEST):
                clock.advance(60)
                seen.policy.look()
                await asyncio.sleep(10)
        except AccessWithdrawn as error:
            withdrawn = str(error)

        assert withdrawn.startswith("access withdrawn: role/dev no longer allows root on db-1")
        assert withdrawn.endswith("(the emergency change of role/dev ended)")


async def test_the_end_comes_by_itself_in_real_time() -> None:
    async with live(NARROW, ANN) as seen:
        gate = Gate(seen.policy, clock=seen.replica._clock)
        began = FakeClock(seen.replica._clock.time())
        await lay(seen, emergency(began, lasts=0.3))
        with contextlib.suppress(AccessWithdrawn):
            async with asyncio.timeout(5), gate.admit(REQUEST) as session:
                await asyncio.sleep(10)

        assert session.ended.endswith("(the emergency change of role/dev ended)")


async def test_one_that_takes_rights_away_cuts_at_once_and_names_who_did_it() -> None:
    clock = FakeClock()
    async with live(WIDE, ANN, clock=clock) as seen:
        gate = Gate(seen.policy, clock=clock)
        reason = ""
        try:
            async with gate.admit(REQUEST):
                await lay(seen, emergency(clock, WIDE, NARROW))
                await asyncio.sleep(10)
        except AccessWithdrawn as error:
            reason = str(error)

        assert reason.endswith("(an emergency change of role/dev by ann)")


async def test_over_a_user_it_counts_for_that_incarnation_alone() -> None:
    clock = FakeClock()
    async with live(WIDE, role("ops"), user("ann", roles="ops"), clock=clock) as seen:
        await lay(seen, emergency(clock, user("ann", roles="ops"), user("ann", roles="dev")))
        first = seen.policy.current.users["ann"].spec.roles

        await seen.write(user("ann", roles="ops", uid="another"))

        assert first == ("dev",)
        assert seen.policy.current.users["ann"].spec.roles == ("ops",)


async def test_over_a_hosts_labels_it_is_known_to_the_fleet_and_gone_from_it() -> None:
    clock = FakeClock()
    async with live(node("db-1", env="prod"), clock=clock) as seen:
        await seen.report(node("db-1", uid="h-1"))
        heard: list[str] = []

        def look() -> None:
            found = seen.fleet.fleet.get("h-1")
            heard.append(found.labels["env"] if found is not None else "gone")

        seen.fleet.subscribe(look)
        await lay(seen, emergency(clock, node("db-1", env="prod"), node("db-1", env="test")))
        clock.advance(60)
        seen.policy.look()

        assert heard == ["test", "prod"]


async def test_when_a_declaration_changes_what_was_laid_over_it_is_void_in_the_same_moment() -> None:
    clock = FakeClock()
    async with live(NARROW, ANN, clock=clock) as seen:
        await lay(seen, emergency(clock))
        heard: list[list[str]] = []
        seen.policy.subscribe(lambda found: heard.append(list(found.roles["dev"].source.spec.allow.logins)))

        await seen.write(role("dev", logins="nobody"))

        assert heard == [["nobody"]]


async def test_listeners_hear_of_an_end_once_also_if_somebody_asked_before() -> None:
    clock = FakeClock()
    async with live(NARROW, ANN, clock=clock) as seen:
        await lay(seen, emergency(clock))
        heard: list[int] = []
        seen.policy.subscribe(lambda found: heard.append(len(found.ended)))
        clock.advance(60)
        assert seen.policy.current.overlays == ()

        seen.policy.look()
        seen.policy.look()

        assert heard == [1]


async def test_nobody_is_admitted_by_one_that_is_over() -> None:
    clock = FakeClock()
    async with live(NARROW, ANN, clock=clock) as seen:
        gate = Gate(seen.policy, clock=clock)
        await lay(seen, emergency(clock))
        gate.check(REQUEST)
        clock.advance(60)
        denied = False
        try:
            gate.check(REQUEST)
        except AccessDenied:
            denied = True

        assert denied
