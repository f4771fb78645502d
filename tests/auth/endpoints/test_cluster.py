"""The state of the cluster, of its policy, and copies of its store."""

import stat
from pathlib import Path
from typing import Any

import pytest

from teleport.api import models as m
from teleport.core.errors import BadInput, Conflict, NotFound
from teleport.resources.reading import own_reads
from tests.auth.cluster import Cluster, role


async def beat(cluster: Cluster, revision: int, *, uid: str, name: str = "db-1") -> None:
    heartbeat = m.Heartbeat(revision=revision, version="1", hostname=name, labels={}, ttl=30)
    await cluster.call("heartbeat", heartbeat, cluster.host(uid=uid, name=name))


async def test_status_tells_the_pins_the_log_and_whether_it_is_a_demonstration(cluster: Cluster) -> None:
    await cluster.declare(role())
    cluster.auth.surroundings.demo = True

    found = await cluster.call("status")

    assert (found.cluster, found.ca_pins, found.demo) == ("acme", cluster.auth.authorities.pins, True)
    assert found.audit_events == len(cluster.events())


async def test_a_way_back_is_accepted_at_the_source_and_told_in_the_log(cluster: Cluster) -> None:
    async def accept(commit: str) -> str:
        return commit + "0" * 33

    cluster.auth.surroundings.rollbacks = {"git": accept}

    answer = await cluster.call("accept_rollback", m.RollbackRequest(commit="abcdef1", reason="meant"))

    assert (answer.source, answer.commit) == ("git", "abcdef1" + "0" * 33)
    (event,) = cluster.events("policy.rollback_accepted")
    assert (event["commit"], event["source"], event["reason"]) == (answer.commit, "git", "meant")


async def test_a_way_back_needs_a_source_that_has_commits(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="no source 'folder' has commits"):
        await cluster.call("accept_rollback", m.RollbackRequest(commit="abcdef1", reason="meant", source="folder"))


async def test_policy_status_names_the_oldest_revision_that_any_living_service_enforces(cluster: Cluster) -> None:
    await cluster.declare(role())
    revision = cluster.auth.policy.current.revision
    await beat(cluster, revision, uid="5a3c9d6e-0000-4000-8000-00000000000a")
    await beat(cluster, revision - 1, uid="5a3c9d6e-0000-4000-8000-00000000000b", name="db-2")

    behind = await cluster.call("policy_status")
    cluster.clock.advance(20)
    await beat(cluster, revision, uid="5a3c9d6e-0000-4000-8000-00000000000a")
    cluster.clock.advance(20)
    later = await cluster.call("policy_status")

    assert behind.oldest_acknowledged == revision - 1
    assert [(one.hostname, one.revision) for one in behind.services] == [("db-1", revision), ("db-2", revision - 1)]
    assert [one.hostname for one in later.services] == ["db-1"]
    assert later.oldest_acknowledged == revision


async def test_a_backup_is_private_audited_and_never_overwrites(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "copy.db"

    done = await cluster.call("backup", m.BackupRequest(path=str(path)))

    assert done.revision > 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert cluster.events("backup.create")[0]["name"] == str(path)
    with pytest.raises(Conflict, match="exists already"):
        await cluster.call("backup", m.BackupRequest(path=str(path)))


@pytest.mark.parametrize("path", ["copy.db", "/nonexistent/copy.db"])
async def test_a_backup_goes_to_an_absolute_path_in_a_folder_that_exists(cluster: Cluster, path: str) -> None:
    with pytest.raises(BadInput, match="is not a file in an existing directory"):
        await cluster.call("backup", m.BackupRequest(path=path))


def _reads(*, role: tuple[str, ...]) -> m.ReadsFormat:
    own = own_reads()
    return m.ReadsFormat(versions={**own.versions, "role": role}, fields=tuple(own.fields))


async def _beat(cluster: Cluster, reads: m.ReadsFormat | None, *, format_: str = "") -> None:
    heartbeat = m.Heartbeat(
        revision=0, version="0.0.9", hostname="db-1", labels={}, ttl=30, format=format_, reads=reads
    )
    await cluster.call("heartbeat", heartbeat, cluster.host())


async def test_what_a_connected_service_cannot_read_is_a_warning_of_the_source_that_declares_it(
    cluster: Cluster,
) -> None:
    cluster.auth.surroundings.sources = {
        "folder": m.SourceStatus(name="folder", kind="folder", place="p", state="Ready")
    }
    await cluster.declare(role())

    await _beat(cluster, _reads(role=("v7", "v8")))
    (fine,) = (await cluster.call("policy_status")).sources
    await _beat(cluster, _reads(role=("v5", "v6")))
    status = await cluster.call("policy_status")

    (source,), (service,) = status.sources, status.services
    formats = (await cluster.call("formats")).formats
    assert fine.warnings == ()
    assert [warning["message"] for warning in source.warnings] == [
        "the service on db-1 (version 0.0.9) cannot read role v7, which role/dev would use, and would deny by it"
    ]
    assert formats[service.format].versions["role"] == ("v5", "v6")
    assert own_reads().format in formats


async def test_sources_are_told_in_the_order_of_the_configuration_whichever_was_read_first(cluster: Cluster) -> None:
    read: list[Any] = [m.SourceStatus(name=name, kind="folder", place="p", state="Ready") for name in ("b", "c", "a")]
    cluster.auth.surroundings.sources = {one.name: one for one in read}
    cluster.auth.surroundings.governed = dict.fromkeys(("a", "b", "c"), read[0])

    status = await cluster.call("policy_status")

    assert [one.name for one in status.sources] == ["a", "b", "c"]


async def test_a_service_is_not_believed_about_the_name_of_what_it_reads(cluster: Cluster) -> None:
    await _beat(cluster, _reads(role=("v5",)), format_=own_reads().format)

    (service,) = (await cluster.call("policy_status")).services

    assert service.format != own_reads().format


async def test_formats_of_services_that_are_gone_are_forgotten_and_there_are_only_so_many(cluster: Cluster) -> None:
    for number in range(100):
        await _beat(cluster, _reads(role=(f"v{number}",)))

    assert len(cluster.auth.presence._formats) <= 3
    assert len((await cluster.call("formats")).formats) == 2


async def test_how_far_a_commit_has_come_is_asked_of_the_sources_that_have_commits(cluster: Cluster) -> None:
    history = {"c2" * 20: ["c1" * 20, "c2" * 20], "c1" * 20: ["c1" * 20]}

    async def within(commit: str, head: str) -> str:
        return next((one for one in history.get(head, ()) if one.startswith(commit)), "")

    surroundings = cluster.auth.surroundings
    surroundings.commits = {"git": within}
    surroundings.sources = {
        "git": m.SourceStatus(
            name="git", kind="git", place="p", state="Stalled", applied_commit="c1" * 20, attempted_commit="c2" * 20
        )
    }

    old, new, unknown = [
        (await cluster.call("policy_commit", m.CommitQuery(commit=commit))).sources
        for commit in ("C1c1c1c1", "c2" * 20, "abcdef12")
    ]

    assert [(one.source, one.commit, one.applied, one.attempted) for one in (*old, *new)] == [
        ("git", "c1" * 20, True, True), ("git", "c2" * 20, False, True),
    ]  # fmt: skip
    assert unknown == ()
