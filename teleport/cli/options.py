"""What several commands ask for in the same way: the form of the output, spans of time, references to resources."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from teleport.core.errors import BadInput

__all__ = ["listed", "moment", "output_option", "parse_labels", "seconds", "split_ref"]

F = TypeVar("F", bound=Callable[..., Any])

_DAYS: Final = re.compile(r"([0-9]+)d\Z")


def output_option(*forms: str) -> Callable[[F], F]:
    """`-o FORM`, passed as `form`; the first form is the default."""
    return click.option(
        "-o", "--format", "form", type=click.Choice(forms or ("text", "json")), default=(forms or ("text",))[0],
        show_default=True, help="Form of the output.",
    )  # fmt: skip


def seconds(text: str, *, example: str = "8h") -> float:
    """A span of time such as 90m, 8h or 7d. Raises BadInput."""
    from teleport.resources.values import parse_duration

    if match := _DAYS.match(text):
        return int(match[1]) * 86400.0
    try:
        return parse_duration(text)
    except ValueError as error:
        raise BadInput(str(error), hint=f"write for example {example}") from None


def moment(text: str, *, now: float) -> float:
    """A time as RFC 3339, or so long ago. Raises BadInput."""
    from teleport.resources.values import parse_timestamp

    try:
        return parse_timestamp(text)
    except (ValueError, OverflowError):
        pass
    try:
        return now - seconds(text)
    except BadInput:
        raise BadInput(
            f"{text!r} is neither a time nor a span of time", hint="write for example 2030-01-31T12:00:00Z, 24h or 7d"
        ) from None


def split_ref(text: str) -> tuple[str, str]:
    """Kind and name of KIND/NAME; names may contain slashes. Raises BadInput."""
    from teleport.resources.kinds import kind_named

    word, slash, name = text.partition("/")
    kind = kind_named(word)
    if not slash or not name:
        if kind.singleton:
            return kind.kind, kind.singleton
        raise BadInput(f"{text!r} names no resource", hint=f"write KIND/NAME, for example {kind.kind}/NAME")
    return kind.kind, name


def parse_labels(text: str) -> dict[str, str]:
    """Labels as K=V,...; an empty text is no labels. Raises BadInput."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    found = {key.strip(): value.strip() for key, _, value in pairs}
    if any(not key.strip() or not equals for key, equals, _ in pairs) or len(found) < len(pairs):
        raise BadInput(f"{text!r} is not a list of labels", hint="write for example env=prod,team=web")
    return found


def listed(words: Sequence[str]) -> str:
    """Words for a cell of a table."""
    return ", ".join(words) or "-"
