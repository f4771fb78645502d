"""The hash chain and its signed checkpoints: pure functions over lines, so that anybody can verify a copy."""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["GENESIS", "Checkpoint", "CheckpointSigner", "Verdict", "line_hash", "parse_event", "verify_chain"]

GENESIS: Final = "0" * 64
"""The hash before the first line."""

Purpose = Literal["head", "cut"]


def line_hash(line: bytes) -> str:
    """SHA-256 over the whole line, its newline included, in hexadecimal."""
    return hashlib.sha256(line).hexdigest()


def parse_event(line: bytes) -> dict[str, Any] | None:
    """The event of a line, or None where somebody wrote something else there."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    good = isinstance(event, dict) and isinstance(event.get("seq"), int) and isinstance(event.get("prev"), str)
    return event if good else None


@dataclass(frozen=True)
class Checkpoint:
    """At `time` the chain had `seq` events and ended in `hash`.

    With the purpose `cut` it also says that retention removed everything up to there.
    """

    seq: int
    hash: str
    time: str
    key: str
    """The verifying Ed25519 key, base64 of its 32 bytes."""
    signature: str
    purpose: Purpose = "head"

    def signed_text(self) -> bytes:
        what = "checkpoint" if self.purpose == "head" else "retention"
        return f"teleport audit {what} v1\n{self.seq}\n{self.hash}\n{self.time}\n".encode()

    def holds(self) -> bool:
        """Whether its own signature is right; whether its key is the cluster's is the caller's question."""
        try:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(self.key, validate=True))
            key.verify(base64.b64decode(self.signature, validate=True), self.signed_text())
        except (InvalidSignature, ValueError):
            return False
        return True

    def to_line(self) -> bytes:
        body = {name: value for name, value in asdict(self).items() if value != "head"}
        return json.dumps(body, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def of_line(cls, line: bytes | str) -> "Checkpoint":
        """Raises ValueError for what is not a checkpoint."""
        try:
            body = json.loads(line)
            seq, purpose = int(body["seq"]), body.get("purpose", "head")
            head, time, key, signature = (str(body[name]) for name in ("hash", "time", "key", "signature"))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError("not a checkpoint") from None
        if purpose not in ("head", "cut"):
            raise ValueError(f"a checkpoint of an unknown purpose: {purpose}")
        return cls(seq, head, time, key, signature, purpose)


class CheckpointSigner:
    """Signs the head of the chain."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def sign(self, seq: int, head: str, time: str, *, purpose: Purpose = "head") -> Checkpoint:
        unsigned = Checkpoint(seq, head, time, self.public, "", purpose)
        return replace(unsigned, signature=base64.b64encode(self._key.sign(unsigned.signed_text())).decode())


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

    Where `key` is given, checkpoints signed by any other are faults. The log may begin at its first event, or
    where a checkpoint says that retention cut it; checkpoints of what was cut say nothing more.
    """
    walk = _Walk(checkpoints, list(_key_faults(checkpoints, key)))
    for place, line in lines:
        walk.take(place, line)
    return walk.verdict()


class _Walk:
    """Goes over the lines of a log once."""

    def __init__(self, checkpoints: Sequence[Checkpoint], faults: list[str]) -> None:
        self._faults = faults
        self._expected: dict[int, list[Checkpoint]] = {}
        for checkpoint in checkpoints:
            self._expected.setdefault(checkpoint.seq, []).append(checkpoint)
        self._head, self._seq, self._first, self._count = "", 0, 0, 0

    def take(self, place: str, line: bytes) -> None:
        event = parse_event(line)
        if event is None:
            self._faults.append(f"{place}: not an event")
            self._head = line_hash(line)
            return
        if self._count == 0:
            self._begin(place, event)
        if event["prev"] != self._head:
            self._faults.append(f"{place}: the event before was altered, removed or inserted")
        if event["seq"] != self._seq + 1:
            self._faults.append(f"{place}: number {event['seq']} follows {self._seq}")
        self._head, self._seq, self._count = line_hash(line), event["seq"], self._count + 1
        self._compare(place)

    def _begin(self, place: str, event: Mapping[str, Any]) -> None:
        self._first, self._seq, self._head = event["seq"], event["seq"] - 1, event["prev"]
        if self._first == 1 and self._head != GENESIS:
            self._faults.append(f"{place}: the first event does not begin a chain")
        if self._first > 1:
            self._compare(place)
            if not any(one.purpose == "cut" for one in self._expected.get(self._seq, ())):
                self._faults.append(f"{place}: the log begins at number {self._first}, and retention did not cut there")

    def _compare(self, place: str) -> None:
        for checkpoint in self._expected.get(self._seq, ()):
            if checkpoint.hash != self._head:
                self._faults.append(f"{place}: differs from what the checkpoint of {checkpoint.time} signed")

    def verdict(self) -> Verdict:
        newest = max(self._expected, default=0)
        if newest > self._seq:
            time = self._expected[newest][0].time
            self._faults.append(f"the end is missing: {newest} events existed at {time}, {self._seq} are here")
        compared = sum(len(found) for seq, found in self._expected.items() if self._first - 1 <= seq <= self._seq)
        return Verdict(self._count, self._first, self._seq, self._head, tuple(self._faults), compared)


def _key_faults(checkpoints: Sequence[Checkpoint], key: str) -> Iterator[str]:
    for checkpoint in checkpoints:
        if key and checkpoint.key != key:
            yield f"the checkpoint of {checkpoint.time} is signed by another key"
        elif not checkpoint.holds():
            yield f"the checkpoint of {checkpoint.time} has a wrong signature"
