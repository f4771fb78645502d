"""A cluster of real processes in a temporary folder, and people who use it with the real programs."""

import contextlib
import getpass
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyotp

from tests.cli import programs

BIN = Path(sys.executable).parent
LOGIN = f"tptest{os.getpid()}" if os.geteuid() == 0 else getpass.getuser()
"""The login that sessions use: as root an ordinary user made for the tests, otherwise the user who runs them."""
PASSWORD = "correct horse battery staple"
DEADLINE = 20.0

ROLE = """\
kind: role
version: v7
metadata: {name: dev}
spec:
  allow:
    logins: ["{{internal.logins}}"]
    node_labels: {"*": "*"}
    rules:
      - resources: [session]
        verbs: [list, read]
        where: contains(session.participants, user.metadata.name)
"""


def user(name: str, *, roles: str = "dev", logins: str = LOGIN) -> str:
    return (
        "kind: user\nversion: v2\n"
        f"metadata: {{name: {name}}}\nspec: {{roles: [{roles}], traits: {{logins: [{logins}]}}}}\n"
    )


def wait_until(holds: Callable[[], Any], *, timeout: float = DEADLINE, what: str = "it") -> Any:
    """Poll until something is truthy; that. Fails the test when it does not come."""
    deadline = time.monotonic() + timeout
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout} s"
        time.sleep(0.02)


@dataclass
class Finished:
    """A program that has ended."""

    status: int
    output: str
    errors: str


@dataclass
class Person:
    """Somebody with a home of their own, the client programs, and a second factor."""

    world: "World"
    name: str
    home: Path
    secret: str = ""
    last_step: int = 0

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("LANG", "TERM", "COVERAGE_PROCESS_START") if name in os.environ}
        return {
            **kept,
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin",
            "HOME": str(self.home),
            "TELEPORT_HOME": str(self.home / ".tsh"),
        }

    def run(
        self, *arguments: str, stdin: str = "", timeout: float = DEADLINE, env: Mapping[str, str] | None = None
    ) -> Finished:
        """Run a program to its end."""
        result = subprocess.run(
            arguments, input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
            env={**self.environment(), **(env or {})}, cwd=self.home, errors="replace",
        )  # fmt: skip
        return Finished(result.returncode, result.stdout, result.stderr)

    def tsh(self, *arguments: str, stdin: str = "", timeout: float = DEADLINE) -> Finished:
        return self.run("tsh", *arguments, stdin=stdin, timeout=timeout)

    def code(self) -> str:
        """A code that was not used yet; waits for the next if need be, for a code is good for a minute and a half."""
        step = max(int(time.time()) // 30, self.last_step + 1)
        while step > int(time.time()) // 30 + 1:
            time.sleep(0.2)
        self.last_step = step
        return pyotp.TOTP(self.secret).at(step * 30)

    def enrol(self) -> "Person":
        """Redeem a fresh invitation with the script interface of `tsh enrol`."""
        invitation = self.world.tctl_json("users", "invite", self.name, "-o", "json")
        program = subprocess.Popen(
            ["tsh", "enrol", "--proxy", self.world.proxy, "--token", invitation["token"], "--ca-pin",
             invitation["ca_pins"][0], "--password-stdin"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment(),
        )  # fmt: skip
        with program:
            assert program.stdin is not None
            assert program.stdout is not None
            assert program.stderr is not None
            program.stdin.write(PASSWORD + "\n")
            program.stdin.flush()
            uri = program.stdout.readline().strip()
            match = re.search(r"secret=([A-Z2-7]+)", uri)
            assert match is not None, program.stderr.read()
            self.secret = match[1]
            program.stdin.write(pyotp.TOTP(self.secret).now() + "\n")
            program.stdin.close()
            assert program.wait(DEADLINE) == 0, program.stderr.read()
        return self

    def login(self, *more: str) -> "Person":
        result = self.tsh(
            "login", "--proxy", self.world.proxy, "--user", self.name, "--password-stdin", "--mfa-code", self.code(),
            *more, stdin=PASSWORD + "\n",
        )  # fmt: skip
        assert result.status == 0, result.errors
        return self

    def ssh(self, *arguments: str, stdin: str = "", timeout: float = DEADLINE) -> Finished:
        """`tsh ssh`."""
        return self.run("tsh", "ssh", *arguments, stdin=stdin, timeout=timeout)

    @contextlib.contextmanager
    def terminal(
        self, *arguments: str, rows: int = 24, columns: int = 80, env: Mapping[str, str] | None = None
    ) -> "Iterator[Terminal]":
        """A program on a terminal of its own."""
        terminal = Terminal.start(arguments, {**self.environment(), **(env or {})}, rows, columns, self.home)
        try:
            yield terminal
        finally:
            terminal.close()


@dataclass
class Terminal:
    """A program behind a pseudo-terminal, as a person sees it."""

    pid: int
    master: int
    seen: bytes = b""
    status: int | None = None

    @classmethod
    def start(cls, arguments: Sequence[str], env: Mapping[str, str], rows: int, columns: int, cwd: Path) -> "Terminal":
        pid, master = pty.fork()
        if pid == 0:
            os.chdir(cwd)
            os.execvpe(arguments[0], list(arguments), {**env, "TERM": "xterm"})
        import fcntl
        import struct
        import termios

        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        return cls(pid, master)

    @property
    def text(self) -> str:
        return self.seen.decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, wait: float = 0.1) -> bool:
        """Take what is there; False at the end."""
        ready, _, _ = select.select([self.master], [], [], wait)
        if not ready:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            data = b""
        self.seen += data
        return bool(data)

    def expect(self, pattern: str, *, timeout: float = DEADLINE) -> re.Match[str]:
        """Wait for something on the screen; what was seen up to it is dropped."""
        deadline = time.monotonic() + timeout
        while True:
            match = re.search(pattern, self.text)
            if match is not None:
                self.seen = self.text[match.end() :].encode()
                return match
            assert time.monotonic() < deadline, f"{pattern!r} did not appear; the screen shows {self.text!r}"
            if not self.read():
                match = re.search(pattern, self.text)
                assert match is not None, f"the program ended; the screen showed {self.text!r}"

    def wait(self, *, timeout: float = DEADLINE) -> int:
        """The exit status, reading on until the program ends."""
        deadline = time.monotonic() + timeout
        while self.status is None:
            self.read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                while self.read(0.05) and select.select([self.master], [], [], 0)[0]:
                    pass
                self.status = os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, f"the program did not end; the screen shows {self.text!r}"
        return self.status

    def close(self) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            self.status = -9
        with contextlib.suppress(OSError):
            os.close(self.master)


def enrol_at(terminal: Terminal) -> pyotp.TOTP:
    """Answer what `tsh enrol` asks, to its end; the authenticator app from then on."""
    terminal.expect("New password")
    terminal.type(PASSWORD + "\n")
    terminal.expect("Once more")
    terminal.type(PASSWORD + "\n")
    app = pyotp.TOTP(terminal.expect(r"secret=([A-Z2-7]+)")[1])
    terminal.expect("Code")
    terminal.type(app.now() + "\n")
    assert terminal.wait() == 0
    terminal.close()
    return app


def log_in_at(terminal: Terminal, app: pyotp.TOTP) -> None:
    """Answer what `tsh login` asks, to its end."""
    terminal.expect("Password")
    terminal.type(PASSWORD + "\n")
    terminal.expect("Code")
    terminal.type(app.now() + "\n")
    assert terminal.wait() == 0
    terminal.close()


@dataclass
class World:
    """A running cluster: auth, proxy and agent in one process by default, governed by `policies`."""

    root: Path
    host: str = "db-1"
    cluster: str = "acme"
    process: "subprocess.Popen[str] | None" = None
    proxy: str = ""
    pin: str = ""
    arguments: tuple[str, ...] = ("--demo",)
    program: tuple[str, ...] = (str(BIN / "teleport"),)
    environment: dict[str, str] = field(default_factory=dict)
    by_folder: bool = True
    """Whether `policies` governs; otherwise what `arguments` say."""

    @property
    def policies(self) -> Path:
        return self.root / "policies"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def log(self) -> str:
        path = self.root / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def write(self, name: str, text: str) -> Path:
        """Put a file into the policy folder, as an editor does: whole."""
        path = self.policies / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(text)
        temporary.replace(path)
        return path

    def start(self, *, listen: str = "127.0.0.1:0") -> "World":
        """Start, or start again; returns when the process says it is ready."""
        self.policies.mkdir(parents=True, exist_ok=True)
        folder = ["--policies", str(self.policies)] if self.by_folder else []
        log = (self.root / "log").open("a")
        self.process = subprocess.Popen(
            [*self.program, "start", *folder, "--data-dir", str(self.data),
             "--cluster-name", self.cluster, "--nodename", self.host, "--listen", self.proxy or listen,
             *self.arguments],
            stdout=subprocess.PIPE, stderr=log, text=True,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **self.environment},
        )  # fmt: skip
        log.close()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.match(rf"ready: https://(\S+) cluster {self.cluster} ca-pin (sha256:[0-9a-f]{{64}})", line)
        assert match is not None, f"{line!r}\n{self.log}"
        self.proxy, self.pin = match[1], match[2]
        return self

    def kill(self) -> None:
        """As a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> int:
        """In an orderly way; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def tctl(self, *arguments: str, stdin: str = "") -> Finished:
        """The administrator's commands, against the real socket, but within this process: starting one takes longer
        than what it does. `Person.run` starts the program itself."""
        nobody = {"TELEPORT_HOME": str(self.root / "nobody")}
        with ThreadPoolExecutor(1) as elsewhere:  # a browser's driver keeps a loop running in this thread
            return elsewhere.submit(self._tctl, *arguments, stdin=stdin, env=nobody).result()

    def _tctl(self, *arguments: str, stdin: str, env: Mapping[str, str]) -> Finished:
        ended = programs.tctl("--data-dir", str(self.data), *arguments, stdin=stdin, env=env)
        return Finished(ended.status, ended.output, ended.errors)

    def tctl_json(self, *arguments: str) -> Any:
        result = self.tctl(*arguments)
        assert result.status == 0, result.errors
        return json.loads(result.output)

    def person(self, name: str) -> Person:
        home = self.root / "homes" / name
        home.mkdir(parents=True, exist_ok=True)
        return Person(self, name, home)

    def newcomer(self, name: str, **more: str) -> Person:
        """Somebody new, declared in the folder, who has enrolled."""
        self.write(f"users/{name}.yaml", user(name, **more))
        self.wait_event("user.create", name=name)
        return self.person(name).enrol()

    def events(self, event: str = "") -> list[dict[str, Any]]:
        """The audit log as it lies on disk."""
        found = []
        for path in sorted((self.data / "audit").glob("????-??-??.jsonl")):
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    found.append(json.loads(line))
        return [one for one in found if not event or one["event"] == event]

    def wait_event(self, event: str, *, timeout: float = DEADLINE, **fields: object) -> dict[str, Any]:
        """The newest event of a type with these fields, once it is there."""

        def newest() -> dict[str, Any] | None:
            matching = [
                one for one in self.events(event) if all(one.get(key) == value for key, value in fields.items())
            ]
            return matching[-1] if matching else None

        found: dict[str, Any] = wait_until(newest, timeout=timeout, what=f"event {event} {fields}")
        return found


def make_login() -> None:
    """Make the login of the tests if they run as root. Its shell starts without anybody's configuration."""
    if os.geteuid() == 0 and subprocess.run(["id", LOGIN], capture_output=True, check=False).returncode:
        options = [
            "--create-home",
            "--skel",
            "/nonexistent",
            "--shell",
            "/bin/bash",
            "--groups",
            "games",
            "--password",
            "*",
        ]
        subprocess.run(["useradd", *options, LOGIN], check=True, capture_output=True)


def remove_login() -> None:
    if os.geteuid() == 0:
        subprocess.run(["userdel", "--remove", LOGIN], check=False, capture_output=True)


def missing(*programs: str) -> str:
    """Why a test must be skipped, or nothing."""
    absent = [name for name in programs if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") is None]
    return f"not installed: {', '.join(absent)}" if absent else ""
