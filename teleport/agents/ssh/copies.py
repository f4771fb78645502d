"""Which commands copy files: the server sides of scp and rsync, and sftp-server. Looks at the text of a command alone.

A shell can spell anything in a way that no reader of its text recognises; so this keeps the ordinary clients to what
the roles say, and is no wall around somebody who may run commands.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["SFTP", "Copy", "recognise"]

_FOLDERS: Final = frozenset({"", "/bin", "/usr/bin", "/usr/local/bin", "/usr/lib/openssh", "/usr/libexec/openssh"})
_SEPARATORS: Final = frozenset(";&|()<>\n")
_EXPANDED: Final = ("$(", "`", "<(", ">(")


@dataclass(frozen=True)
class Copy:
    """A command, or the subsystem, that copies files. `action` is as seen from the person: upload or download."""

    program: Literal["sftp", "scp", "rsync"]
    action: Literal["upload", "download", ""] = ""
    path: str = ""
    alone: bool = True
    """Whether the command is that and nothing else, so that what it prints is the files."""


SFTP: Final = Copy("sftp")
_LOOKED_AT: Final = 8192
"""Characters of a command: the client chooses how long it is, and cutting it into words takes time."""
_MAX_PROGRAM: Final = 32
"""Words before the program, such as `sudo -u root`."""


def recognise(command: str) -> Copy | None:
    """The copy that a command makes, None if it makes none that can be seen."""
    words = _words(command[:_LOOKED_AT])
    alone = (
        len(command) <= _LOOKED_AT
        and not any(_SEPARATORS & set(word) for word in words)
        and not any(mark in command for mark in _EXPANDED)
    )
    for at, word in enumerate(words[:_MAX_PROGRAM]):
        folder, name = os.path.split(word)
        found = _copy(name, words[at + 1 :], alone=alone and at == 0 and folder in _FOLDERS)
        if found is not None:
            return found
    return None


def _words(command: str) -> list[str]:
    """The words of a command as a shell cuts it; separators are words of their own."""
    reader = shlex.shlex(command, posix=True, punctuation_chars=";&|()<>\n")
    reader.whitespace, reader.commenters, reader.whitespace_split = " \t\r", "", True
    try:
        return list(reader)
    except ValueError:  # a quotation without an end: the shell will complain, or it was none
        return command.split()


def _copy(name: str, rest: Sequence[str], *, alone: bool) -> Copy | None:
    if name == "sftp-server":
        return Copy("sftp", alone=alone)
    if name == "scp":
        return _scp(rest, alone)
    if name == "rsync" and "--server" in rest:
        path = " ".join(rest[rest.index(".") + 1 :]) if "." in rest else ""
        return Copy("rsync", "download" if "--sender" in rest else "upload", path, alone)
    return None


def _scp(rest: Sequence[str], alone: bool) -> Copy | None:
    flags = list(_flags(rest))
    letters = "".join(flag[1:] for flag in flags)
    path = " ".join(word for word in rest[len(flags) :] if word != "--")
    if "t" in letters:
        return Copy("scp", "upload", path, alone)
    return Copy("scp", "download", path, alone) if "f" in letters else None


def _flags(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if not word.startswith("-") or word in ("-", "--"):
            return
        yield word
