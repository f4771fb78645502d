"""`tctl policy fmt`: lay out policy files, keeping every comment and what they mean."""

import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from teleport.cli.options import output_option
from teleport.core.errors import BadInput, Invalid, Problem, Refused, TeleportError
from teleport.core.output import printable, to_json, write

__all__ = ["fmt"]

_STDIN: Final = "-"
_DIFFERS: Final = 1


@dataclass(frozen=True)
class _File:
    """A policy file as it is, and as it should be."""

    name: str
    path: Path
    before: str
    after: str


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--check", is_flag=True, help="Write nothing; name what would change, and exit with 1 if anything would.")
@click.option("--diff", "as_diff", is_flag=True, help="The same, showing what would change.")
@output_option()
def fmt(paths: tuple[str, ...], check: bool, as_diff: bool, form: str) -> int:
    """Lay out policy files: order of keys, indentation, lists. Comments and meaning stay.

    A PATH is a file, a folder of policy (the current one if none is named), or - for standard input, which goes to
    standard output. Each result is read again and compared with the file before anything is written: what it says
    must be the same, and every comment be there. Files with faults are told and left as they are, with exit status 2;
    JSON is passed over, for it would be YAML afterwards.

    Example: tctl policy fmt --check policies
    """
    if _STDIN in paths:
        return _standard_input(paths, check=check, as_diff=as_diff)
    found, problems = _look(_named(paths or (".",)))
    changed = [one for one in found if one.before != one.after]
    if not (check or as_diff):
        from teleport.cli.files import replace_file

        for one in changed:
            replace_file(one.path, one.after)
    _tell(changed, len(found), form=form, dry=check or as_diff, as_diff=as_diff)
    if problems:
        raise Invalid(problems)
    return _DIFFERS if changed and (check or as_diff) else 0


def _standard_input(paths: Sequence[str], *, check: bool, as_diff: bool) -> int:
    from teleport.resources.yaml_format import formatted

    if len(paths) > 1:
        raise BadInput("- stands alone", hint="lay out standard input and files one after the other")
    data = sys.stdin.buffer.read()
    text = formatted(data, file="<stdin>")
    before = data.decode("utf-8-sig")
    if as_diff:
        write(_diff("<stdin>", before, text).removesuffix("\n"))
    elif not check:
        sys.stdout.write(text)
    return _DIFFERS if (check or as_diff) and text != before else 0


def _named(paths: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """The name and the place of each file, once. Raises BadInput for what is none."""
    from teleport.gitops.tree import policy_files

    seen: set[Path] = set()
    for text in paths:
        path = Path(text)
        if path.is_dir():
            rows = [(str(path / one.name), Path(one.target)) for one in policy_files(path) if not one.refusal]
        elif path.is_file():
            rows = [(text, path.resolve())]
        else:
            raise BadInput(f"{text} is neither a file nor a folder")
        for name, target in rows:
            if target not in seen and not name.endswith(".json"):
                seen.add(target)
                yield name, target


def _look(files: Iterable[tuple[str, Path]]) -> tuple[list[_File], list[Problem]]:
    """Every file as it should be, and what is wrong with the others."""
    from teleport.resources.yaml_format import formatted

    found: list[_File] = []
    problems: list[Problem] = []
    for name, path in files:
        try:
            data = path.read_bytes()
            found.append(_File(name, path, data.decode("utf-8", "replace"), formatted(data, file=name)))
        except OSError as error:
            problems.append(Problem(name, 0, 0, f"cannot be read: {error.strerror}"))
        except Invalid as error:
            problems += error.problems
        except Refused as error:
            problems.append(_as_problem(name, error))
    return found, problems


def _as_problem(name: str, error: TeleportError) -> Problem:
    return Problem(name, 0, 0, error.message.removeprefix(f"{name} "), error.hint)


def _tell(changed: Sequence[_File], count: int, *, form: str, dry: bool, as_diff: bool) -> None:
    if form == "json":
        write(to_json({"changed": [one.name for one in changed], "unchanged": count - len(changed)}))
        return
    for one in changed:
        if as_diff:
            write(_diff(one.name, one.before, one.after).removesuffix("\n"))
        else:
            write(f"{'would lay out' if dry else 'laid out'} {printable(one.name)}")
    if not changed and not as_diff:
        write(f"{count} {'file is' if count == 1 else 'files are'} laid out already")


def _diff(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(printable(line, multiline=True) for line in lines)
