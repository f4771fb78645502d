"""A process: what it says when it is up, what keeps it from getting up, and what it leaves behind."""

import asyncio
import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from teleport.api import models as m
from teleport.api import routes as r
from teleport.core.errors import AccessDenied, BadInput, Refused, Unavailable
from teleport.store.sqlite import DATABASE
from tests.service.support import ROLE, administration, config, failure_of, running, unstarted


async def test_when_it_is_up_it_says_where_for_which_cluster_and_with_which_pin(tmp_path: Path) -> None:
    said: list[str] = []
    process = unstarted(config(tmp_path, demo=False), announce=said.append)
    run = asyncio.create_task(process.run())
    async with asyncio.timeout(20):
        await process.ready.wait()

    async with administration(config(tmp_path)) as client:
        status = await client.call(r.STATUS, m.Empty())

    assert said == [f"ready: https://{process.bound} cluster acme ca-pin {status.ca_pins[0]}"]
    assert status.proxy_address == str(process.bound)
    process.stop()
    await run


async def test_a_demo_is_marked_as_one_after_everything_else(tmp_path: Path) -> None:
    said: list[str] = []
    process = unstarted(config(tmp_path), announce=said.append)
    run = asyncio.create_task(process.run())
    async with asyncio.timeout(20):
        await process.ready.wait()

    assert said[0].endswith(" DEMO: sessions of the service's own user can read the certificate authority")
    process.stop()
    await run


async def test_a_cluster_keeps_its_name_also_when_nobody_repeats_it(tmp_path: Path) -> None:
    async with running(config(tmp_path)):
        pass

    async with running(config(tmp_path, auth_service={"cluster_name": ""})), administration(config(tmp_path)) as client:
        assert (await client.call(r.STATUS, m.Empty())).cluster == "acme"


async def test_another_name_for_the_cluster_is_refused(tmp_path: Path) -> None:
    async with running(config(tmp_path)):
        pass

    error = await failure_of(config(tmp_path, auth_service={"cluster_name": "other"}))

    assert isinstance(error, Refused)
    assert error.message == "this data directory belongs to the cluster acme, not other"
    assert "use the old name" in error.hint


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        error = await failure_of(config(tmp_path, proxy_service={"web_listen_addr": address}))

    assert isinstance(error, Unavailable)
    assert error.message == f"{address} cannot be listened on: Address already in use"


async def test_a_data_directory_that_another_process_has_is_named(tmp_path: Path) -> None:
    async with running(config(tmp_path)):
        error = await failure_of(config(tmp_path))

    assert isinstance(error, Unavailable)
    assert f"{tmp_path} is in use by process" in error.message


async def test_agents_share_no_data_directory_either(tmp_path: Path) -> None:
    async with running(config(tmp_path)):
        error = await failure_of(config(tmp_path, roles="node", teleport={"proxy_server": "127.0.0.1:1"}))

    assert "is in use by process" in str(error)


async def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    error = await failure_of(config(tmp_path / "file" / "data"))

    assert isinstance(error, Unavailable)
    assert error.message == f"the data directory {tmp_path}/file/data cannot be used: Not a directory"


async def test_a_folder_of_policy_that_is_missing_is_named(tmp_path: Path) -> None:
    error = await failure_of(config(tmp_path, policies={"dir": str(tmp_path / "nowhere")}))

    assert isinstance(error, BadInput)
    assert error.message == f"the policy folder {tmp_path}/nowhere does not exist"


async def test_a_store_that_is_none_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database at all, but long enough to be looked at" * 100)

    error = await failure_of(config(tmp_path))

    assert isinstance(error, Unavailable)
    assert error.message == f"{tmp_path}/store.sqlite cannot be opened: file is not a database"
    assert "teleport restore" in error.hint


async def test_a_store_with_secrets_and_no_key_is_refused_and_no_new_key_is_made(tmp_path: Path) -> None:
    async with running(config(tmp_path)):
        pass
    (tmp_path / "sealing.key").unlink()

    error = await failure_of(config(tmp_path))

    assert isinstance(error, Refused)
    assert "the sealing key" in error.message
    assert "--discard-secrets" in error.hint
    assert not (tmp_path / "sealing.key").exists()


async def test_a_cluster_that_cannot_be_reached_fails_the_first_join_at_once(tmp_path: Path) -> None:
    error = await failure_of(
        config(tmp_path, roles="node", teleport={"proxy_server": "127.0.0.1:1", "ca_pin": ["sha256:00"]})
    )

    assert isinstance(error, Unavailable)
    assert "127.0.0.1:1" in error.message


async def test_the_administration_socket_is_the_services_own_unless_others_are_named(tmp_path: Path) -> None:
    own, shared = tmp_path / "own", tmp_path / "shared"

    async with running(config(own)), running(config(shared, admins=[{"uid": 12345, "role": "editor"}])):
        modes = {
            place: [path.stat().st_mode & 0o777 for path in (place, place / "run", place / "run/admin.sock")]
            for place in (own, shared)
        }

    assert modes == {own: [0o700, 0o700, 0o600], shared: [0o711, 0o711, 0o666]}
    assert not (own / "run/admin.sock").exists()


@pytest.fixture
def _umask() -> Iterator[None]:
    """As `teleport start` sets it."""
    old = os.umask(0o077)
    yield
    os.umask(old)


@pytest.mark.usefixtures("_umask")
async def test_nothing_in_a_shared_data_directory_is_readable_by_others(tmp_path: Path) -> None:
    async with running(config(tmp_path, admins=[{"uid": 12345, "role": "editor"}])):
        open_to_others = [path.name for path in tmp_path.iterdir() if path.stat().st_mode & 0o044]

    assert open_to_others == []


async def test_static_tokens_let_services_join_until_they_are_taken_out(tmp_path: Path) -> None:
    auth, web = tmp_path / "auth", tmp_path / "web"
    with_token = config(auth, roles="auth,proxy", auth_service={"tokens": ["node:static-token-of-the-file"]})
    async with running(with_token) as process, administration(with_token) as client:
        pin = (await client.call(r.STATUS, m.Empty())).ca_pins[0]
        base = {"proxy_server": str(process.bound), "ca_pin": [pin], "auth_token": "static-token-of-the-file"}
        agent = config(web, roles="node", teleport=base)

        async with running(agent):
            hosts = await client.call(r.HOSTS, m.Empty())

        assert [host.hostname for host in hosts.hosts] == ["db-1"]
        owner = (await client.call(r.RESOURCES, m.ResourceQuery(kind="token"))).resources[0].source
        assert owner == "teleport.yaml"
    async with running(config(auth, roles="auth,proxy")) as process:
        base["proxy_server"] = str(process.bound)
        shutil.rmtree(web)
        error = await failure_of(config(web, roles="node", teleport=base))
        assert isinstance(error, AccessDenied)
        assert "acme does not take this host in: the join token is not valid" in error.message


async def test_a_folder_that_does_not_load_keeps_nothing_from_starting_and_is_remarked(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "dev.yaml").write_text(ROLE.replace("logins", "login"))

    async with running(config(tmp_path / "data", policies={"dir": str(policies)})) as process:
        health = process._site.health

        assert health.reasons == ()
        assert health.remarks[-1].startswith("source folder is stalled: dev.yaml:4:16: unknown field login")


async def test_a_part_that_fails_ends_the_process_with_an_error(tmp_path: Path) -> None:
    async def fails() -> None:
        raise RuntimeError("boom")

    process = unstarted(config(tmp_path))
    run = asyncio.create_task(process.run())
    async with asyncio.timeout(20):
        await process.ready.wait()

    process._site.life.background(fails(), "something")

    with pytest.raises(Unavailable, match="something ended unexpectedly"):
        await run


async def test_what_it_leaves_is_a_whole_store_that_the_next_process_can_take(tmp_path: Path) -> None:
    async with running(config(tmp_path)):
        pass

    with sqlite3.connect(tmp_path / DATABASE) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    async with running(config(tmp_path)):
        pass
