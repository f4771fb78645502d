"""The two sides of a plan: a folder, a commit, or what a running cluster has in force. Decides what a word means.

A folder is meant if there is one of that name; otherwise a revision of the repository around the current folder, as
`REVISION` or `REVISION:PATH`. A revision without a path means the folder that the other side names.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from teleport.access.readers import Reader
from teleport.core.errors import BadInput, Invalid, Problem
from teleport.gitops.ceiling import Ceiling
from teleport.gitops.folder import MAX_BYTES, read_folder
from teleport.gitops.order import Ref
from teleport.gitops.revision import Repository
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from teleport.resources.load import Loaded, Loader, load
from teleport.resources.node import Node
from teleport.resources.secret_ref import plain_secrets

__all__ = ["LIVE", "State", "offline_state", "read_inventory"]

LIVE = "live"
"""The word for what a running cluster has in force."""


@dataclass(frozen=True)
class State:
    """One side: what is declared, and what of it belongs to others than the source that is planned for."""

    title: str
    resources: tuple[AnyResource, ...]
    problems: tuple[Problem, ...] = ()
    loaded: Loaded = field(default_factory=Loaded)
    others: Mapping[Ref, AnyResource] = field(default_factory=dict)
    owner: str = ""
    """The source that is planned for, where it has a name."""
    hosts: tuple[Node, ...] | None = None
    """The hosts that report themselves, where somebody knows."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ceiling: Ceiling | None = None
    """In a running cluster, of the source that is planned for, where it has one."""
    bounded: frozenset[str] = frozenset()
    """In a running cluster, the sources that have one."""
    readers: Sequence[Reader] = ()
    """The services that would enforce it."""


def offline_state(word: str, beside: str, loader: Loader) -> State:
    """A folder or a commit. `beside` is what the other side is called: its folder is the one meant in a commit."""
    if not word:
        raise BadInput("an empty word names neither a folder nor a commit", hint="is a variable of your shell not set?")
    folder = Path(word)
    if folder.is_dir():
        files, problems = read_folder(folder)
        return _state(word, files, problems, loader)
    revision, colon, path = word.partition(":")
    near = Path(beside) if not colon and Path(beside).is_dir() else Path()
    repository = Repository(near)
    if not colon:
        path = _within(repository, near) if _in_repository(repository) else ""
    try:
        commit = repository.commit(revision, path)
    except BadInput as error:
        raise BadInput(
            f"{word} is neither a folder nor a commit: {_why(repository, error)}",
            hint="name a folder, or a revision as git does",
        ) from None
    files, problems = repository.read(commit)
    where = f":{commit.path}" if commit.path else ""
    short = commit.id[:12]
    title = f"{short}{where}" if commit.id.startswith(revision) else f"{revision}{where} ({short})"
    return _state(title, files, problems, loader)


def _state(title: str, files: Sequence[tuple[str, bytes]], problems: Sequence[Problem], loader: Loader) -> State:
    loaded = loader.load(files)
    secrets = plain_secrets((*loaded.resources, *loaded.remnants))
    return State(title, loaded.resources, (*problems, *loaded.problems, *secrets), loaded)


def _why(repository: Repository, error: BadInput) -> str:
    try:
        repository.ask("rev-parse", "--git-dir")
    except BadInput as why:
        owned_by_others = "ownership" in why.message
        return why.message if owned_by_others else f"{repository.folder.absolute()} is in no git repository"
    return error.message


def _in_repository(repository: Repository) -> bool:
    try:
        return repository.root.is_dir()
    except BadInput:
        return False


def _within(repository: Repository, folder: Path) -> str:
    """A folder of the working tree as a path in its commits."""
    inside = folder.resolve().relative_to(repository.root.resolve())
    return "" if inside == Path() else inside.as_posix()


def read_inventory(path: Path) -> tuple[Node, ...]:
    """The hosts of a file of `node` documents. Raises what is wrong with it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise BadInput(f"{path} is larger than {MAX_BYTES} bytes")
    if data.lstrip().startswith(b"["):
        return _from_json(data, path)
    loaded = load(data, file=str(path))
    if loaded.problems:
        raise Invalid(loaded.problems)
    return _nodes(loaded.resources, path)


def _from_json(data: bytes, path: Path) -> tuple[Node, ...]:
    """A list, as `tctl policy inventory -o json` prints it: a big fleet is read in seconds."""
    try:
        return _nodes([from_dict(one) for one in json.loads(data)], path)
    except (ValueError, AttributeError) as error:
        raise BadInput(f"{path}: {error}", hint="make one with `tctl policy inventory`") from None


def _nodes(resources: Sequence[AnyResource], path: Path) -> tuple[Node, ...]:
    other = next((one for one in resources if not isinstance(one, Node)), None)
    if other is not None:
        raise BadInput(f"{path} holds {other.ref}; an inventory holds nodes alone")
    return tuple(one for one in resources if isinstance(one, Node))
