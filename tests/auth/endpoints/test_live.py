"""Live sessions at auth: a host tells of its own alone, and people see what they may."""

from typing import Any

import pytest
from pydantic import ValidationError

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.core.errors import NotFound
from tests.auth.cluster import HOST, Cluster, role, user

OTHER = "5a3c9d6e-0000-4000-8000-00000000000b"
SID, SECOND = "0a3c9d6e-0000-4000-8000-000000000001", "0a3c9d6e-0000-4000-8000-000000000002"
WATCH = """\
kind: role
version: v7
metadata: {name: watch}
spec:
  allow: {join_sessions: [{name: look, roles: [dev], kinds: [ssh], modes: [observer, peer]}]}
"""


def going_on(cluster: Cluster, sid: str = SID, *, owner: str = "ann", **more: Any) -> m.LiveReported:
    uid = cluster.auth.policy.current.users[owner].uid
    return m.LiveReported(sid=sid, user=owner, user_uid=uid, login="root", started=cluster.clock.time(), **more)


async def report(cluster: Cluster, *sessions: m.LiveReported, host: Caller | None = None) -> None:
    """A host is alive, and tells of its sessions."""
    host = host or cluster.host()
    beat = m.Heartbeat(revision=1, version="0", hostname=host.known.name, labels={"env": "prod"}, ttl=300)
    await cluster.call("heartbeat", beat, host)
    await cluster.call("live", m.LiveReport(sessions=sessions, ttl=30), host)


async def seen(cluster: Cluster, who: str | Caller) -> list[m.LiveRow]:
    caller = cluster.user(who) if isinstance(who, str) else who
    return list((await cluster.call("live_sessions", caller=caller)).sessions)


@pytest.fixture
async def people(cluster: Cluster) -> None:
    await cluster.declare(
        role(), WATCH, user("ann"), user("bob", "watch"), user("cleo"), user("aud", "auditor"), user("eve", "editor")
    )


@pytest.mark.usefixtures("people")
async def test_owners_watchers_auditors_and_local_administrators_see_a_session_and_nobody_else(
    cluster: Cluster,
) -> None:
    await report(cluster, going_on(cluster, observers=("bob",)))

    found = {name: await seen(cluster, name) for name in ("ann", "bob", "aud", "cleo", "eve")}

    assert {name: [row.modes for row in rows] for name, rows in found.items()} == {
        "ann": [("observer",)], "bob": [("observer",)], "aud": [()], "cleo": [], "eve": [],
    }  # fmt: skip
    (row,) = found["ann"]
    assert (row.sid, row.user, row.login, row.server_id, row.server_hostname) == (SID, "ann", "root", HOST, "db-1")
    assert row.participants == ("ann", "bob")
    assert [row.sid for row in await seen(cluster, cluster.admin)] == [SID]


@pytest.mark.usefixtures("people")
async def test_a_report_takes_the_place_of_the_one_before(cluster: Cluster) -> None:
    await report(cluster, going_on(cluster), going_on(cluster, SECOND))
    await report(cluster, going_on(cluster, SECOND))

    assert [row.sid for row in await seen(cluster, "ann")] == [SECOND]


@pytest.mark.usefixtures("people")
async def test_a_host_that_falls_silent_or_leaves_has_no_sessions(cluster: Cluster) -> None:
    await report(cluster, going_on(cluster))
    cluster.clock.advance(31)
    silent = await seen(cluster, "ann")

    await report(cluster, going_on(cluster))
    before = await seen(cluster, "ann")
    await cluster.call("leave", caller=cluster.host())
    left = await seen(cluster, "ann")

    assert (silent, [row.sid for row in before], left) == ([], [SID], [])


@pytest.mark.usefixtures("people")
async def test_a_proxy_learns_whose_a_session_is_and_nothing_of_what_is_not_there(cluster: Cluster) -> None:
    await report(cluster, going_on(cluster))

    facts = await cluster.call("live_facts", m.LiveSid(sid=SID), cluster.host("Proxy"))

    assert (facts.user, facts.login, facts.server_id) == ("ann", "root", HOST)
    with pytest.raises(NotFound, match=f"session {SECOND} not found"):
        await cluster.call("live_facts", m.LiveSid(sid=SECOND), cluster.host("Proxy"))


# -- what a compromised host tries


@pytest.mark.usefixtures("people")
async def test_a_host_cannot_take_over_or_end_the_session_of_another(cluster: Cluster) -> None:
    liar = cluster.host(uid=OTHER, name="web-1")
    await report(cluster, going_on(cluster))

    await report(cluster, going_on(cluster, owner="cleo"), host=liar)
    await report(cluster, host=liar)
    await cluster.call("leave", caller=liar)

    (row,) = await seen(cluster, "ann")
    assert (row.user, row.server_id) == ("ann", HOST)
    assert await seen(cluster, "cleo") == []


@pytest.mark.usefixtures("people")
async def test_a_report_is_of_the_host_that_its_certificate_names(cluster: Cluster) -> None:
    await report(cluster, going_on(cluster), host=cluster.host(uid=OTHER, name="web-1"))

    (row,) = await seen(cluster, "ann")
    assert (row.server_id, row.server_hostname) == (OTHER, "web-1")


@pytest.mark.usefixtures("people")
async def test_an_owner_of_an_earlier_incarnation_is_not_the_one_of_today(cluster: Cluster) -> None:
    session = going_on(cluster)
    await report(cluster, session.model_copy(update={"user_uid": "an-earlier-ann"}))

    assert await seen(cluster, "ann") == []


@pytest.mark.parametrize("started", [-1.0, 1e300, float("inf"), float("nan")])
def test_a_moment_that_no_list_could_show_is_refused(started: float) -> None:
    with pytest.raises(ValidationError):
        m.LiveReported(sid=SID, user="ann", user_uid="u", login="root", started=started)
