"""`tctl explain`: what a field of a policy file means, without leaving the terminal."""

import re
import textwrap
from typing import TYPE_CHECKING, Final

import click

from teleport.cli.options import output_option
from teleport.core.output import table, to_json, write

if TYPE_CHECKING:
    from teleport.resources.described import Described

__all__ = ["explain"]

_WIDTH: Final = 100


@click.command()
@click.argument("path", required=False, metavar="[KIND[.FIELD]...]")
@output_option()
def explain(path: str | None, form: str) -> None:
    """Say what a kind of resource declares, or what a field in it means, by its path; without one, list the kinds.

    What is told is the type, the default, the words that are taken, the versions of the format that know it, and, of a
    role's option, what the values of several roles come to. No cluster needed.

    Example: tctl explain role.spec.options.lock
    """
    from teleport.resources.described import describe

    if path is None:
        _list_kinds(form)
        return
    found = describe(path)
    write(to_json(found.to_dict()) if form == "json" else _text(found))


_LINK: Final = re.compile(r"\[([^]]+)\]\(https?://[^)]+\)")
"""As the pages write it; a terminal is read, not clicked."""


def _list_kinds(form: str) -> None:
    from teleport.resources.kinds import KINDS

    rows = [(kind, ", ".join(cls.versions), ", ".join(cls.aliases), cls.summary) for kind, cls in KINDS.items()]
    if form == "json":
        keys = ("kind", "versions", "aliases", "description")
        write(to_json([dict(zip(keys, (row[0], [*KINDS[row[0]].versions], [*KINDS[row[0]].aliases], row[3]),
                                strict=True)) for row in rows]))  # fmt: skip
        return
    write(table(("Kind", "Versions", "Also called", "Declares"), rows))


def _text(found: "Described") -> str:
    facts = [
        ("type", found.type),
        ("words", ", ".join(found.words)),
        ("required", "yes" if found.required else ""),
        ("default", found.default),
        ("versions", found.versions),
        ("several roles", found.over_roles),
        ("written as", found.written),
    ]
    told = [_fact(name, _LINK.sub(r"\1", value)) for name, value in facts if value]
    parts = [_wrapped(f"{found.path}: {found.description}"), "\n".join(told)]
    if found.example:
        parts.append(textwrap.indent(found.example.rstrip("\n"), "  "))
    if found.fields:
        rows = [(one.path.rpartition(".")[2], _kind_of(one), one.description) for one in found.fields]
        parts.append(table(("Field", "Type", "Meaning"), rows))
    return "\n\n".join(parts)


def _kind_of(one: "Described") -> str:
    return f"{one.type}, required" if one.required else one.type


def _fact(name: str, value: str) -> str:
    return textwrap.fill(
        value, _WIDTH, initial_indent=f"  {name + ':':<15}", subsequent_indent=" " * 17, break_long_words=False
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
