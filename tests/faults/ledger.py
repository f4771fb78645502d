"""What a cluster wrote down, read as it grows: the audit log and the recordings at the auth service."""

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from tests.faults.crowd import Seat

__all__ = ["Ledger"]


class Ledger:
    """Follows the log on disk. What was read once must be there for ever: `faults` says what is not as it should be."""

    def __init__(self, data: Path) -> None:
        self._audit, self._recordings = data / "audit", data / "recordings"
        self._read: dict[Path, bytes] = defaultdict(bytes)
        self.events = 0
        self.of_session: dict[str, Counter[str]] = defaultdict(Counter)
        """By session, how often each event."""
        self.named: Counter[tuple[str, str]] = Counter()
        """By event and name."""
        self._uids: Counter[str] = Counter()

    def follow(self) -> None:
        """Take in the lines that are new."""
        for path in sorted(self._audit.glob("????-??-??.jsonl")):
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            before = self._read[path]
            if not whole.startswith(before):
                raise AssertionError(f"{path.name} does not begin as it did: events that were written are gone")
            for line in whole[len(before) :].splitlines():
                self._take(json.loads(line))
            self._read[path] = whole

    def _take(self, event: dict[str, Any]) -> None:
        self.events += 1
        self._uids[event["uid"]] += 1
        if "sid" in event:
            self.of_session[event["sid"]][event["event"]] += 1
        if "name" in event:
            self.named[event["event"], event["name"]] += 1

    def twice(self) -> list[str]:
        return [f"event {uid} is in the log {count} times" for uid, count in self._uids.items() if count > 1]

    def told(self, seat: Seat) -> bool:
        """Whether everything about a session that is over has arrived."""
        found = self.of_session[seat.sid]
        return bool(found["session.start"] and found["session.end"] and self.meta(seat))

    def meta(self, seat: Seat) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self._recordings / seat.sid / "meta.json").read_bytes())
        except FileNotFoundError:
            return None
        return found

    def faults_of(self, seat: Seat, *, at_least: int) -> list[str]:
        """What is wrong with the records of a session that is over, `at_least` so many lines of which it showed."""
        found, meta = self.of_session[seat.sid], self.meta(seat)
        faults = [
            f"session {seat.sid} has {found[event]} × {event}"
            for event in ("session.start", "session.end")
            if found[event] != 1
        ]
        if meta is None:
            return [*faults, f"session {seat.sid} of {seat.user} on {seat.host} has no recording"]
        folder = self._recordings / seat.sid
        output, timing = (folder / "output").read_bytes(), (folder / "timing").read_text()
        if hashlib.sha256(output).hexdigest() != meta["output_sha256"]:
            faults.append(f"recording {seat.sid} is not what was signed")
        _, _, shown = output.partition(b"\n")
        timed = sum(int(line.split()[2]) for line in timing.splitlines() if line.startswith("O "))
        if timed != len(shown):
            faults.append(f"recording {seat.sid} has {len(shown)} bytes, and times for {timed}")
        expected = seat.first_line() + b"".join(f"{number}\n".encode() for number in range(seat.sent))
        lines = max(0, shown.count(b"\n") - 1)
        if not expected.startswith(shown):
            faults.append(f"recording {seat.sid} is not what was shown")
        elif lines < at_least:
            faults.append(f"recording {seat.sid} has {lines} lines; {at_least} had been shown for long")
        return faults
