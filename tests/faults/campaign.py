"""Kills processes of a cluster at random moments, under load, and holds what is then true against a model.

The load: sessions that talk, an edit of the whole policy each second (of many files, in one step), acknowledged
writes at the API, and newcomers. The model: who is in force, who was when, and what was killed. After every round:

- nobody whose right never went away was refused by anyone who decides, or lost a session that nothing was killed under;
- nobody lives on whose right is gone, nor a program of a session that is over;
- what was acknowledged is in the audit log, once; every session has its start, its end, and a recording up to what had
  been written before the kill;
- the store holds exactly one edit of the policy, never a part of one.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from teleport.api import models as m
from teleport.api import routes as r
from teleport.core.errors import TeleportError
from tests.e2e.world import LOGIN, make_login, remove_login
from tests.faults.crowd import Refusal, Seat, opened
from tests.faults.ledger import Ledger
from tests.faults.spread import Badge, Kept, Spread

__all__ = ["Campaign", "Report", "main"]

USERS = 10
STEADY = 3
"""Of them, those whose right is never withdrawn."""
HOSTS = ("web-1", "web-2")
SETTLED = 15.0
"""Seconds after which everybody must have found the way back to a process that was started again: they look for one
that is often away every ten."""
APPLIED = 10.0
"""Seconds within which an edit is in force everywhere, on a machine that has a lot to do."""
PATIENCE = 90.0
"""Seconds that somebody tries to get in, among many who do, before that is a fault."""
GONE = 12.0
"""Seconds within which nothing is left of what a session ran: a grace of five, and the load."""
FLUSHED = 10.0
"""Seconds after which output is in the recording whatever happens to the agent: it is written twice a second, on a
machine that has time for it. What had been written at the moment of a kill is looked for to the byte."""
TOLD = 45.0
"""Seconds within which everything about a session is at auth: a spool that met a dead auth tries again ever later."""

ROLE = """\
kind: role
version: v7
metadata: {{name: {name}, labels: {{edit: "{edit}"}}}}
spec:
  allow: {{logins: [{login}], node_labels: {labels}}}
"""
USER = "kind: user\nversion: v2\nmetadata: {{name: {name}, labels: {{edit: '{edit}'}}}}\nspec: {{roles: [{role}]}}\n"


@dataclass
class Report:
    """What a campaign came to."""

    seed: int
    rounds: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    sessions: int = 0
    by_program: int = 0
    ended_by_policy: int = 0
    ended_by_kill: int = 0
    edits: int = 0
    acknowledged: int = 0
    attempts: int = 0
    events: int = 0
    seconds: float = 0.0
    slowest_withdrawal: float = 0.0
    slowest_return: float = 0.0
    slowest_entry: float = 0.0
    slowest_program: float = 0.0
    faults: list[str] = field(default_factory=list)

    def text(self) -> str:
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        return (
            f"{self.rounds} rounds in {self.seconds:.0f} s (seed {self.seed}); killed: {kills};"
            f" {self.sessions} sessions ({self.by_program} by ssh), {self.ended_by_policy} ended by the policy,"
            f" {self.ended_by_kill} by a kill; {self.edits} edits, {self.acknowledged} acknowledged writes,"
            f" {self.attempts} newcomers, {self.events} events; slowest: withdrawal {self.slowest_withdrawal:.1f} s,"
            f" return of a process {self.slowest_return:.1f} s, entry {self.slowest_entry:.1f} s,"
            f" end of what an agent ran {self.slowest_program:.1f} s;"
            f" {len(self.faults)} faults"
        )


@dataclass
class Campaign:
    """One cluster, its crowd, and the model."""

    root: Path
    seed: int
    sessions: int = 50
    programs: int = 4
    """Of the sessions, those that ssh itself has."""
    say: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.report = Report(self.seed)
        self.spread = Spread(self.root, HOSTS)
        self.ledger = Ledger(self.spread.data)
        self.users = [f"u{number}" for number in range(USERS)]
        self.allowed = dict.fromkeys(self.users, True)
        self.changed = dict.fromkeys(self.users, 0.0)
        """When the right of each was given or taken last."""
        self.badges: dict[str, Badge] = {}
        self.seats: list[Seat] = []
        self.over: list[Seat] = []
        """Sessions whose records are still to be looked at."""
        self.acknowledged: set[tuple[str, str]] = set()
        self._sizes: dict[str, int] = {}
        self._quiet = asyncio.Event()

    # -- the load

    def publish(self) -> None:
        edit = self.spread.edit + 1
        files = {
            f"{name}.yaml": USER.format(name=name, edit=edit, role="dev" if self.allowed[name] else "guest")
            for name in self.users
        }
        files["dev.yaml"] = ROLE.format(name="dev", edit=edit, login=LOGIN, labels='{"*": "*"}')
        files["guest.yaml"] = ROLE.format(name="guest", edit=edit, login=LOGIN, labels="{nothing: has-this}")
        self.spread.publish(files)
        self.report.edits += 1

    def edit(self) -> None:
        """Take the right of one, or give it back."""
        name = self.chance.choice(self.users[STEADY:])
        if not self.allowed[name] or sum(self.allowed.values()) > USERS - 3:
            self.allowed[name] = not self.allowed[name]
            self.changed[name] = time.monotonic()
            for seat in self.seats:
                if seat.user == name and not self.allowed[name]:
                    seat.excused = seat.excused or "policy"
        self.publish()

    async def edits(self) -> None:
        while not self._quiet.is_set():
            self.edit()
            await self._pause(1.0)

    async def writes(self) -> None:
        """Create and delete roles at the API; what is acknowledged must be in the log."""
        while not self._quiet.is_set():
            name = f"noted-{self.report.acknowledged}-{self.chance.randrange(1 << 32):x}"
            body = {"kind": "role", "version": "v7", "metadata": {"name": name}, "spec": {}}
            with suppress(TeleportError, OSError):
                async with self.spread.admin() as client:
                    await client.call(r.CREATE, m.ResourceWrite(kind="role", resource=body))
                    self._acknowledge("role.created", name)
                    await client.call(r.DELETE, m.ResourceName(kind="role", name=name))
                    self._acknowledge("role.deleted", name)
            await self._pause(0.3)

    def _acknowledge(self, event: str, name: str) -> None:
        self.acknowledged.add((event, name))
        self.report.acknowledged += 1

    async def newcomers(self) -> None:
        """Somebody whose right nobody touches comes in again and again: refused only where something is dead."""
        while not self._quiet.is_set():
            user, host = self.chance.choice(self.users[:STEADY]), self.chance.choice(HOSTS)
            since = self._sound(host)
            self.report.attempts += 1
            try:
                seat = await opened(self.spread, self.badges[user], LOGIN, host)
            except Refusal as refusal:
                if refusal.final:
                    self._fault(f"{user} was refused {host}: {refusal}")
                elif since and since == self._sound(host):
                    self._fault(f"{user} did not reach {host}, with everything in place: {refusal}")
            else:
                self.report.sessions += 1
                seat.excused = "left"
                await asyncio.sleep(0.2)
                await seat.leave()
                self._is_over(seat)
            await self._pause(0.5)

    def _sound(self, host: str) -> tuple[float, ...]:
        """Since when everything between a client and a host has been in place; empty if it is not, or hardly."""
        processes = [self.spread.processes["proxy"], self.spread.processes[host]]
        since = tuple(kept.since for kept in processes)
        return since if all(time.monotonic() - at > SETTLED for at in since) else ()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._quiet.wait()

    # -- sessions

    async def fill(self) -> None:
        """Have as many sessions as there are to be, of those who may."""
        waiting: list[Coroutine[Any, Any, None]] = []
        some = asyncio.Semaphore(6)
        programs = sum(seat.program for seat in self.seats)
        for number in range(self.sessions - len(self.seats)):
            user = self.chance.choice([name for name in self.users if self.allowed[name]])
            host = HOSTS[number % len(HOSTS)]
            waiting.append(self._open(some, user, host, program=programs + number < self.programs))
        await asyncio.gather(*waiting)

    async def _open(self, some: asyncio.Semaphore, user: str, host: str, *, program: bool) -> None:
        async with some:
            began = time.monotonic()
            while True:
                try:
                    seat = await opened(self.spread, self.badges[user], LOGIN, host, program=program)
                    break
                except Refusal as refusal:
                    known = time.monotonic() - max(self.changed[user], *self._returns()) > SETTLED
                    if (refusal.final and known) or time.monotonic() - began > PATIENCE:
                        self._fault(f"{user}, who may, did not get in to {host}: {refusal}")
                        return
                    await asyncio.sleep(0.2)
        self.report.slowest_entry = max(self.report.slowest_entry, time.monotonic() - began)
        self.seats.append(seat)
        self.report.sessions += 1
        self.report.by_program += program

    def _returns(self) -> list[float]:
        """When each process was last started."""
        return [kept.since for kept in self.spread.processes.values()]

    def _is_over(self, seat: Seat) -> None:
        self.over.append(seat)

    # -- a round

    async def round(self, *victims: str) -> None:
        """One kill, of these or of chance's choice."""
        self._quiet.clear()
        await self.fill()
        load = [asyncio.create_task(work) for work in (self.edits(), self.writes(), self.newcomers())]
        await asyncio.sleep(self.chance.uniform(0.1, 2.5))
        names = self.chance.sample([*self.spread.processes], 2 if self.chance.random() < 0.15 else 1)
        await self._kill_and_start(victims or names)
        await asyncio.sleep(self.chance.uniform(0.0, 1.5))
        self._quiet.set()
        for outcome in await asyncio.gather(*load, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        await self._judge()
        self.report.rounds += 1

    async def _kill_and_start(self, names: Sequence[str]) -> None:
        for name in names:
            self._kill(self.spread.processes[name])
        if "auth" in names:
            self._is_whole("after the kill")
        await asyncio.sleep(self.chance.choice([0.0, self.chance.uniform(0.0, 2.5)]))
        began = time.monotonic()
        await asyncio.gather(*(asyncio.to_thread(self.spread.processes[name].start) for name in names))
        self.report.slowest_return = max(self.report.slowest_return, time.monotonic() - began)

    def _kill(self, kept: Kept) -> None:
        kept.kill()
        self.report.kills[kept.name] = self.report.kills.get(kept.name, 0) + 1
        for seat in self.seats:
            if kept.name in ("proxy", seat.host) and seat.lives:
                seat.excused = seat.excused or "kill"
        recordings = self.spread.root / kept.name / "data" / "spool" / "node" / "recordings"
        for path in recordings.glob("*/output"):
            self._sizes[path.parent.name] = path.stat().st_size

    async def _judge(self) -> None:
        """Once everything is back: the crowd, the store, and what was written down."""
        await self._follows(lambda: self._is_applied(), APPLIED, "the last edit is not in force")
        began = time.monotonic()
        with_right = [seat for seat in self.seats if self.allowed[seat.user]]
        without = [seat for seat in self.seats if not self.allowed[seat.user]]
        await self._follows(lambda: not any(seat.lives for seat in without), SETTLED, "")
        for seat in without:
            if seat.lives:
                self._fault(f"{seat.user} has lost the right and is still on {seat.host}")
            else:
                taken = max(0.0, seat.ended - max(self.changed[seat.user], seat.born))
                self.report.slowest_withdrawal = max(self.report.slowest_withdrawal, taken)
        for seat in with_right:
            if not seat.lives and not seat.excused:
                self._fault(f"{seat.user} lost a session on {seat.host} for no reason: {seat.why}")
        ended = [seat for seat in self.seats if not seat.lives]
        self.report.ended_by_policy += sum(seat.excused == "policy" for seat in ended)
        self.report.ended_by_kill += sum(seat.excused == "kill" for seat in ended)
        self.seats = [seat for seat in self.seats if seat.lives]
        for seat in self.seats:
            seat.excused = ""
        self.over += ended
        await self._nothing_runs(began)
        await self._refuses()
        await self._is_told()
        self._is_whole("at rest")

    def _is_applied(self) -> bool:
        return self._edits() == {str(self.spread.edit)}

    async def _nothing_runs(self, began: float) -> None:
        if not await self._follows(lambda: not any(seat.program_lives for seat in self.over), GONE, ""):
            for seat in self.over:
                if seat.program_lives:
                    self._fault(f"a program of {seat.user} still runs on {seat.host}, its session ended: {seat.why}")
        else:
            self.report.slowest_program = max(self.report.slowest_program, time.monotonic() - began)

    async def _refuses(self) -> None:
        """Who has no right gets none by coming again."""
        outside = [name for name in self.users if not self.allowed[name]]
        for host in HOSTS if outside else ():
            user = self.chance.choice(outside)
            while await self._gets_in(user, host):
                if time.monotonic() - max(self.changed[user], *self._returns()) > SETTLED:
                    self._fault(f"{user}, who may not, got in to {host}")
                    break

    async def _gets_in(self, user: str, host: str) -> bool:
        try:
            seat = await opened(self.spread, self.badges[user], LOGIN, host)
        except Refusal:
            return False
        await seat.leave()
        return True

    async def _is_told(self) -> None:
        def told() -> bool:
            self.ledger.follow()
            return all(self.ledger.told(seat) for seat in self.over) and self.acknowledged <= set(self.ledger.named)

        await self._follows(told, TOLD, "")
        for seat in self.over:
            kept = seat.ended - (1.0 if seat.excused == "policy" else FLUSHED)
            for fault in self.ledger.faults_of(seat, at_least=seat.lines_before(kept)):
                self._fault(fault)
            written, meta = self._sizes.get(seat.sid, 0), self.ledger.meta(seat)
            if meta is not None and meta["output_bytes"] < written:
                self._fault(f"recording {seat.sid} has {meta['output_bytes']} bytes; {written} were on the disk")
        for event, name in self.acknowledged:
            if self.ledger.named[event, name] != 1:
                self._fault(f"{event} {name} was acknowledged, and is {self.ledger.named[event, name]} × in the log")
        for fault in self.ledger.twice():
            self._fault(fault)
        self.over, self._sizes = [], {}
        self.acknowledged.clear()

    def _edits(self) -> set[str]:
        """The numbers of the edits that the store holds something of."""
        found = {**self.spread.stored("policy/user/"), **self.spread.stored("policy/role/")}
        bodies = [json.loads(value) for value in found.values()]
        labels = [_labels(body) for body in bodies]
        return {one["edit"] for one in labels if "edit" in one}

    def _is_whole(self, when: str) -> None:
        edits = self._edits()
        if len(edits) > 1:
            self._fault(f"the store holds parts of the edits {sorted(edits)} {when}")

    # -- all of it

    async def run(self, rounds: int, *, victims: Sequence[str] = ()) -> Report:
        """`victims` are killed in this order, and then whoever chance chooses."""
        began = time.monotonic()
        self.publish()
        try:
            await asyncio.to_thread(self.spread.start)
            for name in self.users:
                self.badges[name] = await self.spread.badge(name)
            for number in range(rounds):
                await self.round(*victims[number : number + 1])
                self.report.events, self.report.seconds = self.ledger.events, time.monotonic() - began
                self.say(f"round {number + 1}: {len(self.seats)} live on; {self.report.text()}")
            await self._leave()
            await self._verify()
        finally:
            for seat in self.seats:
                await seat.leave()
            await asyncio.to_thread(self.spread.stop)
        return self.report

    async def _leave(self) -> None:
        for seat in self.seats:
            seat.ended = time.monotonic()
            await seat.leave()
        self.over, self.seats = self.seats, []
        await self._is_told()

    async def _verify(self) -> None:
        async with self.spread.admin() as client:
            verdict = await client.call(r.VERIFY, m.AuditCheck())
        for fault in verdict.faults:
            self._fault(f"the audit log does not verify: {fault}")

    async def _follows(self, holds: Callable[[], bool], seconds: float, fault: str) -> bool:
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(holds):
            if time.monotonic() > deadline:
                if fault:
                    self._fault(fault)
                return False
            await asyncio.sleep(0.1)
        return True

    def _fault(self, text: str) -> None:
        self.say(f"FAULT: {text}")
        self.report.faults.append(text)


def _labels(body: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = body.get("resource", body).get("metadata", {}).get("labels", {})
    return found


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run a campaign; 1 if anything was not as it must be. The folder of one that fails is kept."""
    parser = argparse.ArgumentParser(description="Kills auth, proxy and agents under load, and looks at what is left.")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    chosen = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    _tell(f"seed {chosen.seed}; {root}")
    make_login()
    try:
        report = asyncio.run(Campaign(root, chosen.seed, chosen.sessions, say=_tell).run(chosen.rounds))
    finally:
        remove_login()
    _tell(report.text())
    if report.faults:
        _tell("\n".join([*report.faults, f"logs and data: {root}"]))
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
