"""How an SSH user name asks for a live session instead of a login: `MODE:ID`. No Unix login has a colon in it."""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["MODES", "MODES_SERVED", "Wish", "wish_in"]

MODES: Final = ("observer", "peer", "moderator")
"""As what somebody may take part, by the format of roles."""
MODES_SERVED: Final = ("observer",)
"""Of these, those that hosts know how to serve: who looks on reads, and changes nothing."""

_WISH: Final = re.compile(rf"({'|'.join(MODES)}):([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})\Z")


@dataclass(frozen=True)
class Wish:
    """To take part in a session."""

    mode: str
    sid: str

    @property
    def login(self) -> str:
        """The user name that says so."""
        return f"{self.mode}:{self.sid}"


def wish_in(login: str) -> Wish | None:
    """What a user name asks for; None for an ordinary login."""
    match = _WISH.match(login)
    return Wish(match[1], match[2]) if match is not None else None
