"""The one closed family of errors that crosses boundaries.

Each class fixes a code for programs, an HTTP status for the API and an exit status for the command line;
an instance carries the sentence for people, an optional hint what to do next, and details as plain data.
Anything that is not in this family is a defect: it closes the connection, fails the request and is loud.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

__all__ = [
    "FAMILY",
    "AccessDenied",
    "BadInput",
    "Conflict",
    "Invalid",
    "NotFound",
    "Problem",
    "Refused",
    "TeleportError",
    "Throttled",
    "Unauthenticated",
    "Unavailable",
    "from_wire",
    "problem_from_wire",
]

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One fault of an input: where it is, what is wrong there, and what was probably meant."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.message}" if place else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def to_wire(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "hint": self.hint,
        }


class TeleportError(Exception):
    """Something failed in a way a person can understand; the base of the family."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: Mapping[str, Any] = details or {}

    def to_wire(self) -> dict[str, Any]:
        """The JSON body of an API error; `from_wire` is its inverse."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.hint:
            body["hint"] = self.hint
        if self.details:
            body["details"] = dict(self.details)
        return {"error": body}


class BadInput(TeleportError):
    """The caller wrote something that cannot be understood."""

    code = "bad_input"
    status = 400
    exit_status = 2


class Invalid(BadInput):
    """A set of documents has faults; `problems` holds every one of them."""

    code = "invalid"
    status = 422

    def __init__(self, problems: Sequence[Problem], *, hint: str = "") -> None:
        ordered = tuple(sorted(set(problems)))
        super().__init__(
            "\n".join(str(problem) for problem in ordered) or "invalid",
            hint=hint,
            details={"problems": [problem.to_wire() for problem in ordered]},
        )
        self.problems = ordered


class Unauthenticated(TeleportError):
    """Who asks is not known, or no longer."""

    code = "unauthenticated"
    status = 401


class AccessDenied(TeleportError):
    """Who asks is known and may not."""

    code = "access_denied"
    status = 403
    exit_status = 3


class NotFound(TeleportError):
    """There is no such thing, or none the caller may know of."""

    code = "not_found"
    status = 404


class Conflict(TeleportError):
    """The thing exists already, or is not the revision the caller looked at."""

    code = "conflict"
    status = 409


class Refused(TeleportError):
    """Understood and permitted in general, but not in this state."""

    code = "refused"
    status = 412


class Throttled(TeleportError):
    """Too many attempts; come back later."""

    code = "throttled"
    status = 429


class Unavailable(TeleportError):
    """Something needed is not there at the moment; trying again may help."""

    code = "unavailable"
    status = 503


FAMILY: Mapping[str, type[TeleportError]] = {
    cls.code: cls
    for cls in (
        TeleportError, BadInput, Invalid, Unauthenticated, AccessDenied, NotFound, Conflict, Refused, Throttled,
        Unavailable,
    )
}  # fmt: skip
"""Every class by the code that programs see."""


def from_wire(body: object, *, status: int = 500) -> TeleportError:
    """The error that an API answered with; a body we do not understand becomes a plain TeleportError."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return TeleportError(f"the server answered with status {status} and no explanation")
    message, hint, details = str(error.get("message", "")), str(error.get("hint", "")), error.get("details")
    details = details if isinstance(details, dict) else {}
    if error.get("code") == Invalid.code:
        rows = details.get("problems")
        known = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return Invalid([problem_from_wire(row) for row in known], hint=hint)
    return FAMILY.get(str(error.get("code")), TeleportError)(message, hint=hint, details=details)


def problem_from_wire(row: Mapping[str, Any]) -> Problem:
    return Problem(
        file=str(row.get("file", "")),
        line=_place(row.get("line")),
        column=_place(row.get("column")),
        message=str(row.get("message", "")),
        hint=str(row.get("hint", "")),
    )


def _place(value: object) -> int:
    """A line or column; 0 for what is none: who answers may be anybody."""
    return value if isinstance(value, int) else 0
