"""A cluster whose clock jumps by a day, forward and back: who stays, who gets in, and what is written down of it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from teleport.api import models as m
from teleport.api import routes as r
from tests.e2e.world import LOGIN, missing, user
from tests.faults.crowd import Refusal, Seat, opened
from tests.faults.spread import Badge, Spread

DAY = 86400
ROLE = f"""\
kind: role
version: v7
metadata: {{name: dev}}
spec:
  options: {{disconnect_expired_cert: yes, max_session_ttl: 100h}}
  allow: {{logins: [{LOGIN}], node_labels: {{"*": "*"}}}}
"""
GUEST = ROLE.replace("name: dev", "name: guest").replace('"*": "*"', "nothing: has-this")


@dataclass
class Clocked:
    """A cluster that sees the time of day through a file."""

    spread: Spread
    offset: Path

    def set_clock(self, seconds: int) -> None:
        """To so many seconds after the true time; processes look once a second."""
        self.offset.write_text(f"{seconds:+d}\n")

    def declare(self, **roles: str) -> None:
        self.spread.publish(
            {"dev.yaml": ROLE, "guest.yaml": GUEST}
            | {f"{name}.yaml": user(name, roles=role) for name, role in roles.items()}
        )

    async def seat(self, badge: Badge) -> Seat:
        return await opened(self.spread, badge, LOGIN, "web-1")

    def cpu(self) -> float:
        """Seconds that the processes have computed."""
        ticks = 0
        for kept in self.spread.processes.values():
            assert kept.service.process is not None
            fields = Path(f"/proc/{kept.service.process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@pytest.fixture
async def clocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clocked]:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None or missing("ssh"):
        pytest.skip("not installed: libfaketime")
    clocked = Clocked(Spread(tmp_path, ["web-1"]), tmp_path / "offset")
    clocked.set_clock(0)
    clocked.declare(ann="dev", bob="dev")
    for name, value in {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clocked.offset), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    await asyncio.to_thread(clocked.spread.start)
    yield clocked
    for kept in clocked.spread.processes.values():
        kept.kill()


async def until(holds: Callable[[], object], *, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.05)


async def test_a_day_forward_ends_what_has_expired_and_nothing_else_and_a_day_back_ends_nothing(
    clocked: Clocked,
) -> None:
    ann, bob = await clocked.spread.badge("ann", hours=2), await clocked.spread.badge("bob", hours=72)
    short, long = await clocked.seat(ann), await clocked.seat(bob)

    clocked.set_clock(DAY)

    await until(lambda: not short.lives)
    await until(lambda: any(one["user"] == "ann" for one in clocked.spread.events("session.end")))
    (end,) = [one for one in clocked.spread.events("session.end") if one["user"] == "ann"]
    ways = ("the certificate expired at ", "the client disconnected")  # to the host the proxy's cut looks like that
    assert end["reason"].startswith(ways)
    await _refused(clocked, ann)
    tomorrow = await clocked.seat(bob)
    heard, before = len(long.heard), clocked.cpu()
    await asyncio.sleep(2)
    assert clocked.cpu() - before < 1.5, "somebody spins"
    assert len(long.heard) > heard

    clocked.declare(ann="dev", bob="guest")

    await until(lambda: not long.lives and not tomorrow.lives)
    clocked.declare(ann="dev", bob="dev")
    await until(lambda: len(clocked.spread.events("policy.applied")) == 3)
    settled = await _once_in(clocked, bob)

    clocked.set_clock(-DAY)

    await _refused(clocked, bob)  # the certificate begins a day from now
    yesterday = await _once_in(clocked, "bob")
    heard = len(settled.heard)
    await until(lambda: len(settled.heard) > heard)
    async with clocked.spread.admin() as client:
        assert (await client.call(r.VERIFY, m.AuditCheck())).faults == ()
    for seat in (settled, yesterday):
        await seat.leave()


async def _once_in(clocked: Clocked, who: Badge | str) -> Seat:
    """A session as soon as there may be one, with a badge or, for a name, with one that has just been made."""
    async with asyncio.timeout(20):
        while True:
            badge = await clocked.spread.badge(who, hours=2) if isinstance(who, str) else who
            try:
                return await clocked.seat(badge)
            except Refusal:
                await asyncio.sleep(0.1)


async def _refused(clocked: Clocked, badge: Badge) -> None:
    """Return when nobody is let in any more with a badge."""
    async with asyncio.timeout(20):
        while True:
            try:
                await (await clocked.seat(badge)).leave()
            except Refusal:
                return
