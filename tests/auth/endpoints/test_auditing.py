"""Who may see which events: rules without a condition give all of them, those with one give what meets it."""

import pytest

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import SessionStarted, UserLogin
from teleport.core.errors import AccessDenied, BadInput
from tests.auth.cluster import Cluster, role, user


async def people(cluster: Cluster, *more: str) -> None:
    """ann and bob with the preset role access, aud with auditor; each of the first two logged in once."""
    await cluster.declare(user("ann", "access"), user("bob", "access"), user("aud", "auditor"), *more)
    for name in ("ann", "bob"):
        await cluster.auth.audit.append(UserLogin(user=name, user_kind=1, success=True))


async def search(cluster: Cluster, caller: Caller, **query: object) -> list[dict[str, object]]:
    page = await cluster.call("events", m.EventQuery.model_validate(query), caller)
    return list(page.events)


async def test_an_auditor_sees_every_event(cluster: Cluster) -> None:
    await people(cluster)

    found = await search(cluster, cluster.user("aud"))

    assert found == cluster.events()
    assert {one["user"] for one in found} == {"ann", "bob", "source:folder"}


async def test_who_holds_access_sees_what_they_did_and_nothing_else(cluster: Cluster) -> None:
    await people(cluster)

    assert {one["user"] for one in await search(cluster, cluster.user("ann"))} == {"ann"}
    assert await search(cluster, cluster.user("ann"), user="bob") == []


async def test_a_condition_may_speak_of_the_type_and_the_session_of_an_event(cluster: Cluster) -> None:
    rules = (
        '{resources: [event], verbs: [list], where: \'equals(event.event, "session.start")'
        ' && equals(session.login, "root")\'}'
    )
    await people(cluster, role("watch", rules=rules), user("eve", "watch"))
    for login in ("root", "admin"):
        await cluster.auth.audit.append(SessionStarted(user="ann", user_kind=1, login=login, sid="s"))

    found = await search(cluster, cluster.user("eve"))

    assert [(one["event"], one["login"]) for one in found] == [("session.start", "root")]


async def test_a_search_gives_the_newest_that_match_everything_asked_oldest_first(cluster: Cluster) -> None:
    await people(cluster)
    cluster.clock.advance(60)
    await cluster.auth.audit.append(UserLogin(user="ann", user_kind=1, success=False))

    everything = await search(cluster, cluster.admin, event="user.login", user="ann")

    assert [one["success"] for one in everything] == [True, False]
    assert await search(cluster, cluster.admin, event="user.login", user="ann", limit=1) == everything[1:]
    assert await search(cluster, cluster.admin, since=everything[1]["time"]) == everything[1:]


async def test_the_beginning_of_a_session_is_enough_to_find_it(cluster: Cluster) -> None:
    for sid in ("4f1c9d6e", "5a0b1d7c"):
        await cluster.auth.audit.append(SessionStarted(user="ann", user_kind=1, login="root", sid=sid))

    found = await search(cluster, cluster.admin, session="4f1c")

    assert [one["sid"] for one in found] == ["4f1c9d6e"]


async def test_a_misspelt_type_is_an_error_and_not_an_empty_answer(cluster: Cluster) -> None:
    with pytest.raises(BadInput, match=r"no event has the type session\.strat") as misspelt:
        await search(cluster, cluster.admin, event="session.strat")

    assert misspelt.value.hint == "did you mean session.start?"


async def test_a_time_that_is_none_is_an_error(cluster: Cluster) -> None:
    with pytest.raises(BadInput, match="yesterday is not a time"):
        await search(cluster, cluster.admin, since="yesterday")


@pytest.mark.parametrize("route", ["verify", "checkpoint"])
async def test_the_log_as_a_whole_needs_a_rule_without_a_condition(cluster: Cluster, route: str) -> None:
    await people(cluster)
    request = m.AuditCheck() if route == "verify" else m.Empty()

    assert await cluster.call(route, request, cluster.user("aud"))
    with pytest.raises(AccessDenied, match="ann may read only some events"):
        await cluster.call(route, request, cluster.user("ann"))


async def test_a_log_verifies_against_checkpoints_kept_elsewhere_and_a_cut_tail_does_not(cluster: Cluster) -> None:
    await people(cluster)
    kept = (await cluster.call("checkpoint")).checkpoint
    (path,) = (cluster.directory / "audit").glob("????-??-??.jsonl")

    whole = await cluster.call("verify", m.AuditCheck(checkpoints=(kept,)))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    cut = await cluster.call("verify", m.AuditCheck(checkpoints=(kept,)))

    assert whole.faults == ()
    assert cut.faults


async def test_what_is_no_checkpoint_is_refused(cluster: Cluster) -> None:
    with pytest.raises(BadInput):
        await cluster.call("verify", m.AuditCheck(checkpoints=("{}",)))
