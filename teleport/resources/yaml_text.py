"""From the bytes of a policy file to text that reads as it shows.

Policy is reviewed by people, so text that would show them one thing and mean another is refused: controls,
characters that cannot be seen or that turn the direction of others, and line ends that editors do not show.
"""

import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from teleport.core.errors import Problem

__all__ = ["MAX_FILE", "decode"]

MAX_FILE: Final = 64 << 20
"""Bytes in one file: far beyond any policy, small enough to parse in seconds."""
_MARK: Final = "\ufeff"
"""A second byte order mark: parsers drop it without counting it, so that their places would be wrong."""
_SHOWN: Final = 20
"""Problems of this kind that are worth showing: such a file is binary, or hostile."""

_BREAKS: Final = "\r(?!\n)|[\x85\u2028\u2029]"
_CONTROLS: Final = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]"
_UNSEEN: Final = (
    "[\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
    "|(?<=[\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?=[\x00-\x7f])"
)
"""Joiners between letters of other scripts, and in emoji, are what makes those read right."""
_REFUSED: Final = re.compile(f"(?P<break>{_BREAKS})|(?P<control>{_CONTROLS})|(?P<unseen>{_UNSEEN})")
_SUSPECT: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\U000e0000-\U000e007f]"
)
"""Every character that the other looks for: most texts have none, and one class is found fast."""


def decode(data: bytes, *, file: str) -> tuple[str | None, list[Problem]]:
    """The text, None where it is not worth parsing, and what is wrong with its characters."""
    if len(data) > MAX_FILE:
        return None, [Problem(file, 1, 1, f"file of {len(data)} bytes is larger than {MAX_FILE}", "split it")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", errors="replace")
        return None, [_problem(file, before, "not UTF-8 text", "save the file as UTF-8")]
    found = list(islice(_REFUSED.finditer(text), _SHOWN)) if _SUSPECT.search(text) else []
    problems = [_problem(file, text[: match.start()], *_WORDS[str(match.lastgroup)](match[0])) for match in found]
    worth = all(match.lastgroup == "unseen" for match in found) and not text.startswith(_MARK)
    return (text if worth else None), problems


def _problem(file: str, before: str, message: str, hint: str) -> Problem:
    """A problem at the character that follows a piece of text."""
    line = before.count("\n") + 1
    return Problem(file, line, len(before) - before.rfind("\n"), message, hint)


def _number(char: str) -> str:
    return f"U+{ord(char):04X}"


_WORDS: Final[Mapping[str, Callable[[str], tuple[str, str]]]] = {
    "break": lambda char: (f"line end {_number(char)}, which editors do not show", "end lines with LF, or CR and LF"),
    "control": lambda char: (f"control character {_number(char)}", "remove it"),
    "unseen": lambda char: (f"invisible character {_number(char)}", "remove it, or write it escaped in double quotes"),
}
