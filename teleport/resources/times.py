"""Durations and moments as resource files write them, and the one spelling in which they are written back."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

__all__ = ["DURATION_PATTERN", "duration_text", "moment_text", "parse_duration", "parse_timestamp"]

_NANOSECONDS: Final[Mapping[str, int]] = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
    "d": 24 * 3600 * 10**9, "mo": 30 * 24 * 3600 * 10**9, "y": 365 * 24 * 3600 * 10**9,
}  # fmt: skip
_PART: Final = r"(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:ns|us|µs|μs|ms|s|mo|m|h|d|y)"
DURATION_PATTERN: Final = f"^(?:never|0|(?:{_PART})+)$"
"""Also for JSON Schema, so without anything that only Python's expressions have."""
_DURATION: Final = re.compile(DURATION_PATTERN)
_PARTS: Final = re.compile(r"([0-9]*\.?[0-9]*)([a-zµμ]+)")
_LONGEST: Final = 290 * _NANOSECONDS["y"]
"""About as far as nanoseconds in 64 bits reach, which is where the format's other readers stop."""

_RFC3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?([Zz]|[-+][0-9]{2}:[0-9]{2})?\Z"
)


def parse_duration(text: str) -> float:
    """Seconds in a duration such as `1h30m` or `7d`; `never` and `0` are 0.

    Units: ns, us, ms, s, m, h, d, mo (30 days), y (365 days). Raises ValueError.
    """
    if len(text) > 200 or not _DURATION.match(text):
        raise ValueError(f"{text[:40]!r} is not a duration")
    if text in ("never", "0"):
        return 0.0
    total = sum(Fraction(number) * _NANOSECONDS[unit] for number, unit in _PARTS.findall(text))
    if total > _LONGEST:
        raise ValueError(f"{text!r} is longer than 290 years")
    return round(total) / 10**9


def duration_text(seconds: float) -> str:
    """A spelling that `parse_duration` reads back as the same number: `30h`, `1h30m`, `500ms`, `0s`."""
    left, parts = round(Fraction(seconds) * 10**9), []
    for unit in ("h", "m", "s", "ms", "us", "ns"):
        count, left = divmod(left, _NANOSECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_timestamp(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time. Raises ValueError; a time without zone is refused."""
    return _moment(text).timestamp()


def moment_text(text: str) -> str:
    """An RFC 3339 time in UTC. Raises ValueError."""
    return _moment(text).isoformat().replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    match = _RFC3339.match(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a time as RFC 3339")
    day, clock, fraction, zone = match.groups()
    if not zone:
        raise ValueError(f"{text!r} has no time zone; append Z for UTC")
    try:
        return datetime.fromisoformat(f"{day}T{clock}{(fraction or '')[:7]}{zone.upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time that exists") from None
