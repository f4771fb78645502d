"""A namespace governs: what an operator brings comes into force as far as it goes, and each object is told what became
of it."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from teleport.api import history as h
from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import Actor
from teleport.auth import keys
from teleport.auth.policy import Applied, Wanted
from teleport.core.aio import SystemClock
from teleport.core.errors import NotFound
from teleport.core.identity import Identity
from teleport.resources.codec import from_dict
from teleport.service.operator.feeder import Feeder
from tests.kubernetes.emulation import emulated
from tests.service.fed import CRDS, Fed, Manifest, api_of, fed_config, lock, manifest, ready, role, user


@pytest_asyncio.fixture
async def fed(tmp_path: Path) -> AsyncIterator[Fed]:
    async with Fed.running(fed_config(tmp_path)) as running:
        yield running


async def test_what_is_brought_is_in_force_and_told_to_be_ready(fed: Fed) -> None:
    answer = await fed.feed(role("dev"), user("ann", "dev"))

    assert await fed.owned() == ["role/dev", "user/ann"]
    assert {one.place: (one.state, one.reach) for one in answer.objects} == {
        "TeleportRoleV7/dev": ("Ready", "1 person, 0 nodes"), "TeleportUser/ann": ("Ready", ""),
    }  # fmt: skip
    assert fed.status().state == "Ready"


async def test_what_cannot_be_read_stalls_alone_and_keeps_its_last_good_version(fed: Fed) -> None:
    await fed.feed(role("dev"), user("ann", "dev"))
    broken = role("dev", generation=2) | {"spec": {"allow": {"logns": ["root"]}}}

    told = await fed.told(broken, user("ann", "dev"), user("bob"))

    assert told["TeleportRoleV7/dev"] == ("Stalled", "spec.allow.logns: unknown field logns (did you mean logins?)")
    assert (told["TeleportUser/ann"][0], told["TeleportUser/bob"][0]) == ("Ready", "Ready")
    assert await fed.owned() == ["role/dev", "user/ann", "user/bob"]
    assert (fed.status().state, fed.status().reason) == ("Stalled", "Partial")


async def test_an_operator_feeds_it_and_tells_kubernetes(fed: Fed) -> None:
    await fed.feed(role("dev"))
    async with emulated(*CRDS) as server, api_of(server) as api:
        await server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-b"}})
        for one in (role("dev"), user("ann", "dev"), user("eve", "nobody")):
            await server.create(one)
        feeder = Feeder(m.FedSource(name="team-b", namespace="team-b"), fed.feeding(), api, clock=SystemClock())

        await feeder.pass_once()

        assert ready(server, "teleportrolesv7", "dev")["status"] == "True"
        eve = ready(server, "teleportusers", "eve")
        assert (eve["status"], eve["reason"]) == ("False", "Invalid")
        assert "unknown role nobody" in eve["message"]


async def test_objects_of_one_change_set_come_together(fed: Fed) -> None:
    note = {"teleport.dev/change-set": "move/2"}
    await fed.feed(role("dev"), user("ann", "dev"))

    half = await fed.told(role("dev"), user("ann", "dev"), role("ops", annotations=note))
    before = await fed.owned()
    whole = await fed.told(
        role("dev"), user("ann", "dev"), role("ops", annotations=note), user("bob", "ops", annotations=note)
    )

    assert half["TeleportRoleV7/ops"] == ("Stalled", "change set move has 1 of 2 objects")
    assert before == ["role/dev", "user/ann"]
    assert {state for state, _ in whole.values()} == {"Ready"}


async def test_kinds_that_cannot_be_seen_stay_in_force(fed: Fed) -> None:
    await fed.feed(role("dev"), user("ann", "dev"))

    answer = await fed.feed(user("ann", "dev"), withheld=("TeleportRoleV7",))

    assert await fed.owned() == ["role/dev", "user/ann"]
    assert (answer.kept, fed.status().state) == ((), "Ready")


async def test_what_is_to_be_kept_stays_when_its_manifest_goes_and_belongs_to_nobody(fed: Fed) -> None:
    keep = {"teleport.dev/keep": "true"}
    await fed.feed(role("dev", annotations=keep), user("ann", "dev"))

    await fed.feed(user("ann", "dev"))

    assert await fed.owned() == ["user/ann"]
    assert "role/dev" in await fed.owned("api")


async def test_what_is_to_be_ignored_stays_as_it_is_even_if_it_is_broken(fed: Fed) -> None:
    await fed.feed(role("dev"), user("ann", "dev"))
    broken = role("dev", generation=2, annotations={"teleport.dev/ignore": "true"}) | {"spec": {"dney": {}}}

    answer = await fed.feed(broken, user("ann", "dev"), user("bob", "dev"))

    assert {one.place: (one.state, one.reason) for one in answer.objects} == {
        "TeleportRoleV7/dev": ("Ready", "Ignored"), "TeleportUser/ann": ("Ready", "Applied"),
        "TeleportUser/bob": ("Ready", "Applied"),
    }  # fmt: skip
    assert await fed.owned() == ["role/dev", "user/ann", "user/bob"]


async def test_what_others_changed_is_repaired_while_no_operator_is_there(fed: Fed) -> None:
    await fed.feed(role("dev"), user("ann", "dev"))
    await fed.auth.store.delete(keys.policy("user", "ann"))

    async with asyncio.timeout(10):
        while await fed.owned() != ["role/dev"]:
            await asyncio.sleep(0.01)
    await fed.reconcile()

    assert await fed.owned() == ["role/dev", "user/ann"]


async def test_a_restart_empties_nothing_and_remembers_what_was_brought(tmp_path: Path) -> None:
    async with Fed.running(fed_config(tmp_path)) as fed:
        await fed.feed(role("dev"), user("ann", "dev"))

    async with Fed.running(fed_config(tmp_path)) as fed:
        assert await fed.owned() == ["role/dev", "user/ann"]
        assert fed.status().state == "Ready"
        told = await fed.told(role("dev"), user("ann", "dev"))
        assert {state for state, _ in told.values()} == {"Ready"}


async def test_a_namespace_that_nobody_ever_fed_waits(fed: Fed) -> None:
    status = fed.status()

    assert (status.state, status.reason) == ("Reconciling", "Unreachable")
    assert status.message == "no operator has brought anything of the namespace team-b yet"


async def test_a_namespace_that_is_suddenly_empty_stays_in_force_and_says_so(fed: Fed) -> None:
    await fed.feed(role("dev"), user("ann", "dev"))

    answer = await fed.feed()

    assert [(one.place, one.reason) for one in answer.kept] == [
        ("TeleportRoleV7/dev", "PruneRefused"), ("TeleportUser/ann", "PruneRefused"),
    ]  # fmt: skip
    assert "refused by the guard emptied" in answer.kept[0].message
    assert await fed.owned() == ["role/dev", "user/ann"]
    assert "declared no longer" in fed.status().problems[0]["message"]


async def test_a_deletion_that_a_guard_refuses_keeps_only_what_gives_somebody_more_waiting(tmp_path: Path) -> None:
    async with Fed.running(fed_config(tmp_path, guards={"max_people": 0})) as fed:
        spec = {"addr": "192.0.2.1:22", "hostname": "h"}
        host = manifest("TeleportOpenSSHServerV2", "h", spec, labels={"team": "b"})
        await fed.feed(host, role("dev"), role("ops"), user("ann", "dev"), user("bob"))

        answer = await fed.feed(
            host, role("dev"), role("ops", deny={"logins": ["*"]}, generation=2), user("bob", "dev", generation=2)
        )

        assert [one.place for one in answer.kept] == ["TeleportUser/ann"]
        assert {one.place: one.reason for one in answer.objects} == {
            "TeleportRoleV7/dev": "Applied", "TeleportRoleV7/ops": "Applied", "TeleportUser/bob": "Waiting",
            "TeleportOpenSSHServerV2/h": "Applied",
        }  # fmt: skip


async def test_a_deletion_that_leaves_nobody_to_administer_stays_out_alone(fed: Fed) -> None:
    await fed.feed(user("ann"), user("bob"), user("boss", "editor"), role("dev"))

    answer = await fed.feed(user("ann"))

    assert [one.place for one in answer.kept] == ["TeleportUser/boss"]
    assert await fed.owned() == ["user/ann", "user/boss"]


async def test_the_half_of_a_change_that_breaks_a_promise_stays_out_alone(fed: Fed) -> None:
    promise = manifest(
        "TeleportAccessTest", "promise", {"given": {"user": "ann"}, "expect": [{"cannot": "root", "hosts": "any"}]}
    )
    declared = [role(f"r{index}") for index in range(6)]
    await fed.feed(promise, user("ann", "r3"), *declared)
    wider = role("r3", "app", "root", generation=2)
    wider["spec"]["allow"]["node_labels"] = {"*": "*"}

    answer = await fed.feed(promise, user("ann", "r3"), *declared[:3], wider, *declared[4:], lock("shut", "ann"))

    states = {one.place: (one.state, one.reason) for one in answer.objects if one.state != "Ready"}
    assert states == {"TeleportRoleV7/r3": ("Stalled", "Guarded")}
    assert "lock/shut" in await fed.owned()


async def test_a_role_for_hosts_that_are_still_to_come_waits_while_something_is_stalled(fed: Fed) -> None:
    await fed.feed(role("dev"), user("ann", "dev"))
    wider = role("dev", generation=2)
    wider["spec"]["allow"]["node_labels"] = {"team": ["b", "c"]}

    told = await fed.told(wider, user("ann", "dev"), role("ops"), user("eve", "nobody"))

    assert told["TeleportRoleV7/dev"] == (
        "Reconciling", "waits until nothing of this source is stalled: it gives more to ann"
    )  # fmt: skip
    assert told["TeleportRoleV7/ops"][0] == "Reconciling"
    assert (await fed.told(wider, user("ann", "dev")))["TeleportRoleV7/dev"][0] == "Ready"


async def test_a_suspended_source_is_told_to_wait(fed: Fed) -> None:
    await fed.feed(role("dev"))
    await fed.auth.auth.surroundings.governed["team-b"].suspend("an incident")

    answer = await fed.feed(role("dev"), role("ops"))

    assert {(one.state, one.reason, one.message) for one in answer.objects} == {
        ("Reconciling", "Suspended", "the source is suspended: an incident")
    }
    assert await fed.owned() == ["role/dev"]


async def test_whoever_writes_meanwhile_makes_it_look_again(fed: Fed) -> None:
    writer, times = fed.auth.auth.writer, iter(range(3))
    replace = writer.replace

    async def interrupted(*arguments: Any, **options: Any) -> Applied:
        if (index := next(times, None)) is not None:
            made = from_dict(
                {"kind": "user", "version": "v2", "metadata": {"name": f"u{index}"}, "spec": {"roles": ["access"]}}
            )
            await writer.put([Wanted(made)], Actor("ann", 1))
        return await replace(*arguments, **options)

    writer.replace = interrupted  # type: ignore[method-assign]
    told = await fed.told(role("dev"))

    assert told == {"TeleportRoleV7/dev": ("Ready", "")}


async def test_two_operators_that_feed_at_once_come_to_one_of_their_states(fed: Fed) -> None:
    await asyncio.gather(*(fed.feed(role("dev"), user(name, "dev")) for name in ("ann", "bob", "eve") * 3))

    assert await fed.owned() in [["role/dev", f"user/{name}"] for name in ("ann", "bob", "eve")]


async def test_every_namespace_is_a_source_of_its_own_below_a_ceiling_that_names_it(tmp_path: Path) -> None:
    ceiling = {"owns": {"role": ["{namespace}.*"]}, "logins": ["app"], "node_labels": {"team": "{namespace}"}}
    ops = {"name": "ops", "kubernetes": {"namespace": "ops"}}
    teams = {"name": "teams", "kubernetes": {"namespace": "*"}, "ceiling": ceiling}
    configuration = fed_config(tmp_path, ops, teams)
    mine, theirs = role("b.dev", namespace="b"), role("c.dev", namespace="b")
    for one in (mine, theirs):
        one["spec"]["allow"]["node_labels"] = {"team": "b"}
    async with Fed.running(configuration) as fed:
        await fed.told(mine, source="teams/b", by="teams")
        told = await fed.told(mine, theirs, source="teams/b", by="teams")

        assert (told["TeleportRoleV7/b.dev"][0], told["TeleportRoleV7/c.dev"][0]) == ("Ready", "Stalled")
        assert "has a name that the source teams/b may not own" in told["TeleportRoleV7/c.dev"][1]
        assert await fed.owned("teams/b") == ["role/b.dev"]
        for source in ("teams/ops", "teams/..", "teams/", "teams/B", "teams/b/c"):
            with pytest.raises(NotFound):
                await fed.feed(source=source, by="teams")

    async with Fed.running(configuration) as fed:
        assert sorted(fed.auth.auth.surroundings.fed) == ["ops", "teams", "teams/b"]
        assert fed.status("teams/b").ceiling is not None


HOSTILE: list[Any] = [
    [], "text", None, {"allow": []}, {"allow": {"node_labels": ["a", "b"]}}, {"allow": {"logins": {"a": "b"}}},
    {"allow": {"logins": ["a" * 100_000]}}, {"allow": {"node_labels": {"\u202e": "\x00"}}},
    {"allow": {"rules": [{"resources": ["*"], "verbs": ["*"], "where": "(" * 5000}]}},
    {"allow": {"node_labels_expression": "!" * 20_000 + "true"}}, {"version": {"a": 1}},
    {"allow": {"node_labels": {f"k{index}": "v" for index in range(20_000)}}},
]  # fmt: skip


async def test_hostile_manifests_stall_alone(fed: Fed) -> None:
    bad = [manifest("TeleportRoleV7", f"bad-{index}", spec) for index, spec in enumerate(HOSTILE)]
    await fed.feed(role("dev"))

    answer = await fed.feed(
        role("dev", deny={"logins": ["*"]}, generation=2), *bad, manifest("TeleportNothing", "x", {})
    )

    states = {one.place: one.state for one in answer.objects}
    assert states.pop("TeleportRoleV7/dev") == "Ready"
    assert set(states.values()) <= {"Stalled", "Ready", "Reconciling"}
    assert all("\n" not in one.message or one.state == "Stalled" for one in answer.objects)
    assert "role/dev" in await fed.owned()


WHOLE = [
    role("dev"), role("ops"), user("ann", "dev"), user("bob", "dev", "ops"), user("eve"),
    role("quiet", annotations={"teleport.dev/change-set": "pair/2"}),
    user("zoe", "quiet", annotations={"teleport.dev/change-set": "pair/2"}),
]  # fmt: skip


@settings(max_examples=int(os.environ.get("TELEPORT_FEEDS", "5")), deadline=None)
@given(st.lists(st.lists(st.sampled_from(range(len(WHOLE))), unique=True), max_size=4), st.permutations(WHOLE))
async def test_whatever_was_fed_before_the_whole_comes_to_the_same(
    halves: list[list[int]], whole: list[Manifest]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Fed.running(fed_config(Path(folder))) as fed:
            for half in halves:
                await fed.feed(*(WHOLE[index] for index in half))

            told = await fed.told(*whole)

            assert {state for state, _ in told.values()} == {"Ready"}, told
            assert len(await fed.owned()) == len(WHOLE)
            assert fed.status().state == "Ready"


async def test_somebody_else_lets_a_namespace_be_emptied(fed: Fed) -> None:
    await fed.feed(role("dev"), role("ops"), role("qa"), user("ann"))
    await fed.feed(user("ann"))
    approvals = fed.auth.auth.approvals
    before = await fed.owned()
    made = from_dict({"kind": "user", "version": "v2", "metadata": {"name": "root"}, "spec": {"roles": ["editor"]}})
    await fed.auth.auth.writer.put([Wanted(made)], Actor("local", 1))
    await fed.feed(user("ann"))
    root = fed.auth.auth.policy.current.users["root"]

    await approvals.approve(
        approvals.refused("emptied", source="team-b"), Identity("user", "root", root.uid, "acme"), reason="moved"
    )
    answer = await fed.feed(user("ann"))

    assert before == ["role/dev", "role/ops", "role/qa", "user/ann"]
    assert (await fed.owned(), answer.kept, fed.status().state) == (["user/ann"], (), "Ready")


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34])
async def test_an_operator_that_goes_in_the_middle_leaves_all_or_nothing(fed: Fed, steps: int) -> None:
    feeding = asyncio.create_task(fed.feed(role("dev"), user("ann", "dev")))
    for _ in range(steps):
        await asyncio.sleep(0.002)
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)
    left = await fed.owned()

    told = await fed.told(role("dev"), user("ann", "dev"))

    assert left in ([], ["role/dev", "user/ann"])
    assert {state for state, _ in told.values()} == {"Ready"}


async def test_a_decision_says_which_manifest_it_rests_on_and_in_which_generation(fed: Fed) -> None:
    host = {"addr": "192.0.2.1:22", "hostname": "h"}
    await fed.feed(
        role("dev", generation=3), user("ann", "dev"),
        manifest("TeleportOpenSSHServerV2", "h", host, labels={"team": "b"}),
    )  # fmt: skip
    admin = Caller(Identity("admin", "root (uid 0)", "local:0", "acme", local_uid=0), "local")
    question = h.ExplainQuestion(user="ann", login="app", node="h")

    answer = await fed.auth.auth.handlers()["explain"](admin, question)

    place = answer.verdict.place
    assert (place.source, place.file) == ("team-b", "kubernetes:team-b/TeleportRoleV7/dev")
    assert place.commit == "generation-3"
