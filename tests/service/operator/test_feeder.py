"""What is in Kubernetes is fed, what became of it is told there, and what cannot be seen is not taken for deleted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import kopf
import pytest
import pytest_asyncio

from teleport.api import models as m
from teleport.core.aio import SystemClock
from teleport.core.errors import Unavailable
from teleport.core.generated import REPOSITORY
from teleport.resources.custom_kinds import CustomKind
from teleport.service.operator.feeder import FINALIZER, Feeder
from teleport.service.operator.kubernetes import KubernetesApi, KubernetesError
from teleport.service.operator.login import Login
from tests.builders import FakeClock
from tests.kubernetes.emulation import Emulation, emulated
from tests.kubernetes.objects import Key

CRDS = sorted((REPOSITORY / "crds").glob("resources.*.yaml"))
SOURCE = m.FedSource(name="k8s", namespace="default")


def lock(name: str = "lost", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "resources.teleport.dev/v1", "kind": "TeleportLockV2",
        "metadata": {"name": name, "namespace": "default", **metadata}, "spec": {"target": {"user": "ann"}},
    }  # fmt: skip


@dataclass
class Auth:
    """An auth service that remembers what it was fed, and finds everything well but what it is told to refuse."""

    fed: list[m.FeedRequest] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    away: bool = False
    kept: tuple[m.ObjectVerdict, ...] = ()

    async def feed(self, request: m.FeedRequest) -> m.FeedAnswer:
        if self.away:
            raise Unavailable("no answer")
        self.fed.append(request)
        places = [f"{one['kind']}/{one['metadata']['name']}" for one in request.manifests]
        return m.FeedAnswer(revision=7, objects=tuple(self._verdict(place) for place in places), kept=self.kept)

    def _verdict(self, place: str) -> m.ObjectVerdict:
        if place in self.refused:
            return m.ObjectVerdict(place=place, state="Stalled", reason="Invalid", message=self.refused[place])
        return m.ObjectVerdict(place=place, state="Ready", reason="Applied")

    @property
    def names(self) -> list[str]:
        """What was fed last."""
        return [one["metadata"]["name"] for one in self.fed[-1].manifests]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Emulation]:
    async with emulated(*CRDS) as running:
        yield running


@pytest_asyncio.fixture
async def api(server: Emulation) -> AsyncIterator[KubernetesApi]:
    login = Login(kopf.ConnectionInfo(server=server.url))
    yield KubernetesApi(login)
    await login.close()


@pytest.fixture
def auth() -> Auth:
    return Auth()


@pytest.fixture
def feeder(api: KubernetesApi, auth: Auth) -> Feeder:
    return Feeder(SOURCE, auth.feed, api, clock=FakeClock())


def found(server: Emulation, name: str = "lost") -> dict[str, Any]:
    kind = next(one for one in server.kinds if one.plural == "teleportlocksv2")
    return server.objects.get(Key(kind, "default", name))


def condition(body: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in body["status"]["conditions"] if one["type"] == name)


async def test_what_is_there_is_fed_without_a_watch_and_told_to_be_ready(
    server: Emulation, feeder: Feeder, auth: Auth
) -> None:
    await server.create(lock())

    await feeder.pass_once()

    assert auth.names == ["lost"]
    assert condition(found(server), "Ready")["status"] == "True"
    assert found(server)["status"]["appliedRevision"] == 7


async def test_what_is_refused_is_told_by_a_status_and_once_by_an_event(
    server: Emulation, feeder: Feeder, auth: Auth
) -> None:
    await server.create(lock())
    auth.refused["TeleportLockV2/lost"] = "unknown user ann"

    await feeder.pass_once()
    await feeder.pass_once()

    assert condition(found(server), "Stalled")["reason"] == "Invalid"
    events = next(one for one in server.kinds if one.plural == "events")
    (event,) = server.objects.all_of(events)
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "Invalid", "unknown user ann")
    assert event["involvedObject"]["name"] == "lost"


async def test_nothing_new_costs_no_request(server: Emulation, feeder: Feeder, api: KubernetesApi) -> None:
    await server.create(lock())
    await feeder.pass_once()
    before = api.requests

    await feeder.pass_once()

    assert api.requests == before


async def test_one_that_is_gone_is_fed_no_more(server: Emulation, feeder: Feeder, auth: Auth) -> None:
    made = await server.create(lock())
    await feeder.pass_once()

    feeder.forget(made)
    await feeder.pass_once()

    assert auth.names == []


async def test_news_of_an_earlier_one_of_the_name_is_no_news(server: Emulation, feeder: Feeder, auth: Auth) -> None:
    made = await server.create(lock())
    await feeder.pass_once()

    feeder.forget({**made, "metadata": {**made["metadata"], "uid": "another"}})
    await feeder.pass_once()

    assert auth.names == ["lost"]


async def test_what_went_while_nobody_watched_is_noticed_when_the_watch_begins_anew(
    server: Emulation, feeder: Feeder, auth: Auth
) -> None:
    await server.create(lock())
    await feeder.pass_once()
    await server.objects.delete(Key(next(k for k in server.kinds if k.plural == "teleportlocksv2"), "default", "lost"))

    feeder.relist()
    await feeder.pass_once()

    assert (auth.names, auth.fed[-1].withheld) == ([], ())


async def test_a_kind_whose_definition_goes_is_withheld_and_not_deleted(
    server: Emulation, feeder: Feeder, auth: Auth
) -> None:
    made = await server.create(lock())
    await feeder.pass_once()
    async with aiohttp.ClientSession() as http:
        group = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await http.delete(f"{server.url}{group}/teleportlocksv2.resources.teleport.dev")

    feeder.forget(made)
    await feeder.pass_once()

    assert "TeleportLockV2" in auth.fed[-1].withheld


async def test_a_namespace_that_goes_is_not_fed_at_all(server: Emulation, feeder: Feeder, auth: Auth) -> None:
    made = await server.create(lock())
    await feeder.pass_once()
    async with aiohttp.ClientSession() as http:
        await http.delete(f"{server.url}/api/v1/namespaces/default")

    feeder.forget(made)

    assert await feeder.pass_once() is None
    assert len(auth.fed) == 1


async def test_a_finalizer_of_the_upstream_is_taken_off(server: Emulation, feeder: Feeder, auth: Auth) -> None:
    await server.create(lock(finalizers=[FINALIZER, "somebody/else"]))
    key = Key(next(one for one in server.kinds if one.plural == "teleportlocksv2"), "default", "lost")
    await server.objects.delete(key)

    await feeder.pass_once()

    assert auth.names == []
    assert found(server)["metadata"]["finalizers"] == ["somebody/else"]


async def test_a_finalizer_that_cannot_be_taken_off_holds_up_nothing_else(
    server: Emulation, api: KubernetesApi, feeder: Feeder, auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise KubernetesError("denied by an admission policy", 422)

    monkeypatch.setattr(api, "release", refuse)
    await server.create(lock(finalizers=[FINALIZER]))
    await server.create(lock("another"))

    await feeder.pass_once()

    assert sorted(auth.names) == ["another", "lost"]


async def test_an_api_server_that_fails_is_tried_again(server: Emulation, feeder: Feeder, auth: Auth) -> None:
    await server.create(lock())
    server.failing = True
    with pytest.raises(KubernetesError, match="503"):
        await feeder.pass_once()
    assert auth.fed == []

    server.failing = False
    await feeder.pass_once()

    assert auth.names == ["lost"]


async def test_an_auth_service_that_is_away_is_fed_when_it_is_back(
    server: Emulation, api: KubernetesApi, auth: Auth
) -> None:
    feeder = Feeder(SOURCE, auth.feed, api, clock=SystemClock())
    made = await server.create(lock())
    auth.away = True
    running = asyncio.create_task(feeder.run())
    feeder.note(made)
    await asyncio.sleep(0.05)

    auth.away = False
    async with asyncio.timeout(10):
        await feeder.fed.wait()
    running.cancel()

    assert auth.names == ["lost"]


async def test_what_kubectl_and_others_note_on_a_manifest_is_not_fed(
    server: Emulation, feeder: Feeder, auth: Auth
) -> None:
    note = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "teleport.dev/keep": "true"}
    await server.create(lock(annotations=note, managedFields=[{}]))

    await feeder.pass_once()

    (sent,) = auth.fed[-1].manifests
    assert sent["metadata"]["annotations"] == {"teleport.dev/keep": "true"}
    assert "managedFields" not in sent["metadata"]
    assert "status" not in sent


async def test_what_stays_in_force_though_it_is_gone_is_told_once_by_an_event(
    server: Emulation, feeder: Feeder, auth: Auth
) -> None:
    auth.kept = (
        m.ObjectVerdict(place="TeleportLockV2/gone", state="Stalled", reason="PruneRefused", message="still used"),
    )

    await feeder.pass_once()
    await feeder.pass_once()

    (event,) = server.objects.all_of(next(one for one in server.kinds if one.plural == "events"))
    assert (event["reason"], event["message"], event["involvedObject"]["name"]) == (
        "PruneRefused",
        "still used",
        "gone",
    )


async def test_a_finalizer_is_taken_off_what_stays_so_that_no_deletion_ever_waits(
    server: Emulation, feeder: Feeder, auth: Auth
) -> None:
    await server.create(lock(finalizers=["somebody/else", FINALIZER]))

    await feeder.pass_once()

    assert auth.names == ["lost"]
    assert found(server)["metadata"]["finalizers"] == ["somebody/else"]


async def test_a_finalizer_is_taken_off_while_the_auth_service_is_away(
    server: Emulation, feeder: Feeder, auth: Auth
) -> None:
    await server.create(lock(finalizers=[FINALIZER]))
    await server.objects.delete(Key(next(k for k in server.kinds if k.plural == "teleportlocksv2"), "default", "lost"))
    auth.away = True

    with pytest.raises(Unavailable):
        await feeder.pass_once()

    assert server.objects.all_of(next(k for k in server.kinds if k.plural == "teleportlocksv2")) == []


class Slow(KubernetesApi):
    """An API server that lets something happen between a listing and its answer."""

    def __init__(self, login: Login) -> None:
        super().__init__(login)
        self.meanwhile: Callable[[], None] = lambda: None

    async def manifests(self, kind: CustomKind, namespace: str) -> list[dict[str, Any]] | None:
        found = await super().manifests(kind, namespace)
        if kind.kind == "TeleportLockV2":
            self.meanwhile()
        return found


@pytest.fixture
def slow(api: KubernetesApi) -> Slow:
    return Slow(api.login)


async def test_what_the_watch_tells_during_a_listing_is_newer_than_the_listing(
    server: Emulation, slow: Slow, auth: Auth
) -> None:
    made = await server.create(lock())
    newer = {**made, "spec": {"target": {"user": "bob"}}, "metadata": {**made["metadata"], "generation": 2}}
    feeder = Feeder(SOURCE, auth.feed, slow, clock=FakeClock())
    slow.meanwhile = lambda: feeder.note(newer)

    await feeder.pass_once()

    (sent,) = auth.fed[-1].manifests
    assert sent["spec"] == {"target": {"user": "bob"}}


async def test_what_is_deleted_during_a_listing_is_not_fed(server: Emulation, slow: Slow, auth: Auth) -> None:
    made = await server.create(lock())
    feeder = Feeder(SOURCE, auth.feed, slow, clock=FakeClock())
    slow.meanwhile = lambda: feeder.forget(made)

    await feeder.pass_once()

    assert auth.names == []


async def test_what_vanishes_during_a_feed_is_looked_into_before_the_next(
    server: Emulation, api: KubernetesApi, auth: Auth
) -> None:
    made = await server.create(lock())

    async def feed(request: m.FeedRequest) -> m.FeedAnswer:
        if not auth.fed:
            async with aiohttp.ClientSession() as http:
                group = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
                await http.delete(f"{server.url}{group}/teleportlocksv2.resources.teleport.dev")
            eager.forget(made)
        return await auth.feed(request)

    eager = Feeder(SOURCE, feed, api, clock=FakeClock())
    await eager.pass_once()

    await eager.pass_once()

    assert (auth.names, auth.fed[-1].withheld) == ([], ("TeleportLockV2",))


async def test_who_rests_does_not_feed_and_lists_when_the_turn_comes(
    server: Emulation, api: KubernetesApi, auth: Auth
) -> None:
    turns = iter([False])
    asked = asyncio.Event()

    async def leads() -> bool:
        asked.set()
        return next(turns, True)

    feeder = Feeder(SOURCE, auth.feed, api, clock=SystemClock(), leads=leads)
    running = asyncio.create_task(feeder.run())
    async with asyncio.timeout(10):
        await asked.wait()
        rested = not auth.fed
        feeder.note(await server.create(lock()))
        await server.create(lock("another"))
        await feeder.fed.wait()
    running.cancel()

    assert rested
    assert sorted(auth.names) == ["another", "lost"]


async def test_a_bug_does_not_end_the_feeding(
    server: Emulation, api: KubernetesApi, auth: Auth, caplog: pytest.LogCaptureFixture
) -> None:
    bugs = iter([ValueError("a bug")])

    async def leads() -> bool:
        for bug in bugs:
            raise bug
        return True

    await server.create(lock())
    feeder = Feeder(SOURCE, auth.feed, api, clock=SystemClock(), leads=leads)
    running = asyncio.create_task(feeder.run())
    async with asyncio.timeout(10):
        await feeder.fed.wait()
    running.cancel()

    assert "this is a bug" in caplog.text
    assert auth.names == ["lost"]
