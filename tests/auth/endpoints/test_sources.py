"""Steering the sources of policy: suspended, resumed, taking over, and told of news."""

import contextlib
from dataclasses import dataclass, field

import pytest

from teleport.api import models as m
from teleport.auth import keys
from teleport.core.errors import AccessDenied, Conflict, NotFound, Throttled
from tests.auth.cluster import Cluster, role, user


@dataclass
class Source:
    """A source that notes what it is told."""

    declared: set[tuple[str, str]] = field(default_factory=set)
    suspended: str = ""
    poked: int = 0
    signed: bool = True

    def declares(self, kind: str, name: str) -> bool:
        return (kind, name) in self.declared

    async def suspend(self, reason: str) -> None:
        self.suspended = reason

    def resume(self) -> None:
        self.suspended = ""

    def poke(self) -> None:
        self.poked += 1

    async def told(self, delivery: m.WebhookDelivery) -> m.WebhookAnswer:
        if not self.signed:
            raise AccessDenied("this is not signed with the secret of a source")
        return m.WebhookAnswer(message="yes", fetches=True)


@pytest.fixture
def sources(cluster: Cluster) -> dict[str, Source]:
    found = {"ops": Source(), "team-b": Source()}
    cluster.auth.surroundings.governed = found
    return found


# -- suspended


async def test_a_suspension_is_kept_and_told_with_its_reason_and_author(
    cluster: Cluster, sources: dict[str, Source]
) -> None:
    answer = await cluster.call("suspend", m.SuspendRequest(source="team-b", reason="broken into"))

    assert answer.sources == ("team-b",)
    assert sources["team-b"].suspended == "broken into (by root (uid 0), 2023-11-14T22:13:20.000Z)"
    assert sources["ops"].suspended == ""
    assert await cluster.auth.store.get(keys.suspended("team-b")) is not None
    assert cluster.events("policy.suspended")[0]["reason"] == "broken into"


async def test_without_a_name_all_sources_are_suspended_and_those_that_are_go_on(
    cluster: Cluster, sources: dict[str, Source]
) -> None:
    suspended = await cluster.call("suspend", m.SuspendRequest(reason="stop"))
    await cluster.call("resume", m.ResumeRequest(source="ops"))
    resumed = await cluster.call("resume", m.ResumeRequest())

    assert suspended.sources == ("ops", "team-b")
    assert resumed.sources == ("team-b",)
    assert [one["source"] for one in cluster.events("policy.resumed")] == ["ops", "team-b"]
    assert await cluster.auth.store.get(keys.suspended("team-b")) is None
    with pytest.raises(Conflict, match="no such source is suspended"):
        await cluster.call("resume", m.ResumeRequest())


async def test_a_source_that_is_not_there_is_named(cluster: Cluster, sources: dict[str, Source]) -> None:
    for name in ("nobody", "api"):
        with pytest.raises(NotFound, match=f"there is no source {name}"):
            await cluster.call("suspend", m.SuspendRequest(source=name, reason="stop"))


# -- taking over


async def test_a_source_takes_over_what_it_declares_and_the_owner_does_not(
    cluster: Cluster, sources: dict[str, Source]
) -> None:
    await cluster.declare(role(), user("ann"), source="ops")
    request = m.AdoptRequest(kind="user", name="ann", source="team-b")
    with pytest.raises(Conflict, match="the source team-b does not declare user/ann"):
        await cluster.call("adopt", request)
    sources["team-b"].declared.add(("user", "ann"))
    sources["ops"].declared.add(("user", "ann"))
    with pytest.raises(Conflict, match="another source still declares user/ann"):
        await cluster.call("adopt", request)
    sources["ops"].declared.clear()

    answer = await cluster.call("adopt", request)

    assert (answer.resource, answer.before, answer.source) == ("user/ann", "ops", "team-b")
    assert sources["team-b"].poked == 1
    (event,) = cluster.events("policy.adoption_permitted")
    assert (event["name"], event["before"], event["source"]) == ("user/ann", "ops", "team-b")
    await cluster.declare(user("ann"), source="team-b")
    assert cluster.auth.policy.current.users["ann"].origin.source == "team-b"


# -- told of news


def delivery(source: str) -> m.WebhookDelivery:
    return m.WebhookDelivery(source=source, headers={}, body="", client_address="198.51.100.7")


async def test_the_answer_is_the_same_for_a_wrong_signature_and_a_source_that_is_not_there(
    cluster: Cluster, sources: dict[str, Source]
) -> None:
    sources["ops"].signed = False
    told = []
    for name in ("ops", "nobody"):
        with pytest.raises(AccessDenied) as refused:
            await cluster.call("webhook", delivery(name), cluster.host("Proxy"))
        told.append(refused.value.to_wire())

    assert told[0] == told[1]


async def test_whoever_guesses_has_to_wait_also_with_the_right_secret_and_others_do_not(
    cluster: Cluster, sources: dict[str, Source]
) -> None:
    handlers, proxy = cluster.auth.handlers(), cluster.host("Proxy")
    with contextlib.suppress(Throttled):
        for _ in range(50):
            with contextlib.suppress(AccessDenied):
                await handlers["webhook"](proxy, delivery("nobody"))

    with pytest.raises(Throttled):
        await handlers["webhook"](proxy, delivery("ops"))
    other = delivery("ops").model_copy(update={"client_address": "203.0.113.1"})
    assert (await handlers["webhook"](proxy, other)).fetches
