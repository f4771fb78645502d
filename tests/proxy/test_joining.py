"""Clients who want to look on at a live session: the proxy judges by the session's owner, and cuts what it let in."""

import asyncio
from typing import Any

import pytest

from teleport.api.models import LiveFacts
from teleport.audit.events import SessionConnected, SessionRejected
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from tests.proxy.edge import Edge, Wire, edge
from tests.sessions.policies import lock, role, user

SID, ABSENT = "0a3c9d6e-0000-4000-8000-000000000001", "0a3c9d6e-0000-4000-8000-000000000002"


def watch(*modes: str, name: str = "watch", roles: str = "dev") -> AnyResource:
    join = {"name": "look", "roles": [roles], "kinds": ["ssh"], "modes": list(modes or ("observer",))}
    spec = {"allow": {"join_sessions": [join]}}
    return from_dict({"kind": "role", "version": "v8", "metadata": {"name": name}, "spec": spec})


POLICY = (
    role("dev"), role("other", labels={"env": "none"}), watch(), watch("peer", name="peers"),
    user("ann"), user("bob", roles="watch"), user("cleo", roles="other"), user("eve", roles="peers"),
)  # fmt: skip


async def with_session(made: Edge, *, server: str = "h-db-1") -> Any:
    """ann's session on the host, and the host's agent."""
    agent = await made.agent()
    made.sessions[SID] = LiveFacts(sid=SID, user="ann", user_uid="u-ann", login="root", server_id=server)
    return agent


async def refused(made: Edge, name: str, login: str = f"observer:{SID}", host: str = "db-1") -> dict[str, Any]:
    error: dict[str, Any] = await made.refused(made.authorities.user(name), host, login=login)
    return error


async def test_who_may_look_on_is_taken_to_the_host_without_a_login_there() -> None:
    async with edge(*POLICY) as made:
        agent = await with_session(made)
        client = await made.ask(made.authorities.user("bob"), login=f"observer:{SID}")

        host = await agent.take()

        assert (await client.receive(timeout=2))["ok"] is True
        (event,) = made.events.of(SessionConnected)
        assert (event.user, event.server_id, event.login) == ("bob", "h-db-1", f"observer:{SID}")
        host.abort()


async def test_the_way_to_a_session_is_none_to_the_host() -> None:
    async with edge(*POLICY) as made:
        await with_session(made)

        assert (await refused(made, "bob", "root"))["message"] == "node db-1 not found"


@pytest.mark.parametrize("host", ["db-1", "h-db-1", "db-1.example.com"])
async def test_a_session_is_not_found_by_whom_it_does_not_concern_as_if_there_were_none(host: str) -> None:
    async with edge(*POLICY) as made:
        await with_session(made)

        hidden = await refused(made, "cleo", host=host)
        absent = await refused(made, "cleo", f"observer:{ABSENT}", host)

        assert hidden["code"] == "not_found"
        assert hidden["message"] == absent["message"].replace(ABSENT, SID)
        assert len(made.events.of(SessionRejected)) == 1


async def test_a_session_is_not_found_on_another_host_or_on_one_that_is_gone() -> None:
    async with edge(*POLICY) as made:
        await with_session(made)
        elsewhere = await refused(made, "bob", host="web-1")
        made.sessions[SID] = made.sessions[SID].model_copy(update={"server_id": "h-gone"})
        gone = await refused(made, "bob")

        assert elsewhere["message"] == gone["message"] == f"session {SID} not found"


async def test_who_may_join_otherwise_reads_why_and_what_is_not_served_is_told_to_all() -> None:
    async with edge(*POLICY) as made:
        await with_session(made)

        why = await refused(made, "eve")
        peers = [await refused(made, name, f"peer:{SID}") for name in ("eve", "cleo")]

        assert "no role of eve lets sessions of ann be joined as observer" in why["message"]
        assert {one["message"] for one in peers} == {"sessions cannot be joined as peer yet"}


@pytest.mark.parametrize(
    "change", [watch(roles="others"), lock(user="bob"), user("ann", roles="other")], ids=["role", "lock", "owner"]
)
async def test_a_withdrawn_right_cuts_the_observer_whatever_the_agent_does(change: AnyResource) -> None:
    async with edge(*POLICY) as made:
        agent = await with_session(made)
        client = await made.ask(made.authorities.user("bob"), login=f"observer:{SID}")
        host = Wire.over(await agent.take())
        assert (await client.receive(timeout=2))["ok"] is True
        wire = Wire.over(await made.handed_over(client))

        await made.live.write(change)

        await asyncio.gather(wire.cut(), host.cut())
