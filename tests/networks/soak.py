"""Cuts links, kills and starts again what two organisations run, and takes rights away, under sessions that live on.

The model: a session ends when a process that carries it is killed, or when its user's right is taken, and for no other
reason. After each round:

- who had a right and lost nothing on the way still has the session, and it answers;
- nobody has a session whose right is gone, not even in part: neither the client nor the program on the host;
- everybody who may is back in.
"""

import contextlib
import os
import random
import select
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.e2e.services import join_token
from tests.e2e.world import LOGIN, Person, user, wait_until
from tests.faults.spread import started
from tests.networks.edge import PORT, Edge, LabWorld
from tests.networks.lab import CLUSTER_4, Link, Machine
from tests.networks.organisations import (
    LEAF,
    REMOTE,
    ROOT,
    ROOT_4,
    SUPPORT,
    VISITOR,
    Inhabitant,
    Neighbours,
    give_token,
    trusted,
)  # fmt: skip

GONE: Final = 15.0
"""Seconds after which nothing is left of a session that had to end: a grace of five, and a machine with much to do."""
ANSWERED: Final = 30.0
BACK: Final = 60.0
AUTH_PORT: Final = 3025
PROGRAM: Final = "echo $$; cat; exec sleep 1000"
"""Echoes what it is sent, and goes on when nobody is there any more: somebody has to end it."""
MAPS: Final = "{remote: support, local: [visitor]}, {remote: guest, local: [guest]}"


@dataclass
class Side:
    """The processes of one organisation, and what governs it."""

    world: LabWorld
    address: str
    processes: dict[str, Edge] = field(default_factory=dict)

    def start(self, name: str, *arguments: str, machine: Machine | None = None) -> Edge:
        where = self.world.root if name == "auth" else self.world.root / name
        self.processes[name] = Edge(where, arguments, machine=machine or self.world.machine)
        self.processes[name].start()
        return self.processes[name]

    def start_core(self) -> None:
        """Auth and proxy."""
        self.world.policies.mkdir(parents=True, exist_ok=True)
        auth = self.start(
            "auth", "--roles", "auth", "--cluster-name", self.world.cluster, "--nodename", "auth",
            "--policies", str(self.world.policies), "--listen", f"127.0.0.1:{AUTH_PORT}",
        )  # fmt: skip
        self.world.pin = auth.pin
        self.world.proxy = self.start(
            "proxy", "--roles", "proxy", "--nodename", "gate", "--auth-server", auth.address, *self.credentials(),
            "--listen", f"{self.address}:{PORT}",
        ).address  # fmt: skip

    def credentials(self) -> tuple[str, ...]:
        return ("--ca-pin", self.world.pin, "--token", join_token(self.world.data, "proxy", "node"))

    def start_agent(self, name: str, machine: Machine) -> None:
        told = ("--roles", "node", "--nodename", name, "--proxy-server", self.world.proxy, *self.credentials())
        self.start(name, *told, machine=machine)

    def programmed(self, name: str) -> Person:
        """Somebody with a login that no second factor was needed for."""
        person, exported = self.world.person(name), self.world.root / f"{name}.identity"
        made = self.world.tctl("auth", "sign", "--user", name, "--out", str(exported), "--ttl", "4h")
        assert made.status == 0, made.errors
        home = Inhabitant(self.world, name, person.home)
        entered = home.tsh("login", "--identity", str(exported), "--proxy", self.world.proxy)
        assert entered.status == 0, entered.errors
        return home


@dataclass
class Seat:
    """Where somebody is to have a session, and what it passes through."""

    name: str
    person: Person
    host: str
    through: frozenset[str]
    fickle: bool = False
    """Whether its user's right is taken now and then."""
    program: "subprocess.Popen[bytes] | None" = None
    pid: int = 0
    began: str = ""
    said: int = 0

    def open(self) -> bool:
        """Whether there is a session now."""
        assert isinstance(self.person.world, LabWorld)
        self.program = subprocess.Popen(
            [*self.person.world.machine.prefix, "ssh", "-F", "ssh_config", "-o", "BatchMode=yes",
             f"{LOGIN}@{self.host}", PROGRAM],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=self.person.home,
            env=self.person.environment(), bufsize=0,
        )  # fmt: skip
        line = self._line(BACK)
        if not line.strip().isdigit():
            self.close()
            return False
        self.pid, self.began = int(line), started(int(line))
        return True

    def answers(self) -> bool:
        """Whether what is typed comes back."""
        assert self.program is not None
        assert self.program.stdin is not None
        self.said += 1
        try:
            self.program.stdin.write(b"%d\n" % self.said)
        except OSError:
            return False
        return self._line(ANSWERED) == b"%d\n" % self.said

    def is_gone(self) -> bool:
        """Whether nothing is left of it, here and there."""
        assert self.program is not None
        return self.program.poll() is not None and (not self.began or started(self.pid) != self.began)

    def close(self) -> None:
        if self.program is not None:
            self.program.kill()
            self.program.communicate()
            self.program = None

    def _line(self, seconds: float) -> bytes:
        assert self.program is not None
        assert self.program.stdout is not None
        found, deadline = b"", time.monotonic() + seconds
        while not found.endswith(b"\n") and (left := deadline - time.monotonic()) > 0:
            if select.select([self.program.stdout], [], [], left)[0]:
                data = os.read(self.program.stdout.fileno(), 100)
                if not data:
                    break
                found += data
        return found


@dataclass(frozen=True)
class Trouble:
    """Something that is done to the network or to a process, and undone; `kills` is what goes through it."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    kills: str = ""


@dataclass(frozen=True)
class Withdrawal:
    """A way to take the fickle user's right, and to give it back."""

    name: str
    take: Callable[[], object]
    give: Callable[[], object]


@dataclass
class Soak:
    """Both organisations, the sessions, and what was found."""

    root: Side
    leaf: Side
    machines: Neighbours
    seats: list[Seat] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    rounds: int = 0
    sessions: int = 0
    slowest: float = 0.0
    """Seconds until nothing was left of a session that had to end."""

    def text(self) -> str:
        what = ", ".join(f"{name} {count}" for name, count in sorted(self.done.items()))
        return (
            f"{self.rounds} rounds, {self.sessions} sessions; {what}; slowest end {self.slowest:.1f} s;"
            f" {len(self.faults)} faults"
        )

    def round(self, trouble: Trouble, withdrawal: Withdrawal | None, *, hold: float) -> None:
        self.rounds += 1
        self.done.update([trouble.name, *([withdrawal.name] if withdrawal else [])])
        trouble.begin()
        if withdrawal is not None:
            withdrawal.take()
        time.sleep(hold)
        trouble.end()
        what = f"{trouble.name}{f' and {withdrawal.name}' if withdrawal else ''}"
        self._judge(what, lambda seat: trouble.kills in seat.through or (seat.fickle and withdrawal is not None))
        if withdrawal is not None:
            withdrawal.give()
        self.fill(what)

    def _judge(self, what: str, must_end: Callable[[Seat], bool]) -> None:
        began = time.monotonic()
        for seat in self.seats:
            if seat.program is not None and not must_end(seat) and not seat.answers():
                self.faults.append(f"round {self.rounds}, {what}: {seat.name} lost a session that should live")
                seat.close()
        for seat in (one for one in self.seats if one.program is not None and must_end(one)):
            with contextlib.suppress(AssertionError):
                wait_until(seat.is_gone, timeout=max(1.0, began + GONE - time.monotonic()))
            if not seat.is_gone():
                self.faults.append(f"round {self.rounds}, {what}: {seat.name} kept a session that should not live")
            self.slowest = max(self.slowest, time.monotonic() - began)
            seat.close()

    def fill(self, after: str = "the start") -> None:
        """Have everybody back in who may."""

        def come(seat: Seat) -> bool:
            deadline = time.monotonic() + BACK
            while not (opened := seat.open()) and time.monotonic() < deadline:
                time.sleep(0.3)
            return opened

        absent = [seat for seat in self.seats if seat.program is None]
        with ThreadPoolExecutor(max(1, len(absent))) as pool:
            for seat, back in zip(absent, pool.map(come, absent), strict=True):
                self.sessions += back
                if not back:
                    self.faults.append(f"round {self.rounds}, {after}: {seat.name} did not get back in")

    def troubles(self) -> dict[str, Trouble]:
        links = {"peer": self.machines.peer, "wan": self.machines.leaf.wan, "lan": self.machines.leaf.lan}
        found = [Trouble("nothing", lambda: None, lambda: None, kills="nothing")]
        found += [cut(f"cut of {name}", link) for name, link in links.items()]
        for side, prefix in ((self.root, "root"), (self.leaf, "leaf")):
            found += [killed(f"{prefix} {name}", process) for name, process in side.processes.items()]
        return {one.name: one for one in found}

    def withdrawals(self) -> dict[str, Withdrawal]:
        root, leaf = self.root.world, self.leaf.world
        lock = (
            "kind: lock\nversion: v2\nmetadata: {name: out}\n"
            f"spec: {{target: {{user: remote-cleo-{ROOT}}}, message: out}}\n"
        )
        guest = guest_role(cluster_labels='{partner: "yes"}')
        found = [
            Withdrawal(
                "an edit of the role map",
                lambda: leaf.write("trust.yaml", trusted(root, leaf)),
                lambda: leaf.write("trust.yaml", trusted(root, leaf, maps=MAPS)),
            ),
            Withdrawal(
                "a lock at the leaf", lambda: leaf.write("lock.yaml", lock), (leaf.policies / "lock.yaml").unlink
            ),
            Withdrawal(
                "an edit of the root's role",
                lambda: root.write("guest.yaml", guest.replace('"yes"', '"no"')),
                lambda: root.write("guest.yaml", guest),
            ),
            Withdrawal(
                "a user deleted at the root",
                (root.policies / "cleo.yaml").unlink,
                self._anew,
            ),
        ]
        return {one.name: one for one in found}

    def _anew(self) -> None:
        """Another cleo, for whom the certificates of the one before are good for nothing."""
        made = len(self.root.world.events("user.create"))
        self.root.world.write("cleo.yaml", user("cleo", roles="guest"))
        wait_until(lambda: len(self.root.world.events("user.create")) > made, what="another cleo")
        (self.root.world.root / "cleo.identity").unlink()
        self.root.programmed("cleo")

    def run(self, seconds: float, seed: int) -> None:
        """Rounds at random for so long."""
        chance, deadline = random.Random(seed), time.monotonic() + seconds
        troubles, withdrawals = list(self.troubles().values()), list(self.withdrawals().values())
        while time.monotonic() < deadline:
            withdrawal = chance.choice(withdrawals) if chance.random() < 0.5 else None
            self.round(chance.choice(troubles), withdrawal, hold=chance.uniform(0.2, 4.0))


def cut(name: str, link: Link) -> Trouble:
    def switch(*, off: bool) -> None:
        link.cut = off

    return Trouble(name, lambda: switch(off=True), lambda: switch(off=False), kills="no process")


def killed(name: str, process: Edge) -> Trouble:
    return Trouble(f"kill of {name}", process.kill, process.start, kills=name)


def guest_role(**more: str) -> str:
    allow = {"logins": f"[{LOGIN}]", "node_labels": '{"*": "*"}', **more}
    written = ", ".join(f"{key}: {value}" for key, value in allow.items())
    return f"kind: role\nversion: v7\nmetadata: {{name: guest}}\nspec: {{allow: {{{written}}}}}\n"


@contextlib.contextmanager
def soaking(folder: Path, machines: Neighbours) -> Iterator[Soak]:
    """Both, with everybody in."""
    root = Side(LabWorld(folder / "root", cluster=ROOT, machine=machines.partner), ROOT_4)
    leaf = Side(LabWorld(folder / "leaf", cluster=LEAF, machine=machines.leaf.cluster), CLUSTER_4)
    soak = Soak(root, leaf, machines)
    _govern(soak)
    try:
        with ThreadPoolExecutor(2) as both:
            list(both.map(Side.start_core, (root, leaf)))
        _trust(soak)
        with ThreadPoolExecutor(2) as both:
            agents = [both.submit(root.start_agent, "web-1", machines.partner),
                      both.submit(leaf.start_agent, "edge-1", machines.leaf.edge)]  # fmt: skip
            for agent in agents:
                agent.result()
        soak.seats = _seats(soak)
        soak.fill()
        yield soak
    finally:
        for seat in soak.seats:
            seat.close()
        for side in (root, leaf):
            for process in reversed(side.processes.values()):
                process.kill()


def _govern(soak: Soak) -> None:
    root, leaf = soak.root.world, soak.leaf.world
    root.write("support.yaml", SUPPORT)
    root.write("remote.yaml", REMOTE)
    root.write("guest.yaml", guest_role(cluster_labels='{partner: "yes"}'))
    root.write("ann.yaml", user("ann", roles="support"))
    root.write("cleo.yaml", user("cleo", roles="guest"))
    leaf.write("visitor.yaml", VISITOR)
    leaf.write("guest.yaml", guest_role())
    leaf.write("bob.yaml", user("bob", roles="visitor"))


def _trust(soak: Soak) -> None:
    root, leaf = soak.root.world, soak.leaf.world
    give_token(root, leaf)
    leaf.write("trust.yaml", trusted(root, leaf, maps=MAPS))
    leaf.wait_event("trusted_cluster.join", success=True)


def _seats(soak: Soak) -> list[Seat]:
    """Ann at home and abroad, cleo abroad as long as she may, bob in his own organisation."""
    ann, cleo, bob = soak.root.programmed("ann"), soak.root.programmed("cleo"), soak.leaf.programmed("bob")
    wait_until(lambda: "online" in ann.tsh("clusters").output, what="the tunnel")
    for person in (ann, cleo):
        config = person.tsh("config").output + person.tsh("config", "--cluster", LEAF).output
        (person.home / "ssh_config").write_text(config)
    (bob.home / "ssh_config").write_text(bob.tsh("config").output)
    way = frozenset({"root proxy", "leaf proxy", "leaf edge-1"})
    abroad = f"edge-1.{LEAF}"
    return [
        Seat("ann at home", ann, "web-1", frozenset({"root proxy", "root web-1"})),
        Seat("ann abroad", ann, abroad, way),
        Seat("cleo abroad", cleo, abroad, way, fickle=True),
        Seat("bob on the device", bob, "edge-1", frozenset({"leaf proxy", "leaf edge-1"})),
    ]
