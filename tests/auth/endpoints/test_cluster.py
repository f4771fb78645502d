"""The state of the cluster, of its policy, and copies of its store."""

import stat
from pathlib import Path

import pytest

from teleport.api import models as m
from teleport.core.errors import BadInput, Conflict, NotFound
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
