"""Recordings at rest: who may list and read which, and that reading is itself written down."""

import hashlib
from typing import Any

import pytest

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.core.errors import AccessDenied, BadInput, Conflict, NotFound
from tests.auth.cluster import HOST, Cluster, user

SID = "0a3c9d6e-0000-4000-8000-000000000001"
OUTPUT, TIMING = b"Script started\nhello\n", b"O 0.1 6\n"


def meta(sid: str = SID, *, who: str = "ann", server: str = HOST) -> dict[str, Any]:
    return {
        "sid": sid, "user": who, "login": "root", "server_id": server, "server_hostname": "db-1",
        "started": "2030-01-01T00:00:00.000Z", "stopped": "2030-01-01T00:01:00.000Z", "interactive": True,
        "output_bytes": len(OUTPUT), "output_sha256": hashlib.sha256(OUTPUT).hexdigest(),
        "timing_sha256": hashlib.sha256(TIMING).hexdigest(),
    }  # fmt: skip


async def upload(cluster: Cluster, name: str, data: bytes, *, sid: str = SID, caller: Caller | None = None) -> None:
    part = m.RecordingPart(sid=sid, name=name, offset=0)
    await cluster.auth.handlers()["upload"](caller or cluster.host(), part, data)


async def record(cluster: Cluster, sid: str = SID, *, who: str = "ann") -> None:
    """A complete recording of ann's, as the host brings it."""
    await upload(cluster, "output", OUTPUT, sid=sid)
    await upload(cluster, "timing", TIMING, sid=sid)
    await cluster.call("seal", m.SealRequest(sid=sid, meta=meta(sid, who=who)), cluster.host())


async def read(cluster: Cluster, caller: Caller, name: str = "output", *, sid: str = SID, offset: int = 0) -> bytes:
    request = m.RecordingFile.model_validate({"sid": sid, "name": name, "offset": offset, "format": "text"})
    stream = await cluster.call("recording", request, caller)
    return b"".join([chunk async for chunk in stream])


@pytest.fixture
async def people(cluster: Cluster) -> None:
    await cluster.declare(user("ann", "access"), user("bob", "access"), user("aud", "auditor"), user("eve", "editor"))


@pytest.mark.usefixtures("people")
async def test_people_list_and_read_their_own_and_auditors_everybodys(cluster: Cluster) -> None:
    await record(cluster)

    listed = {
        name: [one.sid for one in (await cluster.call("recordings", m.RecordingQuery(), cluster.user(name))).recordings]
        for name in ("ann", "bob", "aud")
    }

    assert listed == {"ann": [SID], "bob": [], "aud": [SID]}
    assert await read(cluster, cluster.user("ann")) == OUTPUT
    assert await read(cluster, cluster.user("aud")) == OUTPUT
    with pytest.raises(NotFound, match=f"recording {SID} does not exist"):
        await read(cluster, cluster.user("bob"))


@pytest.mark.usefixtures("people")
async def test_reading_any_of_the_output_leaves_an_event_and_reading_the_rest_does_not(cluster: Cluster) -> None:
    await record(cluster)

    await read(cluster, cluster.user("aud"), "meta.json")
    await read(cluster, cluster.user("aud"), "timing")
    await read(cluster, cluster.user("aud"), offset=len(OUTPUT) - 1)

    found = cluster.events("session.recording.access")
    assert [(one["user"], one["user_roles"], one["sid"]) for one in found] == [("aud", ["auditor"], SID)]


@pytest.mark.usefixtures("people")
async def test_a_refused_reader_leaves_no_event_of_reading(cluster: Cluster) -> None:
    await record(cluster)

    with pytest.raises(NotFound):
        await read(cluster, cluster.user("bob"))

    assert cluster.events("session.recording.access") == []


@pytest.mark.usefixtures("people")
async def test_what_is_not_sealed_does_not_exist_yet(cluster: Cluster) -> None:
    await upload(cluster, "output", OUTPUT)

    assert (await cluster.call("recordings", m.RecordingQuery(), cluster.user("aud"))).recordings == ()
    with pytest.raises(NotFound, match="not complete yet"):
        await read(cluster, cluster.user("aud"))


async def test_a_host_cannot_write_into_the_recording_of_another(cluster: Cluster) -> None:
    await upload(cluster, "output", OUTPUT)
    other = cluster.host(uid="5a3c9d6e-0000-4000-8000-00000000000b")

    with pytest.raises(AccessDenied, match="belongs to another host"):
        await upload(cluster, "output", b"forged", caller=other)
    with pytest.raises(BadInput, match="does not belong to this recording"):
        await cluster.call("seal", m.SealRequest(sid=SID, meta=meta()), other)


async def test_what_arrived_must_be_what_was_sealed(cluster: Cluster) -> None:
    await upload(cluster, "output", OUTPUT + b"more")
    await upload(cluster, "timing", TIMING)

    with pytest.raises(Conflict, match="output differs from what the host sealed"):
        await cluster.call("seal", m.SealRequest(sid=SID, meta=meta()), cluster.host())


@pytest.mark.usefixtures("people")
async def test_a_complete_recording_is_told_of_with_whose_it_is_and_the_roles_they_have(cluster: Cluster) -> None:
    await record(cluster)

    (event,) = cluster.events("session.upload")
    assert (event["user"], event["user_roles"], event["sid"]) == ("ann", ["access"], SID)


async def test_a_sealed_recording_takes_nothing_more(cluster: Cluster) -> None:
    await record(cluster)

    with pytest.raises(Conflict, match="is complete already"):
        await upload(cluster, "output", b"more")


@pytest.mark.usefixtures("people")
async def test_the_beginning_of_an_id_selects_and_a_limit_gives_the_newest(cluster: Cluster) -> None:
    other = SID.replace("0a3c", "ffff")
    await record(cluster)
    await record(cluster, other)

    chosen = await cluster.call("recordings", m.RecordingQuery(prefix="ffff"), cluster.user("aud"))
    newest = await cluster.call("recordings", m.RecordingQuery(limit=1), cluster.user("aud"))

    assert [one.sid for one in chosen.recordings] == [other]
    assert len(newest.recordings) == 1
