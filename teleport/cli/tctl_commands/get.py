"""`tctl get`: the resources of the cluster, whichever source declares them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from teleport.cli.options import output_option
from teleport.cli.tctl import Target
from teleport.core.errors import AccessDenied, BadInput, NotFound
from teleport.core.output import table, to_json, write

if TYPE_CHECKING:
    from teleport.api.client import ApiClient
    from teleport.api.models import Resource

__all__ = ["fetch", "get", "wanted"]

Wanted = tuple[str, str]
"""A kind, and a name or nothing for all of it."""


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="KIND[/NAME]...")
@click.option("--with-secrets", is_flag=True, help="Also what is secret, such as the names of join tokens.")
@output_option("text", "wide", "yaml", "json")
@click.pass_obj
def get(target: Target, /, what: tuple[str, ...], with_secrets: bool, form: str) -> None:
    """Show resources: kinds or single ones, also several separated by commas, or all.

    The table says where each is declared; the wide one also the source, the commit that changed its file last, and
    its revision. YAML can be loaded again with `tctl create`; JSON is always a list.

    Example: tctl get roles,users
    """
    from teleport.cli.admin import administer
    from teleport.cli.connect import run
    from teleport.cli.documents import to_yaml

    pairs, everything = list(wanted(what)), "all" in _words(what)

    async def ask() -> list["Resource"]:
        async with administer(target) as client:
            return [one for pair in pairs for one in await fetch(client, pair, with_secrets, lenient=everything)]

    found = run(ask())
    if form == "json":
        write(to_json([{**one.resource, **({"status": one.status} if one.status else {})} for one in found]))
    elif form == "yaml":
        write(to_yaml(found))
    else:
        write(_tables([kind for kind, _ in pairs], found, sparse=everything, wide=form == "wide"))


def _words(what: Iterable[str]) -> list[str]:
    return [word for text in what for word in text.split(",") if word]


def wanted(what: Iterable[str]) -> Iterator[Wanted]:
    """What KIND[/NAME] and words with commas mean. Raises BadInput."""
    from teleport.resources.kinds import KINDS, kind_named

    for word in _words(what):
        if word == "all":
            yield from ((kind, "") for kind in KINDS)
            continue
        kind, slash, name = word.partition("/")
        if slash and not name:
            raise BadInput(f"{word!r} names no resource", hint="write KIND or KIND/NAME")
        yield kind_named(kind).kind, name


async def fetch(
    client: "ApiClient", pair: Wanted, secrets: bool = False, *, lenient: bool = False
) -> Sequence["Resource"]:
    """Where everything is asked for, what the caller may not list is left out."""
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.documents import name_of

    kind, name = pair
    if name:
        return [await client.call(r.RESOURCE, m.ResourceRead(kind=kind, name=name, secrets=secrets))]
    try:
        found = (await client.call(r.RESOURCES, m.ResourceQuery(kind=kind, secrets=secrets))).resources
    except AccessDenied:
        if lenient:
            return ()
        raise
    return sorted(found, key=name_of)


def _tables(kinds: Sequence[str], found: Sequence["Resource"], *, sparse: bool, wide: bool) -> str:
    from teleport.cli.documents import columns, row

    shown = []
    for kind in dict.fromkeys(kinds):
        rows = [row(one, wide=wide) for one in found if one.resource["kind"] == kind]
        if rows or not sparse:
            shown.append(table(columns(kind, wide=wide), rows))
    return "\n".join(shown) or _nothing()


def _nothing() -> str:
    raise NotFound("nothing is declared that you may see")
