"""Newline-delimited JSON: bytes as they come, objects out, and never more kept than one line. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from teleport.core.errors import BadInput
from teleport.net.lines import parse_line

__all__ = ["MAX_OBJECT", "Objects"]

MAX_OBJECT: Final = 256 << 20
"""Bytes of one line: the first of the policy's stream holds all of it."""


class Objects:
    """Cuts a stream into its objects, however the network cut it."""

    def __init__(self, *, limit: int = MAX_OBJECT) -> None:
        self._limit = limit
        self._line = bytearray()

    @property
    def waiting(self) -> int:
        """Bytes of a line of which the end has not come."""
        return len(self._line)

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The objects that these bytes complete. Raises BadInput at what is none, and beyond the limit."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._add(end)
            line = bytes(self._line)
            self._line.clear()
            yield parse_line(line)
        self._add(rest)

    def _add(self, part: bytes) -> None:
        if len(self._line) + len(part) > self._limit:
            raise BadInput(f"the peer sent a line of more than {self._limit} bytes")
        self._line += part
