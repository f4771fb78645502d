"""Audit logs for tests: opened on a directory, filled, and read back as they lie on disk."""

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from teleport.audit.chain import CheckpointSigner
from teleport.audit.events import UserLogin
from teleport.audit.log import AuditLog, day_files
from tests.builders import FakeClock

__all__ = ["SIGNER", "checkpoints", "fill", "lines", "numbered", "open_log"]

SIGNER = CheckpointSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
DAY = 86400.0


async def open_log(directory: Path, clock: FakeClock | None = None) -> AuditLog:
    return await AuditLog.open(directory, cluster="acme", clock=clock or FakeClock(), signer=SIGNER)


def numbered(number: int) -> UserLogin:
    """An event that can be told from others."""
    return UserLogin(uid=f"uid-{number}", user=f"user-{number}")


async def fill(log: AuditLog, count: int, *, first: int = 1) -> None:
    for number in range(first, first + count):
        await log.append(numbered(number))


def lines(directory: Path) -> list[dict[str, Any]]:
    """Every event on disk, in order."""
    return [json.loads(line) for path in day_files(directory) for line in path.read_text().splitlines()]


def checkpoints(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "checkpoints.jsonl").read_text().splitlines()]
