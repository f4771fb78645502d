"""A plan against a running cluster warns of what connected services could not read, by their names."""

import asyncio
import json
from pathlib import Path

from teleport.api import models as m
from teleport.core.identity import Identity
from teleport.resources.reading import own_reads
from teleport.service.process import Process
from tests.cli.programs import tctl
from tests.gitops.repositories import role
from tests.service.support import config, running

OLD_HOST = Identity("host", "db-9", "5a3c9d6e-0000-4000-8000-000000000009", "acme", system_roles=("Node",))


async def connected(process: Process, reads: m.ReadsFormat | None, *, name: str) -> None:
    """A service that has just told of itself."""
    site = process._site
    assert site.auth is not None
    beat = m.Heartbeat(revision=1, version="0.0.9", hostname=name, ttl=60, labels={}, reads=reads)
    await site.auth.auth.presence.beat(OLD_HOST, beat)


async def test_a_plan_warns_by_name_of_a_service_too_old_to_read_a_version_or_a_field(tmp_path: Path) -> None:
    policies, new, own = tmp_path / "policies", tmp_path / "new", own_reads()
    for folder, version in ((policies, "v7"), (new, "v8")):
        folder.mkdir()
        (folder / "dev.yaml").write_text(role("dev").replace("v7", version))
    (new / "strict.yaml").write_text(role("strict").replace("spec: {", "spec: {options: {pin_source_ip: yes}, "))
    older = m.ReadsFormat(
        versions={**own.versions, "role": ("v6", "v7")}, fields=tuple(own.fields - {"role.spec.options.pin_source_ip"})
    )

    sections = {"auth_service": {"listen_addr": "127.0.0.1:0"}, "policies": {"dir": str(policies)}}
    async with running(config(tmp_path / "data", roles="auth", **sections)) as process:
        await connected(process, older, name="db-9")
        arguments = ("--data-dir", str(tmp_path / "data"), "policy", "plan", str(new))
        text = await asyncio.to_thread(tctl, *arguments)
        found = json.loads((await asyncio.to_thread(tctl, *arguments, "-o", "json")).output)
        await connected(process, None, name="db-9")
        silent = await asyncio.to_thread(tctl, *arguments)

    told = {one["message"]: one["new"] for one in found["warnings"] if "cannot read" in one["message"]}
    assert (text.status, text.errors) == (2, "")
    assert told == {
        "the service on db-9 (version 0.0.9) cannot read role v8, which role/dev would use, and would deny by it": True,
        "the service on db-9 (version 0.0.9) cannot read role.spec.options.pin_source_ip, which role/strict would use, "
        "and would deny by it": True,
    }
    assert "dev.yaml:1:1: the service on db-9 (version 0.0.9) cannot read role v8" in " ".join(text.output.split())
    assert "Note: the service on db-9 (version 0.0.9) has not said what it reads" in silent.output
