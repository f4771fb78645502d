"""What a name may look like: no letter that cannot be seen, and none that passes for another.

Policy is reviewed by people. A name that reads as one thing and is another would be granted what they meant for
somebody else, so such names are refused rather than shown differently.
"""

import unicodedata
from collections.abc import Iterator
from typing import Final

from teleport.resources.faults import Fault

__all__ = ["MAX_NAME", "invisible", "name_faults"]

MAX_NAME: Final = 1000
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Controls, format characters such as those that turn the writing direction, surrogates, private use, separators."""
_ALIKE: Final = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")
"""Scripts whose letters are mistaken for each other."""


def invisible(text: str) -> list[str]:
    """The characters of a text that show nothing, or change how others show; in order, each once."""
    if text.isascii() and text.isprintable():
        return []
    return list(dict.fromkeys(char for char in text if unicodedata.category(char) in _INVISIBLE))


def name_faults(name: str) -> Iterator[Fault]:
    """Why a text cannot be a name."""
    if not name:
        yield Fault((), "a name must not be empty")
    if len(name) > MAX_NAME:
        yield Fault((), f"a name of {len(name)} characters", f"at most {MAX_NAME}")
        return
    if name != name.strip():
        yield Fault((), f"the name {name!r} begins or ends with a space")
    for char in invisible(name):
        yield Fault((), f"a name with the invisible character U+{ord(char):04X}", "remove it")
    if not name.isascii():
        yield from _deceptions(name)


def _deceptions(name: str) -> Iterator[Fault]:
    plain = unicodedata.normalize("NFKC", name)
    if plain != name and not invisible(name):
        yield Fault((), f"the name {name} is not in its normal form", f"write {plain}")
    scripts: dict[str, str] = {}
    for char in plain:
        script = unicodedata.name(char, "").partition(" ")[0]
        if script in _ALIKE:
            scripts.setdefault(script, char)
    if len(scripts) > 1:
        found = " and ".join(f"{script.capitalize()} ({char})" for script, char in scripts.items())
        yield Fault((), f"the name {name} mixes letters of {found}", "letters of one alphabet cannot be mistaken")
