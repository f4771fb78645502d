"""`tctl policy patch`: an emergency change as a patch of the repository, so that it can be reviewed and committed."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from teleport.cli.options import split_ref
from teleport.cli.tctl import Target
from teleport.core.errors import BadInput, NotFound, Refused
from teleport.core.output import write

if TYPE_CHECKING:
    from teleport.api import models as m

__all__ = ["patch"]

_SECONDS: Final = 30


@click.command()
@click.argument("what", metavar="[KIND/NAME]", required=False)
@click.option(
    "--dir", "folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False), default=".",
    help="The folder with the policy, or any folder of a checkout of its repository; without it, where you are.",
)  # fmt: skip
@click.pass_obj
def patch(target: Target, /, what: str | None, folder: Path) -> None:
    """Print the patch that makes the declaration say what an emergency change put into force.

    Run it in a checkout of the repository at the commit that is in force. Comments and layout of the files stay.
    Once the patch is committed and applied, the emergency change has nothing left to change and is gone.

    Example: tctl policy patch role/dba | git apply
    """
    from teleport.cli.emergency import in_force

    rows = [row for row in in_force(target) if what is None or (row.kind, row.name) == split_ref(what)]
    if not rows:
        raise NotFound("no emergency change is in force" + (f" of {what}" if what else ""))
    root = _root(folder)
    before: dict[Path, str] = {}
    after: dict[Path, str] = {}
    for row in rows:
        path = _file(root, folder.resolve(), row)
        before.setdefault(path, _text(path))
        after[path] = _with(row, path, after.get(path, before[path]))
    write("".join(_unified(root, path, before[path], after[path]) for path in sorted(after)))


def _with(row: "m.EmergencyRow", path: Path, text: str) -> str:
    from teleport.cli.patching import patched

    if row.resource is None or row.beneath is None:
        raise Refused(f"you may not read {row.kind}/{row.name}, or this tctl cannot", hint="the verb readnosecrets")
    return patched(text, f"{row.kind}/{row.name}", row.beneath, row.resource, file=str(path))


def _unified(root: Path, path: Path, before: str, after: str) -> str:
    from teleport.cli.patching import unified

    return unified(path.relative_to(root).as_posix(), before, after)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from None


def _root(folder: Path) -> Path:
    """The top of the checkout; the folder itself where there is none."""
    found = _git(folder, "rev-parse", "--show-toplevel")
    return Path(found.strip()).resolve() if found else folder.resolve()


def _file(root: Path, folder: Path, row: "m.EmergencyRow") -> Path:
    """The file that declares it: below the folder, or wherever in the checkout the policy is. Raises NotFound."""
    if (folder / row.file).is_file() and (folder / row.file).resolve().is_relative_to(root):
        return (folder / row.file).resolve()
    tracked = _git(root, "ls-files", "-z").split("\0")
    found = [name for name in tracked if row.file and (name == row.file or name.endswith(f"/{row.file}"))]
    if len(found) != 1:
        what = f"{row.file or 'the file'}, which declares {row.kind}/{row.name},"
        raise NotFound(f"{what} is {'not' if not found else 'more than once'} below {root}", hint="give --dir DIR")
    return root / found[0]


def _git(folder: Path, *arguments: str) -> str:
    """What git says there; nothing where it has nothing to say."""
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout if found.returncode == 0 else ""
