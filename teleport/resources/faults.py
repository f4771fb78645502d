"""How a validator reports several faults at once, each at its own place below the value it looked at."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from pydantic_core import PydanticCustomError

from teleport.resources.nouns import nearest

__all__ = ["FAULTS", "Fault", "raise_faults", "unknown_words"]

FAULTS: Final = "faults"
"""The error type under which `load` finds the list."""


class Fault(NamedTuple):
    path: tuple[str | int, ...]
    message: str
    hint: str = ""


def raise_faults(faults: Iterable[Fault]) -> None:
    """Raise if there is at least one."""
    found = list(faults)
    if found:
        raise PydanticCustomError(
            FAULTS, "{text}", {"text": "; ".join(fault.message for fault in found), FAULTS: found}
        )


def unknown_words(what: str, words: Iterable[str], known: Iterable[str]) -> Iterable[Fault]:
    """A fault for each word of a list that is not known, with the likely right one."""
    known = tuple(known)
    for index, word in enumerate(words):
        if word not in known:
            likely = nearest(word, known)
            yield Fault((index,), f"unknown {what} {word}", f"did you mean {likely}?" if likely else "")
