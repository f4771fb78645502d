"""`tctl edit`: change a resource in an editor. What was typed is never lost."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from teleport.cli.options import split_ref
from teleport.cli.tctl import Target
from teleport.core.errors import BadInput, Invalid, Problem, Refused, TeleportError
from teleport.core.output import printable, write

if TYPE_CHECKING:
    from teleport.api import models as m

__all__ = ["edit"]

_MARK: Final = "#~ "
"""Begins the lines that we put on top of the file; they are taken off again."""
_FILE: Final = "the edited text"
"""Its name in the places of faults."""


@click.command()
@click.argument("what", metavar="KIND/NAME")
@click.pass_obj
def edit(target: Target, /, what: str) -> None:
    """Change a resource in the editor that $VISUAL or $EDITOR names.

    If the cluster refuses the change, the editor opens again with the reasons on top; closing it without another
    change gives up. If somebody else changed the resource meanwhile, nothing is overwritten. Whatever could not be
    applied stays in a file whose name is printed.

    Example: EDITOR=nano tctl edit role/dev
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask
    from teleport.cli.documents import to_yaml
    from teleport.resources.kinds import KINDS

    kind, name = split_ref(what)
    before = ask(target, r.RESOURCE, m.ResourceRead(kind=kind, name=name, secrets=KINDS[kind].secret))
    _check_editable(before, kind, name)
    path = _temporary(kind, name)
    try:
        changed = _Edit(target, before.revision, to_yaml([_without_revision(before)]), path).run(kind, name)
    except TeleportError as error:
        path.write_text(_without_notes(path.read_text()))
        raise _with_place(error, path) from None
    path.unlink()
    write(f"{kind}/{printable(name)} {'updated' if changed else 'unchanged'}")


class _Edit:
    """One round after another through the editor, until the cluster takes the text or the person gives up."""

    def __init__(self, target: Target, revision: int, text: str, path: Path) -> None:
        self._target, self._revision, self._path = target, revision, path
        self._tried = text

    def run(self, kind: str, name: str) -> bool:
        """Whether anything was changed. Raises what the cluster answered last."""
        refusal: TeleportError | None = None
        notes: Sequence[str] = (f"Editing {kind}/{name}. Lines that begin like this one are left out.",)
        while True:
            self._path.write_text(_with_notes(notes, self._tried))
            _open_editor(self._path)
            text = _without_notes(self._path.read_text())
            if not text.strip() or text == self._tried:
                if refusal is None:
                    return False
                raise refusal
            self._tried = text
            try:
                self._apply(text, kind, name)
                return True
            except Invalid as error:
                refusal, notes = error, _notes_of(error.problems)
            except (BadInput, Refused) as error:
                refusal, notes = error, ("The cluster refused this:", *error.message.splitlines())

    def _apply(self, text: str, kind: str, name: str) -> None:
        from teleport.api import models as m
        from teleport.api import routes as r
        from teleport.cli.admin import ask
        from teleport.resources.load import load

        loaded = load(text.encode(), file=_FILE)
        if loaded.problems:
            raise Invalid(loaded.problems)
        if [(one.kind, one.name) for one in loaded.resources] != [(kind, name)]:
            raise BadInput(f"the file must declare {kind}/{name} and nothing else")
        files = (m.PolicyFile(file=_FILE, text=text),)
        ask(self._target, r.APPLY, m.ApplyRequest(files=files, replace=True, expected_revision=self._revision))


def _check_editable(found: "m.Resource", kind: str, name: str) -> None:
    """Before anything is typed in vain. The cluster checks it again."""
    from teleport.cli.documents import declared_in

    if found.source == "presence":
        raise Refused(f"{kind}/{name} reports itself", hint="declare a node of its host name to give it labels")
    if found.source == "preset":
        raise Refused(f"{kind}/{name} is a part of every cluster", hint=f"declare a {kind} of this name to replace it")
    if found.source != "api":
        raise Refused(
            f"{kind}/{name} is declared in {declared_in(found)} and can only be changed there",
            hint=f"edit {found.file or found.source} in the source {found.source}",
        )


def _without_revision(found: "m.Resource") -> "m.Resource":
    body: dict[str, Any] = dict(found.resource)
    body["metadata"] = {key: value for key, value in body["metadata"].items() if key != "revision"}
    return found.model_copy(update={"resource": body})


def _temporary(kind: str, name: str) -> Path:
    safe = "".join(char if char.isalnum() or char in "-_." else "_" for char in name)[:64]
    descriptor, path = tempfile.mkstemp(prefix=f"tctl-{kind}-{safe}-", suffix=".yaml")
    os.close(descriptor)
    return Path(path)


def _open_editor(path: Path) -> None:
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        status = subprocess.run([*shlex.split(command), str(path)], check=False).returncode
    except (OSError, ValueError) as error:
        raise BadInput(f"the editor {command} cannot be started: {error}", hint="set EDITOR") from None
    if status != 0:
        raise BadInput(f"the editor {command} ended with status {status}; nothing was changed")


def _with_notes(notes: Iterable[str], text: str) -> str:
    return "".join(f"{_MARK}{printable(note)}\n" for note in notes) + text


def _without_notes(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(_MARK.rstrip()))


def _notes_of(problems: Sequence[Problem]) -> list[str]:
    """The faults as notes, with the lines as they are below these very notes."""
    notes = ["The cluster refused this, in the lines below:"]
    height = len(problems) + len(notes)
    for one in problems:
        place = f"line {one.line + height}, column {one.column}: " if one.file == _FILE and one.line else ""
        hint = f" ({one.hint})" if one.hint else ""
        elsewhere = f"{one.file}:{one.line}: " if one.file != _FILE else ""
        notes.append(f"{place or elsewhere}{one.message}{hint}")
    return notes


def _with_place(error: TeleportError, path: Path) -> TeleportError:
    """The same error, saying where the text is."""
    kept = f"what you wrote is in {path}"
    hint = f"{error.hint}; {kept}" if error.hint else kept
    if isinstance(error, Invalid):
        return Invalid(
            [replace(one, file=str(path)) if one.file == _FILE else one for one in error.problems], hint=hint
        )
    return type(error)(error.message, hint=hint)
