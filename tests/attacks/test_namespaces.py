"""Attacks from a namespace: on the Secrets of others, on what others own, and on what its owner is told."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from teleport.api import models as m
from teleport.audit.events import Actor
from teleport.auth.policy import Wanted
from teleport.core.aio import SystemClock
from teleport.core.errors import BadInput, Invalid, NotFound
from teleport.resources.codec import from_dict
from teleport.service.operator.feeder import Feeder
from teleport.service.operator.secrets import ALLOW
from tests.kubernetes.emulation import Emulation, emulated
from tests.service.fed import CRDS, Fed, Manifest, api_of, fed_config, manifest, role, user

SECRET = "correct-horse-battery-staple"
CEILING: dict[str, Any] = {
    "owns": {"role": ["b-*"], "user": ["*@b.example.com"], "token": ["b-*"], "lock": ["b-*"]}, "token_roles": ["Node"],
    "logins": ["app"], "node_labels": {"team": "b"},
}  # fmt: skip
OPS = {"name": "ops", "kubernetes": {"namespace": "ops"}}
TEAM = {"name": "team-b", "kubernetes": {"namespace": "team-b"}, "ceiling": CEILING}


def token(secret: Any, name: str = "b-fleet", **metadata: Any) -> Manifest:
    return manifest("TeleportProvisionToken", name, {"roles": ["Node"], "secret": secret}, "v2", **metadata)


@pytest_asyncio.fixture
async def fed(tmp_path: Path) -> AsyncIterator[Fed]:
    """A namespace of those who run the cluster, and one of a tenant."""
    async with Fed.running(fed_config(tmp_path, OPS, TEAM)) as running:
        yield running


async def ops(fed: Fed, *manifests: Manifest) -> None:
    """What those who run the cluster declare."""
    admins = role("admins", namespace="ops")
    admins["spec"]["allow"]["rules"] = [{"resources": ["*"], "verbs": ["*"]}]
    rest = [{**one, "metadata": {**one["metadata"], "namespace": "ops"}} for one in manifests]
    told = await fed.told(admins, user("root", "admins", namespace="ops"), *rest, source="ops")
    assert {state for state, _ in told.values()} == {"Ready"}, told


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Emulation]:
    async with emulated(*CRDS) as running:
        for name in ("ops", "team-b"):
            await running.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        yield running


async def kept(server: Emulation, allowed: str | None, *, namespace: str = "team-b", name: str = "fleet") -> None:
    """A Secret, whose annotation names who may refer to it."""
    annotations = {ALLOW: allowed} if allowed is not None else {}
    metadata = {"name": name, "namespace": namespace, "annotations": annotations}
    data = {"key": "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ=="}
    await server.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})


async def brought(fed: Fed, server: Emulation, *manifests: Manifest) -> tuple[dict[str, str], m.FeedRequest]:
    """What an operator tells of each object, and what it had sent."""
    sent: list[m.FeedRequest] = []
    told: list[m.FeedAnswer] = []

    async def feed(request: m.FeedRequest) -> m.FeedAnswer:
        sent.append(request)
        told.append(await fed.feeding()(request))
        return told[-1]

    for one in manifests:
        await server.create(one)
    async with api_of(server) as api:
        feeder = Feeder(m.FedSource(name="team-b", namespace="team-b"), feed, api, clock=SystemClock())
        await feeder.pass_once()
        await feeder.close()
    return {one.place: one.message for one in told[-1].objects}, sent[-1]


async def test_a_secret_that_permits_it_is_told_and_stays_sealed(fed: Fed, server: Emulation, tmp_path: Path) -> None:
    await kept(server, "b-fleet")

    told, sent = await brought(fed, server, token("secret://fleet/key"))

    assert told == {"TeleportProvisionToken/b-fleet": ""}
    assert sent.secrets == {"fleet/key": SECRET}
    assert SECRET not in repr(sent)
    assert SECRET not in fed.status().model_dump_json()
    for path in (tmp_path / "data").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


async def test_a_secret_that_does_not_permit_it_is_not_told(fed: Fed, server: Emulation) -> None:
    spellings = (None, "", "others", "b-flee, b", "B-FLEET", "b-flee*")
    for index, allowed in enumerate(spellings):
        await kept(server, allowed, name=f"s{index}")
    reference = {"valueFrom": {"secretKeyRef": {"name": "s0", "key": "key"}}}
    tokens = [token(f"secret://s{index}/key", f"b-fleet-{index}") for index in range(1, len(spellings))]

    told, sent = await brought(fed, server, token(reference), *tokens)

    assert len([one for one in told.values() if "whose annotation" in one]) == len(spellings)
    assert sent.secrets == {}
    assert await fed.owned() == []


async def test_a_secret_that_permits_one_manifest_permits_no_other(fed: Fed, server: Emulation) -> None:
    await kept(server, "b-fleet")
    await brought(fed, server, token("secret://fleet/key"))

    told, _ = await brought(fed, server, token("secret://fleet/key", "b-thief"))

    assert "names b-thief or *" in told["TeleportProvisionToken/b-thief"]
    assert await fed.owned() == ["token/b-fleet"]


ELSEWHERE: list[Any] = [
    "secret://../ops/secrets/fleet/key",
    "secret://ops/fleet/key",
    "secret://fleet/../../../ops/secrets/fleet/key",
    "secret://fleet/..",
    "secret://fleet/key?watch=true",
    "secret://fleet%2f..%2fx/key",
    "secret://fleet/key\n",
    "secret:///key",
    {"valueFrom": {"secretKeyRef": {"name": "../../ops/secrets/fleet", "key": "key"}}},
    {"valueFrom": {"secretKeyRef": {"name": "fleet", "key": "key", "namespace": "ops"}}},
    {"valueFrom": {"secretKeyRef": {"name": "fleet", "key": "key"}}, "kubernetes": "ops/fleet/key"},
    {"kubernetes": "ops/fleet/key"},
    {"kubernetes": "team-b/fleet/key", "file": "/etc/hostname"},
]


async def test_no_spelling_leads_to_a_secret_of_another_namespace(fed: Fed, server: Emulation) -> None:
    await kept(server, "*", namespace="ops")
    tokens = [token(reference, f"b-{index}") for index, reference in enumerate(ELSEWHERE)]

    told, sent = await brought(fed, server, *tokens)

    assert all(told.values())
    assert len(told) == len(ELSEWHERE)
    assert sent.secrets == {}
    assert await fed.owned() == []


async def test_nobody_else_refers_to_a_namespaces_secrets(fed: Fed) -> None:
    await ops(fed)
    await fed.feed(token("secret://fleet/key"), secrets={"fleet/key": SECRET})
    writer = fed.auth.auth.writer
    owned = await writer.owned_by("team-b")

    told = await fed.told(
        role("admins", namespace="ops"),
        token({"kubernetes": "team-b/fleet/key"}, "thief", namespace="ops"),
        source="ops",
    )

    assert "in no namespace whose manifests this source consists of" in told["TeleportProvisionToken/thief"][1]
    body = owned["token", "b-fleet"].to_dict()
    stolen = from_dict({**body, "metadata": {"name": "mine"}})
    with pytest.raises(Invalid, match="in no namespace"):
        await writer.put([Wanted(stolen)], Actor("ann", 1))


async def test_a_secret_that_is_taken_away_opens_nothing(fed: Fed) -> None:
    await fed.feed(token("secret://fleet/key"), secrets={"fleet/key": SECRET})
    tokens = list((await fed.auth.auth.writer.owned_by("team-b")).values())
    before = fed.auth.permitted.of(tokens, SECRET)  # type: ignore[arg-type]

    await fed.feed(token("secret://fleet/key"), refused={"TeleportProvisionToken/b-fleet": "there is no such Secret"})

    assert before is not None
    assert fed.auth.permitted.of(tokens, SECRET) is None  # type: ignore[arg-type]
    assert await fed.owned() == ["token/b-fleet"]


async def test_a_manifest_of_another_namespace_is_not_taken(fed: Fed) -> None:
    with pytest.raises(BadInput, match="is not in the namespace team-b"):
        await fed.feed(role("b-dev", namespace="ops"))


async def test_a_source_is_not_fed_under_another_name(fed: Fed) -> None:
    with pytest.raises(NotFound):
        await fed.feeding("team-b")(m.FeedRequest(source="ops", manifests=()))


async def test_the_second_namespace_that_declares_a_name_is_refused(fed: Fed) -> None:
    await ops(fed, role("b-dev"))

    answer = await fed.feed(role("b-dev"))

    (verdict,) = answer.objects
    assert (verdict.state, verdict.reason, verdict.owned) == ("Stalled", "NotOwned", False)
    assert verdict.message.startswith("role/b-dev belongs to the source ops (delete it there first")


async def test_a_tenant_does_not_learn_whom_others_have(fed: Fed) -> None:
    await ops(fed, user("mallory", "access"))

    taken, free = await fed.told(user("mallory", "b-dev"), role("b-dev")), await fed.told(user("nobody"), role("b-dev"))

    assert taken["TeleportUser/mallory"][1].partition(":")[0] == free["TeleportUser/nobody"][1].partition(":")[0]
    assert "belongs" not in json.dumps(taken)


async def test_whom_a_change_gives_more_is_told_by_number_unless_they_are_the_tenants_own(fed: Fed) -> None:
    host = {"addr": "192.0.2.1:22", "hostname": "secret-host"}
    narrow, wider = role("b-dev"), role("b-dev", generation=2)
    narrow["spec"]["options"]["max_session_ttl"] = "1h"
    await fed.feed(narrow, user("ann@b.example.com", "b-dev"))
    await ops(
        fed, user("mallory", "b-dev"), manifest("TeleportOpenSSHServerV2", "h", host, labels={"team": "b"})
    )  # fmt: skip
    broken = manifest("TeleportRoleV7", "b-broken", {"allow": {"lgins": []}})

    answer = await fed.feed(wider, user("ann@b.example.com", "b-dev"), broken)

    text = answer.model_dump_json()
    (waiting,) = (one for one in answer.objects if one.reason == "Waiting")
    assert waiting.message.endswith("it gives more to ann@b.example.com, 1 other")
    assert not [name for name in ("mallory", "secret-host", "root") if f'"{name}' in text or f" {name}" in text]
    assert "mallory" in fed.status().model_dump_json()


async def test_what_others_still_use_is_not_deleted_and_its_owner_is_not_told_by_whom(fed: Fed) -> None:
    await fed.feed(role("b-dev"), role("b-ops"))
    await ops(fed, user("mallory", "b-dev"))

    answer = await fed.feed(role("b-ops"))

    (kept_,) = answer.kept
    assert (kept_.place, kept_.reason) == ("TeleportRoleV7/b-dev", "PruneRefused")
    assert "mallory" not in answer.model_dump_json()
    assert "role/b-dev is still used by user/mallory" in fed.status().model_dump_json()
    assert await fed.owned() == ["role/b-dev", "role/b-ops"]


async def test_a_test_of_others_that_a_tenant_would_break_is_not_shown_to_the_tenant(fed: Fed) -> None:
    secret_host = {"addr": "192.0.2.1:22", "hostname": "secret-host"}
    promise = {
        "given": {"user": "mallory"}, "expect": [{"cannot": "app", "hosts": {"name": "secret-host"}}],
    }  # fmt: skip
    await fed.feed(role("b-dev"))
    await ops(
        fed, user("mallory", "b-dev"), manifest("TeleportAccessTest", "t", promise),
        manifest("TeleportOpenSSHServerV2", "h", secret_host, labels={"team": "c"}),
    )  # fmt: skip
    wider = role("b-dev", generation=2)
    wider["spec"]["allow"]["node_labels"] = {"team": "c"}

    told = await fed.told(wider)

    assert told["TeleportRoleV7/b-dev"][0] == "Stalled"
    assert "mallory" not in json.dumps(told)
    assert "secret-host" not in json.dumps(told)
