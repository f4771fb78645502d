"""Spends a number of inputs on a target, or of examples on the property tests, and counts what was really spent."""

import asyncio
import importlib.util
import re
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.examples import SAID
from tests.fuzz.target import Target, mutations

__all__ = ["API", "FINDINGS", "SSH", "Spent", "on_api", "on_properties", "on_ssh", "on_target", "table"]

FINDINGS: Final = Path(".fuzz")
"""Where inputs are left with which something did not hold."""
SSH: Final = (
    "a host's SSH server, before the keys, before the login and after it",
    "it goes on, others are served, nothing is logged as an error; memory, descriptors and children stay",
)
API: Final = (
    "every operation of the API's own document, by nobody, a user, a host and an administrator",
    "no 5xx, the documented form and status, nothing for whom it is not for",
)
"""What is tried, and what is asserted."""
_EXECUTED: Final = re.compile(r"stat::number_of_executed_units: (\d+)")
_SECONDS: Final = 5
_MEGABYTES: Final = 1024
"""What one input may take."""


@dataclass(frozen=True)
class Spent:
    """A line of the table."""

    target: str
    tool: str
    executions: int
    holds: str
    failed: str = ""
    """What to look at, where something did not hold."""


def table(rows: list[Spent]) -> str:
    """As it is published, and what failed beneath it."""
    lines = ["| target | tool | executions | asserted of each |", "|---|---|---:|---|"]
    lines += [f"| {row.target} | {row.tool} | {row.executions:,} | {row.holds} |" for row in rows]
    lines += [f"\nFAILED: {row.target}: {row.failed}" for row in rows if row.failed]
    return "\n".join(lines)


def on_target(target: Target, runs: int) -> Spent:
    """Try a target so many times: guided by coverage where atheris is installed, blindly elsewhere."""
    if importlib.util.find_spec("atheris") is None:
        return _blindly(target, runs)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        return _guided(target, runs, Path(folder))


def _guided(target: Target, runs: int, folder: Path) -> Spent:
    corpus, words = folder / "corpus", folder / "words"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(seed)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    FINDINGS.mkdir(exist_ok=True)
    found = FINDINGS.resolve() / f"{target.name.replace(' ', '-')}-"
    options = (
        f"-runs={runs}", f"-max_len={target.longest}", f"-dict={words}", f"-timeout={_SECONDS}",
        f"-rss_limit_mb={_MEGABYTES}", f"-artifact_prefix={found}", "-print_final_stats=1", "-verbosity=0",
    )  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", target.name, *options, str(corpus)],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    counted = _EXECUTED.search(ended.stderr)
    failed = "" if ended.returncode == 0 and counted else f"see {found}*\n{ended.stdout[-4000:]}{ended.stderr[-4000:]}"
    return Spent(target.about, "atheris", int(counted[1]) if counted else 0, target.holds, failed)


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _blindly(target: Target, runs: int) -> Spent:
    for count, data in enumerate(mutations(target, runs, seed=0)):
        try:
            target.check(data)
        except Exception as error:
            return Spent(target.about, "mutation", count, target.holds, f"{error!r} of {data!r}")
    return Spent(target.about, "mutation", runs, target.holds)


def on_properties(profile: str, *only: str) -> Spent:
    """Every property test of the suite, or those of some files."""
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "tests.fuzz.examples", "-m", "hypothesis",
        "--hypothesis-profile", profile, *(only or ["tests"]),
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    said = SAID.search(ended.stdout)
    tests, examples = said.groups() if said else ("0", "0")
    return Spent(
        f"{tests} property tests, of all packages", "hypothesis", int(examples), "what each test's name says",
        "" if ended.returncode == 0 and said else ended.stdout[-8000:],
    )  # fmt: skip


def on_ssh(rounds: int, *, seed: int = 0) -> Spent:
    """Rounds of three connections against a server in this process; packets are counted."""
    from tests.fuzz.ssh import campaign

    async def spend(folder: Path) -> int:
        async with campaign(folder, seed=seed) as running:
            for _ in range(rounds):
                await running.round()
        return running.packets

    packets, failed = 0, ""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        try:
            packets = asyncio.run(spend(Path(folder)))
        except Exception:
            failed = traceback.format_exc()
    return Spent(SSH[0], "own packets over asyncssh", packets, SSH[1], failed)


def on_api(examples: int) -> Spent:
    """So many requests of every operation by every caller, and as many that break its rules."""
    from teleport.api.routes import ROUTES
    from tests.fuzz.api import CALLERS, ask_everything

    count, failures = 0, []
    for caller in CALLERS:
        for route in ROUTES:
            with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
                try:
                    count += ask_everything(Path(folder), caller, examples=examples, routes=[route]).requests
                except Exception as error:
                    failures.append(f"{route.name} by {caller}: {error}")
    return Spent(API[0], "schemathesis", count, API[1], "\n".join(failures))
