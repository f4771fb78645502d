"""The text of a rule: the document around a line of a policy file, and what it declares. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from teleport.resources.kinds import AnyResource
from teleport.resources.load import load

__all__ = ["RuleText", "document_at"]

_MARKER: Final = re.compile(r"(---|\.\.\.)(\s|$)")


@dataclass(frozen=True)
class RuleText:
    """Lines of a file. `resource` is what they declare, None if that cannot be read."""

    first: int
    lines: tuple[str, ...]
    resource: AnyResource | None = None


def document_at(data: bytes, line: int, *, file: str) -> RuleText | None:
    """The document that a line belongs to, without its markers; None where the file has no such line."""
    lines = data.decode(errors="replace").removeprefix("\ufeff").split("\n")
    if not 1 <= line <= len(lines):
        return None
    begin, end = line - 1, line - 1
    while begin > 0 and not _MARKER.match(lines[begin]):
        begin -= 1
    while end < len(lines) and (end == begin or not _MARKER.match(lines[end])):
        end += 1
    begin += bool(_MARKER.match(lines[begin]))
    while begin < end - 1 and not lines[begin].strip():
        begin += 1
    while end > begin + 1 and not lines[end - 1].strip():
        end -= 1
    inside = [one for one in load(data, file=file).resources if begin < one.origin.line <= end]
    resource = inside[0] if len(inside) == 1 else None
    return RuleText(begin + 1, tuple(one.rstrip("\r") for one in lines[begin:end]), resource)
