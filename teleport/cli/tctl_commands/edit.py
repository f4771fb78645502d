"""`tctl edit`: change a resource in an editor, or for an emergency past its source. What was typed is never lost."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
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
@click.option("--break-glass", is_flag=True, help="For an emergency: change what a source declares, for a while.")
@click.option("--reason", metavar="TEXT", help="Why, with --break-glass; the audit log keeps it.")
@click.option("--ttl", metavar="SPAN", default="1h", show_default=True, help="For how long, with --break-glass.")
@click.option("--mfa-code", metavar="CODE", default="", help="A code of the second factor, for scripts.")
@click.option(
    "-f", "--filename", "file", metavar="FILE", type=click.Path(path_type=Path),
    help="With --break-glass: take the resource from a file, without an editor.",
)  # fmt: skip
@click.pass_obj
def edit(target: Target, /, what: str, break_glass: bool, file: Path | None, **how: str | None) -> None:
    """Change a resource in the editor that $VISUAL or $EDITOR names.

    If the cluster refuses the change, the editor opens again with the reasons on top; closing it without another
    change gives up. If somebody else changed the resource meanwhile, nothing is overwritten. Whatever could not be
    applied stays in a file whose name is printed.

    With --break-glass it changes what a folder or repository declares, without touching the declaration: at once, and
    until the time is over, when it is as it is declared again. That takes a rule that names the verb break_glass, a
    fresh code of the second factor, and a cluster that permits it. Roles with rules cannot be changed that way.

    Example: EDITOR=nano tctl edit role/dev
    """
    kind, name = split_ref(what)
    before = _read(target, kind, name)
    if break_glass:
        _edit_for_emergency(target, before, file, how)
        return
    if file is not None or how["reason"] or how["mfa_code"]:
        raise BadInput("--filename, --reason and --mfa-code go with --break-glass",
                       hint="tctl create --force replaces a resource by what a file says")  # fmt: skip
    _check_editable(before, kind, name)
    changed = _in_editor(before, _text_of(before), partial(_apply, target, before.revision))
    write(f"{kind}/{printable(name)} {'updated' if changed else 'unchanged'}")


def _read(target: Target, kind: str, name: str) -> "m.Resource":
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask
    from teleport.resources.kinds import KINDS

    return ask(target, r.RESOURCE, m.ResourceRead(kind=kind, name=name, secrets=KINDS[kind].secret))


def _apply(target: Target, revision: int, text: str) -> None:
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    files = (m.PolicyFile(file=_FILE, text=text),)
    ask(target, r.APPLY, m.ApplyRequest(files=files, replace=True, expected_revision=revision))


def _edit_for_emergency(target: Target, before: "m.Resource", file: Path | None, how: Mapping[str, str | None]) -> None:
    """Over what is in force, which may be another emergency change already."""
    from teleport.cli.emergency import Declaring, in_force_over

    if not (how["reason"] or "").strip():
        raise BadInput("an emergency change needs a reason", hint='--reason "what happened"')
    if before.source in ("presence", "preset"):
        _check_editable(before, before.resource["kind"], before.resource["metadata"]["name"])
    declaring = Declaring(target, reason=how["reason"] or "", ttl=how["ttl"] or "", code=how["mfa_code"] or "")
    kind, name = before.resource["kind"], before.resource["metadata"]["name"]
    there = in_force_over(target, f"{kind}/{name}")
    shown = (
        before if there is None or there.resource is None else before.model_copy(update={"resource": there.resource})
    )
    rows: list[m.EmergencyRow] = []

    def begin(text: str) -> None:
        where = str(file) if file is not None else _FILE
        seen = there.id if there is not None else ""
        rows.append(declaring.begin(text, where, revision=before.revision, replaces=seen))

    if file is not None:
        text = _content(file)
        _check(text, kind, name, str(file))
        begin(text)
    elif not _in_editor(before, _text_of(shown), begin):
        write("unchanged")
    for row in rows:
        declaring.tell(row)


def _content(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from None


def _text_of(resource: "m.Resource") -> str:
    from teleport.cli.documents import to_yaml

    return to_yaml([_without_revision(resource)])


def _in_editor(before: "m.Resource", text: str, send: Callable[[str], None]) -> bool:
    """Whether anything was changed. Raises what the cluster answered last, naming the file with what was typed."""
    kind, name = before.resource["kind"], before.resource["metadata"]["name"]
    path = _temporary(kind, name)
    try:
        changed = _Edit(send, text, path).run(kind, name)
    except TeleportError as error:
        path.write_text(_without_notes(path.read_text()))
        raise _with_place(error, path) from None
    path.unlink()
    return changed


class _Edit:
    """One round after another through the editor, until the cluster takes the text or the person gives up."""

    def __init__(self, send: Callable[[str], None], text: str, path: Path) -> None:
        self._send, self._path = send, path
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
                _check(text, kind, name, _FILE)
                self._send(text)
                return True
            except Invalid as error:
                refusal, notes = error, _notes_of(error.problems)
            except (BadInput, Refused) as error:
                refusal, notes = error, ("The cluster refused this:", *error.message.splitlines())


def _check(text: str, kind: str, name: str, file: str) -> None:
    from teleport.resources.load import load

    loaded = load(text.encode(), file=file)
    if loaded.problems:
        raise Invalid(loaded.problems)
    if [(one.kind, one.name) for one in loaded.resources] != [(kind, name)]:
        raise BadInput(f"the file must declare {kind}/{name} and nothing else")


def _check_editable(found: "m.Resource", kind: str, name: str) -> None:
    """Before anything is typed in vain. The cluster checks it again."""
    from teleport.cli.documents import declared_in

    if found.source == "presence":
        raise Refused(f"{kind}/{name} reports itself", hint="declare a node of its host name to give it labels")
    if found.source == "preset":
        raise Refused(f"{kind}/{name} is a part of every cluster", hint=f"declare a {kind} of this name to replace it")
    if found.source != "api":
        commit = f" (commit {found.commit})" if found.commit else ""
        raise Refused(
            f"{kind}/{name} is declared in {declared_in(found)}{commit} and can only be changed there",
            hint=f"edit {found.file or found.source} in the source {found.source};"
            f" in an emergency: tctl edit {kind}/{name} --break-glass",
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
