"""What a compromised agent or proxy may not do with its own certificate: others' events, recordings, hosts, secrets."""

import uuid
from typing import Any

import pytest

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.core.aio import utc
from teleport.core.errors import AccessDenied, BadInput, Conflict, NotFound, TeleportError
from tests.auth.cluster import SSH_KEY, TLS_KEY, Cluster, role, user

OTHER = "5a3c9d6e-0000-4000-8000-00000000000b"
SID = "01234567-89ab-cdef-0123-456789abcdef"


def event(cluster: Cluster, caller: Caller, **fields: Any) -> dict[str, Any]:
    """An event as an honest agent reports it of itself."""
    return {
        "event": "session.start", "code": "T2000I", "uid": str(uuid.uuid4()), "time": utc(cluster.clock.time()),
        "server_id": caller.known.uid, "user": "ann", **fields,
    }  # fmt: skip


async def report(cluster: Cluster, caller: Caller, *events: dict[str, Any]) -> None:
    await cluster.call("emit", m.EventBatch(events=events), caller)


async def test_an_honest_report_is_taken(cluster: Cluster) -> None:
    agent = cluster.host()

    await report(cluster, agent, event(cluster, agent))

    assert len(cluster.events("session.start")) == 1


@pytest.mark.parametrize(
    "lie",
    [
        {"server_id": OTHER}, {"server_id": ""}, {"event": "user.login", "code": "T1000I"},
        {"event": "role.deleted", "code": "T9001I"}, {"event": "nonsense"}, {"event": None}, {"code": "T1000I"},
        {"code": ""}, {"uid": ""}, {"uid": 7}, {"time": "yesterday"}, {"time": ""}, {"seq": 1}, {"prev": "0" * 64},
        {"cluster_name": "elsewhere"}, {"user": "x" * (1 << 20)},
    ],
    ids=lambda lie: next(iter(lie)),
)  # fmt: skip
async def test_an_agent_reports_nothing_but_its_own_sessions(cluster: Cluster, lie: dict[str, Any]) -> None:
    agent = cluster.host()

    with pytest.raises((AccessDenied, BadInput)):
        await report(cluster, agent, event(cluster, agent), event(cluster, agent, **lie))

    assert not cluster.events("session.start")


async def test_an_event_without_a_host_is_nobodys(cluster: Cluster) -> None:
    agent = cluster.host()
    nameless = event(cluster, agent)
    del nameless["server_id"]

    with pytest.raises(AccessDenied):
        await report(cluster, agent, nameless)


async def test_a_proxy_reports_no_logins(cluster: Cluster) -> None:
    proxy = cluster.host("Proxy")

    with pytest.raises(AccessDenied):
        await report(cluster, proxy, event(cluster, proxy, event="user.login", code="T1000I"))


async def upload(cluster: Cluster, caller: Caller, data: bytes, **fields: Any) -> Any:
    request = m.RecordingPart.model_validate({"sid": SID, "name": "output", "offset": 0, **fields})
    return await cluster.auth.handlers()["upload"](caller, request, data)


async def test_an_agent_neither_overwrites_nor_seals_nor_reads_the_recording_of_another_host(cluster: Cluster) -> None:
    owner, other = cluster.host(), cluster.host(uid=OTHER)
    await upload(cluster, owner, b"what happened")

    with pytest.raises(AccessDenied):
        await upload(cluster, other, b"nothing happened")
    for server_id in (owner.known.uid, OTHER):
        meta = {
            "sid": SID, "server_id": server_id, "user": "ann", "login": "root", "server_hostname": "db-1",
            "started": "", "stopped": "", "interactive": True, "output_bytes": 0,
        }  # fmt: skip
        with pytest.raises((AccessDenied, BadInput)):
            await cluster.call("seal", m.SealRequest(sid=SID, meta=meta), other)
    with pytest.raises(NotFound):
        await cluster.call("recording", m.RecordingFile(sid=SID, name="output"), other)

    assert (cluster.directory / "recordings" / SID / "output").read_bytes() == b"what happened"


async def test_a_recording_is_sealed_only_if_it_is_what_the_host_signed(cluster: Cluster) -> None:
    agent = cluster.host()
    await upload(cluster, agent, b"what happened")
    meta = {
        "sid": SID, "server_id": agent.known.uid, "user": "ann", "login": "root", "server_hostname": "db-1",
        "started": "", "stopped": "", "interactive": True, "output_bytes": 13, "output_sha256": "0" * 64,
    }  # fmt: skip

    with pytest.raises(Conflict, match="differs from what the host sealed"):
        await cluster.call("seal", m.SealRequest(sid=SID, meta=meta), agent)


@pytest.mark.parametrize(
    "sid", ["..", "../../etc", "/etc/passwd", SID.upper(), f"{SID}\n", f"{SID}/..", "", "0" * 36, f" {SID}"]
)
async def test_a_session_id_is_a_uuid_and_no_path(cluster: Cluster, sid: str) -> None:
    agent = cluster.host()

    with pytest.raises((BadInput, ValueError)):
        await upload(cluster, agent, b"x", sid=sid)
    with pytest.raises(BadInput):
        await cluster.auth.recordings.append(sid, agent.known.uid, "output", 0, b"x")


@pytest.mark.parametrize("name", ["meta.json", "owner", "../output", "/output", "", "output\x00"])
async def test_an_agent_writes_only_the_two_files_of_a_recording(cluster: Cluster, name: str) -> None:
    agent = cluster.host()

    with pytest.raises((BadInput, ValueError)):
        await upload(cluster, agent, b"x", name=name)
    with pytest.raises(BadInput):
        await cluster.auth.recordings.append(SID, agent.known.uid, name, 0, b"x")


async def test_a_heartbeat_is_of_the_host_that_the_certificate_names_whatever_it_says(cluster: Cluster) -> None:
    agent = cluster.host()
    body: dict[str, Any] = {"hostname": "db-2", "version": "1", "revision": 1, "labels": {}, "ttl": 60}

    await cluster.call("heartbeat", m.Heartbeat(**body), agent)

    (seen,) = await cluster.auth.presence.hosts()
    assert (seen.name, seen.hostname) == (agent.known.uid, "db-1")


async def test_an_agent_does_not_say_where_people_find_the_proxy(cluster: Cluster) -> None:
    body: dict[str, Any] = {"hostname": "db-1", "version": "1", "revision": 1, "ttl": 60, "address": "evil.example:443"}

    await cluster.call("heartbeat", m.Heartbeat(**body), cluster.host())

    assert cluster.auth.proxy_address == ""


async def test_presence_is_never_policy(cluster: Cluster) -> None:
    before = cluster.auth.policy.current.revision
    body: dict[str, Any] = {"hostname": "db-1", "version": "1", "revision": 1, "labels": {"env": "dev"}, "ttl": 60}

    await cluster.call("heartbeat", m.Heartbeat(**body), cluster.host())

    assert "db-1" not in cluster.auth.policy.current.nodes
    assert cluster.auth.policy.current.revision == before


async def test_renewing_gives_the_same_host_in_the_same_role(cluster: Cluster) -> None:
    agent = cluster.host()
    renewed = await cluster.call(
        "renew_host", m.RenewHost(hostname="db-1", ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY), agent
    )

    assert renewed.host_id == agent.known.uid


async def test_renewing_gives_no_name_by_which_people_mean_another_host(cluster: Cluster) -> None:
    await cluster.declare("kind: node\nversion: v2\nmetadata: {name: vault}\nspec: {hostname: vault}\n")
    other = cluster.host(uid=OTHER, name="db-2")
    beat: dict[str, Any] = {"hostname": "db-2", "version": "1", "revision": 1, "labels": {}, "ttl": 60}
    await cluster.call("heartbeat", m.Heartbeat(**beat), other)

    for name in ("db-2", "vault"):
        request = m.RenewHost(hostname=name, ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY)
        with pytest.raises(AccessDenied, match="another host's name"):
            await cluster.call("renew_host", request, cluster.host())


async def test_a_service_obtains_no_certificate_of_a_user(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    keys = {"ssh_public_key": SSH_KEY, "tls_public_key": TLS_KEY}

    for service in (cluster.host(), cluster.host("Proxy")):
        with pytest.raises(TeleportError):
            await cluster.call("renew", m.RenewRequest(**keys), service)
        with pytest.raises(TeleportError):
            await cluster.call("session_certificate", m.SessionCertificateRequest(code="1", **keys), service)
