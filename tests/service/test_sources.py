"""Several sources in one process: each reconciled, each below its ceiling, references resolved over all of them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from teleport.api import models as m
from teleport.service.config import Config
from teleport.service.process import Process
from tests.service.support import config, running

ROLE = """\
kind: role
version: v7
metadata: {name: NAME}
spec: {options: {port_forwarding: no}, allow: {logins: [LOGIN], node_labels: {team: b}}}
"""
CEILING: dict[str, Any] = {
    "owns": {"role": ["b-*"], "user": ["*"]}, "logins": ["app"], "node_labels": {"team": "b"}, "assign_roles": ["dev"],
}  # fmt: skip


def role(name: str, login: str = "app") -> str:
    return ROLE.replace("NAME", name).replace("LOGIN", login)


def user(name: str, roles: str) -> str:
    return f"kind: user\nversion: v2\nmetadata: {{name: {name}}}\nspec: {{roles: [{roles}]}}\n"


class Folders:
    """Two folders, and a configuration that names them, in this order or the other."""

    def __init__(self, root: Path) -> None:
        self.root, self.ceiling = root, CEILING
        for name in ("ops", "team-b"):
            (root / name).mkdir()

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def config(self, *, interval: str = "30s") -> Config:
        sources = [
            {"name": "ops", "dir": str(self.root / "ops")},
            {"name": "team-b", "dir": str(self.root / "team-b"), "ceiling": self.ceiling, "interval": interval},
        ]
        return config(self.root / "data", policies={"sources": sources})


def states(process: Process) -> dict[str, m.SourceStatus]:
    auth = process._site.auth
    assert auth is not None
    return dict(auth.auth.surroundings.sources)


async def until(process: Process, source: str, state: str) -> m.SourceStatus:
    async with asyncio.timeout(10):
        while states(process)[source].state != state:
            await asyncio.sleep(0.02)
    return states(process)[source]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path)
    made.write("ops/dev.yaml", role("dev"))
    made.write("team-b/b.yaml", role("b-dev") + "---\n" + user("ann", "b-dev, dev"))
    return made


async def test_a_source_that_names_what_another_declares_is_ready_soon_though_it_was_read_first(
    folders: Folders,
) -> None:
    (folders.root / "ops/dev.yaml").unlink()
    async with running(folders.config(interval="1h")) as process:
        before = await until(process, "team-b", "Stalled")
        folders.write("ops/dev.yaml", role("dev"))

        after = await until(process, "team-b", "Ready")

        assert "unknown role dev" in before.message
        assert after.objects == 2


async def test_of_two_new_sources_that_declare_one_object_the_first_that_is_named_owns_it(folders: Folders) -> None:
    folders.write("ops/both.yaml", user("bob", "dev"))
    folders.write("team-b/both.yaml", user("bob", "b-dev"))

    async with running(folders.config()) as process:
        stalled = await until(process, "team-b", "Stalled")

        assert "both.yaml:3:18: user/bob belongs to the source ops" in stalled.message
        assert states(process)["ops"].state == "Ready"


async def test_a_lowered_ceiling_holds_as_soon_as_the_file_is_read_again(folders: Folders) -> None:
    now = [folders.config(interval="1h")]
    async with running(now[0], reread=lambda: now[0]) as process:
        await until(process, "team-b", "Ready")
        folders.ceiling = {**CEILING, "logins": ["web"]}
        now[0] = folders.config(interval="1h")

        process.reload()
        stalled = await until(process, "team-b", "Stalled")

        assert "role/b-dev allows the login app, beyond what its source may give" in stalled.message
        assert stalled.ceiling is not None
        assert stalled.ceiling["logins"] == ("web",)


async def test_a_folder_that_is_named_anew_takes_a_restart(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    now = [folders.config()]
    async with running(now[0], reread=lambda: now[0]) as process:
        now[0] = config(folders.root / "data", policies={"dir": str(folders.root / "ops"), "name": "ops"})

        process.reload()
        async with asyncio.timeout(10):
            await asyncio.gather(*process._reloading)

        assert process._site.config.policies == folders.config().policies
    assert "policies.sources has changed, which takes a restart" in caplog.text
