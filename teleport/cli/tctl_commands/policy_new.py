"""`tctl policy new` and `tctl policy schemas`: a document to begin with, and editors that help to write the rest."""

import sys
from pathlib import Path

import click

from teleport.core.output import printable, to_json, write

__all__ = ["new", "schemas"]


@click.command()
@click.argument("kind")
@click.argument("name", required=False)
@click.option(
    "-f", "--file", "place", type=click.Path(path_type=Path), metavar="PATH",
    help="Write it there instead: a new .yaml file, or the folder of policy, in which it gets its place.",
)  # fmt: skip
def new(kind: str, name: str | None, place: Path | None) -> None:
    """Print a document of a KIND to begin with, each field with a comment.

    It is valid as it is; tests and invariants name roles and users that there have to be.

    Nothing is overwritten. If `tctl policy schemas` has written schemas to a folder above, the document names its own,
    so that editors check it and complete what is typed.

    Example: tctl policy new role developer --file policies
    """
    from teleport.cli.files import create_file
    from teleport.cli.policy_layout import file_of, schema_beside
    from teleport.gitops.tree import SUFFIXES
    from teleport.resources.kinds import kind_named
    from teleport.resources.starting import starting_document

    cls = kind_named(kind)
    if place is None:
        text = starting_document(cls, name or "", schema=schema_beside(Path(), cls.kind))
        write(text.removesuffix("\n"))
        return
    path = place
    if place.is_dir() or place.suffix not in SUFFIXES:
        path = place / file_of(cls.kind, name or _example_name(cls.example))
    schema = schema_beside(path.parent, cls.kind)
    create_file(path, starting_document(cls, name or "", schema=schema))
    write(f"wrote {printable(str(path))}")
    if not schema:
        write("tctl: hint: `tctl policy schemas .schemas` lets editors check and complete it", stream=sys.stderr)


def _example_name(example: str) -> str:
    from teleport.resources.load import load

    (resource,) = load(example.encode(), file="example").resources
    return resource.name


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def schemas(folder: Path) -> None:
    """Write the JSON schemas of all kinds to a folder, for editors that check YAML while it is typed.

    Take a hidden folder, .schemas at the top of the repository, or one beside the policy: what is not hidden in a
    folder of policy counts as policy. What `tctl policy new` writes below names its schema by itself. For Visual Studio
    Code, what is printed belongs into .vscode/settings.json, adapted to where your policy is.

    Example: tctl policy schemas .schemas
    """
    from teleport.cli.files import put_file
    from teleport.resources.render import rendered

    for name, text in rendered().items():
        if name.startswith("schemas/"):
            put_file(folder / Path(name).name, text)
    write(to_json({"yaml.schemas": {f"{folder.as_posix()}/resource.json": ["policies/**/*.yaml"]}}))
