"""The hash chain and its signed checkpoints: pure functions over lines, so that anybody can verify a copy."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["GENESIS", "Checkpoint", "CheckpointSigner", "Verdict", "line_hash", "verify_chain"]

GENESIS: Final = "0" * 64
"""The hash before the first line."""


def line_hash(line: bytes) -> str:
    """SHA-256 over the whole line, its newline included, in hexadecimal."""
    return hashlib.sha256(line).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """At `time` the chain had `seq` events and ended in `hash`."""

    seq: int
    hash: str
    time: str
    key: str
    """The verifying Ed25519 key, base64 of its 32 bytes."""
    signature: str

    def signed_text(self) -> bytes:
        return f"teleport audit checkpoint v1\n{self.seq}\n{self.hash}\n{self.time}\n".encode()

    def holds(self) -> bool:
        """Whether its own signature is right; whether its key is the cluster's is the caller's question."""
        try:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(self.key, validate=True))
            key.verify(base64.b64decode(self.signature, validate=True), self.signed_text())
        except (InvalidSignature, ValueError):
            return False
        return True

    def to_line(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"

    @classmethod
    def of_line(cls, line: bytes | str) -> "Checkpoint":
        """Raises ValueError for what is not a checkpoint."""
        body = json.loads(line)
        try:
            return cls(int(body["seq"]), str(body["hash"]), str(body["time"]), str(body["key"]), str(body["signature"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a checkpoint: {error}") from None


class CheckpointSigner:
    """Signs the head of the chain."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def sign(self, seq: int, head: str, time: str) -> Checkpoint:
        unsigned = Checkpoint(seq, head, time, self.public, "")
        signature = base64.b64encode(self._key.sign(unsigned.signed_text())).decode()
        return Checkpoint(seq, head, time, self.public, signature)


@dataclass(frozen=True)
class Verdict:
    """What verifying a log found."""

    events: int
    first: int
    last: int
    head: str
    faults: tuple[str, ...]
    checkpoints: int = 0
    """How many checkpoints the log was held against."""


def verify_chain(lines: Iterable[tuple[str, bytes]], checkpoints: Sequence[Checkpoint], *, key: str = "") -> Verdict:
    """Follow the chain over lines (each with the place to name) and hold it against checkpoints.

    Where `key` is given, checkpoints signed by any other are faults. Lines before the first one at hand were
    removed by retention; a checkpoint among them says nothing.
    """
    faults: list[str] = []
    head, seq, first, count = "", 0, 0, 0
    expected = {checkpoint.seq: checkpoint for checkpoint in checkpoints}
    faults += _key_faults(checkpoints, key)
    for place, line in lines:
        event = _parse(line)
        if event is None:
            faults.append(f"{place}: not an event")
            head = line_hash(line)
            continue
        if count == 0:
            first, seq, head = event["seq"], event["seq"] - 1, event["prev"]
            if first == 1 and head != GENESIS:
                faults.append(f"{place}: the first event does not begin a chain")
        if event["prev"] != head:
            faults.append(f"{place}: the event before was altered, removed or inserted")
        if event["seq"] != seq + 1:
            faults.append(f"{place}: number {event['seq']} follows {seq}")
        head, seq, count = line_hash(line), event["seq"], count + 1
        checkpoint = expected.get(seq)
        if checkpoint is not None and checkpoint.hash != head:
            faults.append(f"{place}: differs from what the checkpoint of {checkpoint.time} signed")
    newest = max(expected, default=0)
    if newest > seq:
        faults.append(f"the end is missing: {newest} events existed at {expected[newest].time}, {seq} are here")
    return Verdict(count, first, seq, head, tuple(faults), sum(first <= number <= seq for number in expected))


def _parse(line: bytes) -> Mapping[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    good = isinstance(event, dict) and isinstance(event.get("seq"), int) and isinstance(event.get("prev"), str)
    return event if good else None


def _key_faults(checkpoints: Sequence[Checkpoint], key: str) -> list[str]:
    faults = []
    for checkpoint in checkpoints:
        if key and checkpoint.key != key:
            faults.append(f"the checkpoint of {checkpoint.time} is signed by another key")
        elif not checkpoint.holds():
            faults.append(f"the checkpoint of {checkpoint.time} has a wrong signature")
    return faults
