"""How a validator reports several faults at once, each at its own place below the value it looked at."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic_core import PydanticCustomError

from teleport.core.output import printable
from teleport.resources.nouns import nearest

__all__ = ["FAULTS", "Fault", "Misfit", "describe", "one_line", "raise_faults", "unknown_words"]

FAULTS: Final = "faults"
"""The error type under which `explain` finds the list."""

_FEW: Final = 20
"""Words of a list that fit a hint."""
_LINE: Final = 240
"""Characters of a message: what a file says may be longer than anybody wants to read."""


@dataclass(frozen=True)
class Fault:
    """What is wrong at a place, and what to do about it."""

    path: tuple[str | int, ...]
    message: str
    hint: str = ""
    word: str = ""
    """A word that was probably meant to be one of `known`."""
    known: Collection[str] = ()

    def advice(self) -> str:
        """The likely right word, else the hint. Looked up only when the fault is shown: comparing words is slow."""
        likely = nearest(self.word, self.known) if self.word else ""
        return f"did you mean {likely}?" if likely else self.hint


@dataclass(frozen=True)
class Misfit(Fault):
    """A value of another type than its place takes; `message` says what is expected there, as in `yes or no`."""

    value: object = None

    def as_written(self, text: str, field: str) -> Fault:
        """The fault in terms of the file: what it says there (empty where nobody knows), in which field."""
        shown = text or describe(self.value)
        if self.message == "text" and isinstance(self.value, bool | int | float):
            taken = "a truth value" if isinstance(self.value, bool) else "a number"
            return Fault(self.path, f"{shown} is not text: YAML takes it for {taken}", f'put it in quotes: "{shown}"')
        return Fault(self.path, f"{field}: {self.message} is expected, found {shown}", self.hint)


def describe(value: object) -> str:
    """A value in an error message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Mapping):
        return "a mapping"
    return repr(value[:40] if isinstance(value, str) else value)


def one_line(text: str) -> str:
    """A message that quotes a file, on one line that can be read."""
    shown = printable(text)
    return shown if len(shown) <= _LINE else f"{shown[: _LINE - 60]} … {shown[-50:]}"


def raise_faults(faults: Iterable[Fault]) -> None:
    """Raise if there is at least one."""
    found = list(faults)
    if found:
        raise PydanticCustomError(
            FAULTS, "{text}", {"text": "; ".join(fault.message for fault in found), FAULTS: found}
        )


def unknown_words(
    what: str, words: Iterable[str], known: Collection[str], *, spellings: Collection[str] = ()
) -> Iterator[Fault]:
    """A fault for each word of a list that is not known, nor another spelling, with the likely right one."""
    hint = f"one of {', '.join(known)}" if len(known) <= _FEW else ""
    for index, word in enumerate(words):
        if word not in known and word not in spellings:
            yield Fault((index,), f"unknown {what} {word}", hint, word, known)
