"""Reading the configuration again: what takes effect, what waits for a restart, and that a wrong one does nothing."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from teleport.api import models as m
from teleport.api import routes as r
from teleport.core.errors import BadInput
from teleport.service.config import Config
from teleport.service.process import Process
from teleport.service.reload import LIVE, changed, merged
from tests.service.support import administration, config, running


class File:
    """A configuration that can be rewritten while a process runs by it."""

    def __init__(self, data_dir: Path, **sections: Any) -> None:
        self.data_dir = data_dir
        self.now = config(data_dir, **sections)

    def rewrite(self, **sections: Any) -> None:
        self.now = config(self.data_dir, **sections)

    def read(self) -> Config:
        return self.now


async def reload(process: Process) -> None:
    process.reload()
    async with asyncio.timeout(10):
        await asyncio.gather(*process._reloading)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, "teleport.service.reload"):
        yield


def test_only_fields_that_can_change_are_merged(tmp_path: Path) -> None:
    before = config(tmp_path, teleport={"staleness_limit": "1m", "nodename": "a"})
    wanted = config(tmp_path, teleport={"staleness_limit": "2m", "nodename": "b"})

    fresh = merged(before, wanted)

    assert (fresh.teleport.staleness_limit, fresh.nodename) == (120.0, "a")
    assert list(changed(before, fresh)) == ["teleport.staleness_limit"]
    assert list(changed(fresh, wanted)) == ["teleport.nodename"]


def test_receivers_of_messages_are_taken_over(tmp_path: Path) -> None:
    before = config(tmp_path, policies={"dir": "/a"})
    wanted = config(tmp_path, policies={"dir": "/a", "notify": [{"url": "https://hooks.example.com"}]})

    fresh = merged(before, wanted)

    assert fresh.policies is not None
    assert [one.url for one in fresh.policies.notify] == ["https://hooks.example.com"]


def test_guards_and_people_are_merged_beside_the_sources(tmp_path: Path) -> None:
    before = config(tmp_path, policies={"dir": "/a", "guards": {"max_people": 5}})
    wanted = config(tmp_path, policies={"dir": "/b", "guards": {"max_people": 1}, "people": {"ann@x": "ann"}})

    fresh = merged(before, wanted)

    assert fresh.policies is not None
    assert (fresh.policies.guards.max_people, fresh.policies.people) == (1, {"ann@x": "ann"})
    assert list(changed(fresh, wanted)) == ["policies.dir"]


def test_the_table_of_what_can_change_names_fields_that_exist() -> None:
    sections = {"policies": "Policies"}
    for name, fields in LIVE.items():
        model = Config.model_fields[name]
        section = type(Config().teleport) if name == "teleport" else model.annotation
        known = getattr(section, "model_fields", None) or section.__args__[0].model_fields  # type: ignore[union-attr]
        assert {field.partition(".")[0] for field in fields} <= set(known), sections.get(name, name)


async def test_labels_limits_and_admins_take_effect(tmp_path: Path) -> None:
    file = File(tmp_path, ssh_service={"labels": {"env": "dev"}})
    async with running(file.now, reread=file.read) as process, administration(file.now) as client:
        file.rewrite(
            ssh_service={"labels": {"env": "prod"}, "commands": [{"name": "who", "command": ["echo", "me"]}]},
            teleport={"staleness_limit": "5m"}, admins=[{"uid": 12345, "role": "editor"}],
        )  # fmt: skip

        await reload(process)

        assert {member.gate.staleness for member in process._site.members} == {300.0}
        assert (tmp_path / "run/admin.sock").stat().st_mode & 0o777 == 0o666
        async with asyncio.timeout(10):
            while (await client.call(r.HOSTS, m.Empty())).hosts[0].labels != {"env": "prod", "who": "me"}:
                await asyncio.sleep(0.02)


async def test_settings_of_the_cluster_and_static_tokens_take_effect(tmp_path: Path) -> None:
    file = File(tmp_path, auth_service={"tokens": ["node:first-secret-of-them"]})
    async with running(file.now, reread=file.read) as process:
        file.rewrite(auth_service={"tokens": ["node:other-secret-of-them"], "client_idle_timeout": "7m"})

        await reload(process)

        assert process._site.auth is not None
        auth = process._site.auth.auth
        assert auth.policy.current.network.client_idle_timeout == 420.0
        owned = await auth.writer.owned_by("teleport.yaml")
        assert ("token", "other-secret-of-them") in owned
        assert ("token", "first-secret-of-them") not in owned


async def test_what_takes_a_restart_is_named_and_stays_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = File(tmp_path)
    async with running(file.now, reread=file.read) as process:
        file.rewrite(teleport={"diag_addr": "127.0.0.1:0"}, proxy_service={"public_addr": ["a:1"]}, demo=False)

        await reload(process)

        assert process.diagnostics is None
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "teleport.diag_addr has changed, which takes a restart",
        "proxy_service.public_addr has changed, which takes a restart",
        "demo has changed, which takes a restart",
    ]


async def test_nothing_of_a_configuration_takes_effect_if_a_part_of_it_cannot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = File(tmp_path)
    pair = {"key_file": str(tmp_path / "no.key"), "cert_file": str(tmp_path / "no.pem")}
    async with running(file.now, reread=file.read) as process:
        file.rewrite(teleport={"staleness_limit": "5m"}, proxy_service={"https_keypairs": [pair]})

        await reload(process)

        assert {member.gate.staleness for member in process._site.members} == {60.0}
        assert process._site.config.teleport.staleness_limit == 60.0
    assert "the configuration is not taken: proxy_service.https_keypairs:" in caplog.text
    assert "nothing was changed" in caplog.text


async def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def unreadable() -> Config:
        raise BadInput("t.yaml:1:1: wrong", hint="mend it")

    async with running(config(tmp_path), reread=unreadable) as process:
        await reload(process)

        assert process.ready.is_set()
    assert "the configuration is not taken: t.yaml:1:1: wrong" in caplog.text
    assert "nothing was changed; mend it" in caplog.text
