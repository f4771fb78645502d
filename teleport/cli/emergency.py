"""Emergency changes from the command line: what is in force, a second factor on demand, and how long still."""

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from teleport.cli.options import seconds
from teleport.cli.tctl import Target
from teleport.core.errors import AccessDenied
from teleport.core.output import printable, write

if TYPE_CHECKING:
    from teleport.api import models as m

__all__ = ["Declaring", "beside", "in_force", "in_force_over", "left", "lines"]


def in_force(target: Target) -> "Sequence[m.EmergencyRow]":
    """The emergency changes in force."""
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    return ask(target, r.EMERGENCIES, m.Empty()).emergencies


def in_force_over(target: Target, ref: str) -> "m.EmergencyRow | None":
    """The one of a resource, as far as one may know: making one does not take reading the policy's state."""
    with contextlib.suppress(AccessDenied):
        return next((row for row in in_force(target) if f"{row.kind}/{row.name}" == ref), None)
    return None


class Declaring:
    """Puts texts into force for a while; `begin` is one attempt."""

    def __init__(self, target: Target, *, reason: str, ttl: str, code: str) -> None:
        self._target, self._reason, self._ttl, self._code = target, reason, seconds(ttl, example="1h"), code

    def begin(self, text: str, file: str, *, revision: int, replaces: str) -> "m.EmergencyRow":
        """Ask for it; for the second factor only once everything else is right."""
        from teleport.api import models as m

        request = m.EmergencyRequest(
            file=m.PolicyFile(file=file, text=text), reason=self._reason, ttl=self._ttl, code=self._code,
            expected_revision=revision, replaces=replaces,
        )  # fmt: skip
        self._code = ""  # it works once
        try:
            return self._ask(request)
        except AccessDenied as error:
            if not error.details.get("needs"):
                raise
        code = click.prompt("Code from the authenticator app, for this change", err=True)
        return self._ask(request.model_copy(update={"code": code}))

    def _ask(self, request: "m.EmergencyRequest") -> "m.EmergencyRow":
        from teleport.api import routes as r
        from teleport.cli.admin import ask

        return ask(self._target, r.BEGIN_EMERGENCY, request)

    @staticmethod
    def tell(row: "m.EmergencyRow") -> None:
        ref = printable(f"{row.kind}/{row.name}")
        write(f"{ref} changed {left(row, time.time())}: {printable(', '.join(row.fields))}")
        write(f"to keep it, commit it before: tctl policy patch {ref} | git apply")


def left(row: "m.EmergencyRow", now: float) -> str:
    """Until when it is in force, as people want to know it."""
    from teleport.core.aio import utc
    from teleport.resources.times import duration_text

    return f"until {utc(row.expires)[:19]}Z ({duration_text(max(0, int(row.expires - now)))} left)"


def beside(rows: "Sequence[m.EmergencyRow]") -> list[str]:
    """What an answer about declared policy leaves out, a sentence each."""
    from teleport.core.aio import utc

    return [
        printable(
            f"{row.kind}/{row.name} is changed for an emergency until {utc(row.expires)}, which is declared nowhere"
        )
        for row in rows
    ]


def lines(rows: "Sequence[m.EmergencyRow]", now: float) -> list[str]:
    """One paragraph each."""
    return [_paragraph(row, now) for row in rows]


def _paragraph(row: "m.EmergencyRow", now: float) -> str:
    declared: dict[str, Any] = {"in": row.file, "of source": row.source, "commit": row.commit}
    where = ", ".join(f"{word} {value}" for word, value in declared.items() if value)
    text = [
        f"{row.kind}/{row.name} is changed for an emergency {left(row, now)}",
        f"  by {row.actor}: {row.reason}",
        f"  fields: {', '.join(row.fields)}",
        *([f"  declared {where}"] if where else []),
    ]
    return "\n".join(map(printable, text)) + "\n"
