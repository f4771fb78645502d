"""The policy files of one commit of a git repository, read from its objects: no working tree, no index, no network.

The `git` program does it, with hooks, filters, replacements and fetching off, within bounds of size and time. What
counts as policy is what counts in a folder (`tree`); links lead to files of the same commit or nowhere.
"""

import os
import posixpath
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from teleport.core.errors import BadInput, Problem, TeleportError, Unavailable
from teleport.gitops.folder import MAX_BYTES, MAX_FILES
from teleport.gitops.tree import SUFFIXES

__all__ = ["Batch", "Commit", "Entry", "Repository", "choose", "git_environment", "not_policy"]

_SECONDS: Final = 120.0
"""How long git may take for one answer."""
_MAX_LISTING: Final = 64 << 20
_FETCH: Final = "git fetch --refetch --no-filter, or make a clone without --filter"
_LINK, _SUBMODULE, _FOLDER = "120000", "160000", "040000"
_OUT, _OUT_HINT = "a link that leads out of the folder", "put what it leads to here"
_LFS: Final = b"version https://git-lfs.github.com/spec/"

_OFF: Final = (
    "--no-replace-objects", "--no-optional-locks", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false",
    "-c", "protocol.allow=never", "-c", "core.quotePath=false",
)  # fmt: skip


def git_environment() -> dict[str, str]:
    """What git is told of the surroundings: who the caller is, for the sake of safe.directory, and nothing else."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_CONFIG_HOME") if name in os.environ}
    return {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}


@dataclass(frozen=True)
class Commit:
    """A commit, and the folder in it that holds the policy; an empty path is all of it."""

    id: str
    path: str = ""


@dataclass(frozen=True)
class Entry:
    """Something in a tree."""

    mode: str
    id: str
    name: str
    """Relative to the policy's folder."""


class Repository:
    """A repository on this machine, around a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def root(self) -> Path:
        """The top of the working tree. Raises BadInput where there is none."""
        return Path(self.ask("rev-parse", "--show-toplevel").decode().rstrip("\n"))

    def commit(self, revision: str, path: str = "") -> Commit:
        """Raises BadInput for what names no commit."""
        if not revision or revision.startswith("-") or "\0" in revision:
            raise BadInput(f"{revision!r} is not a revision")
        try:
            found = self.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        except _GitFailed as error:
            reason = f": {error.message}" if "ownership" in error.message else ""
            raise BadInput(f"{revision} is no commit of the repository at {self.folder}{reason}") from None
        clean = posixpath.normpath(path) if path else ""
        if clean.startswith(("/", "../")) or clean == "..":
            raise BadInput(f"{path} is outside of the repository")
        return Commit(found.decode().strip(), "" if clean == "." else clean)

    def read(self, commit: Commit) -> tuple[list[tuple[str, bytes]], list[Problem]]:
        """Names and contents of the policy files, in the order a folder gives, and what could not be read."""
        entries = {entry.name: entry for entry in self.entries(commit)}
        if not entries and commit.path:
            raise BadInput(f"{commit.path} is no folder of commit {commit.id[:12]}")
        links, _ = self._contents([(name, one) for name, one in entries.items() if one.mode == _LINK][:MAX_FILES])
        targets = {name: os.fsdecode(target) for name, target in links}
        chosen, problems = choose(entries, targets)
        problems = [*problems, *self._away(commit, targets)]
        if len(chosen) > MAX_FILES:
            return [], [*problems, Problem(commit.path or ".", 0, 0, f"more than {MAX_FILES} files")]
        files, faults = self._contents(chosen)
        return files, [*problems, *faults]

    def _away(self, commit: Commit, links: Mapping[str, str]) -> Iterator[Problem]:
        """Links that lead out of the folder to what may be one itself: policy would be missed without a word."""
        for name, target in links.items():
            place = posixpath.normpath(posixpath.join(commit.path, posixpath.dirname(name), target))
            inside = not commit.path or f"{place}/".startswith(f"{commit.path}/")
            beyond = place.startswith(("/", "../")) or place == ".."
            if _hidden(name) or name.endswith(SUFFIXES) or (inside and not beyond):
                continue
            if beyond or self._mode(commit, place) in (_FOLDER, _LINK, _SUBMODULE):
                yield Problem(name, 0, 0, _OUT, _OUT_HINT)

    def _mode(self, commit: Commit, path: str) -> str:
        """What a path of a commit leads to; nothing where nothing is there."""
        if path == ".":
            return _FOLDER
        listing = self.ask("ls-tree", "-z", "--full-tree", "--end-of-options", commit.id, path)
        return listing.partition(b" ")[0].decode()

    def entries(self, commit: Commit) -> Iterator[Entry]:
        """Everything in the folder, whatever it is. Raises BadInput where there is none."""
        tree = f"{commit.id}:{commit.path}" if commit.path else commit.id
        try:
            listing = self.ask("ls-tree", "-r", "-z", "--full-tree", "--end-of-options", tree)
        except _GitFailed:
            raise BadInput(f"{commit.path} is no folder of commit {commit.id[:12]}") from None
        for line in listing.decode(errors="surrogateescape").split("\0"):
            if line:
                head, _, name = line.partition("\t")
                mode, _, id_ = head.split(" ")
                yield Entry(mode, id_, name)

    def _contents(self, chosen: Sequence[tuple[str, Entry]]) -> tuple[list[tuple[str, bytes]], list[Problem]]:
        """All of them in one run of git; it stops as soon as they are too much."""
        files: list[tuple[str, bytes]] = []
        problems: list[Problem] = []
        total = 0
        with self.objects() as batch:
            for name, entry in chosen:
                size = None
                with suppress(Unavailable):
                    size = batch.look(entry.id)
                total += size or 0
                if total > MAX_BYTES:
                    problems.append(Problem(name, 0, 0, f"more than {MAX_BYTES} bytes"))
                    break
                data = batch.take() if size is not None else None
                problem = not_policy(name, data)
                if problem is not None:
                    problems.append(problem)
                elif data is not None:
                    files.append((name, data))
        return files, problems

    @contextmanager
    def objects(self, *, seconds: float = _SECONDS) -> "Iterator[Batch]":
        """To read many objects in one run of git, which may last so long."""
        with self._running("cat-file", "--batch", stdin=subprocess.PIPE, seconds=seconds) as git:
            assert git.stdin is not None
            assert git.stdout is not None
            yield Batch(git.stdin, git.stdout)

    def ask(self, *arguments: str) -> bytes:
        """What git prints. Raises BadInput, with what git complains of."""
        with self._running(*arguments, stdin=subprocess.DEVNULL) as git:
            assert git.stdout is not None
            assert git.stderr is not None
            out = git.stdout.read(_MAX_LISTING + 1)
            if len(out) > _MAX_LISTING:
                raise TeleportError(f"the commit lists more than {_MAX_LISTING} bytes of names")
            errors = git.stderr.read(4096).decode(errors="replace")
            status = git.wait()
        if status != 0:
            raise _GitFailed(errors.strip().removeprefix("fatal: ") or f"git exited with {status}")
        return out

    @contextmanager
    def _running(self, *arguments: str, stdin: int, seconds: float = _SECONDS) -> "Iterator[subprocess.Popen[bytes]]":
        """Git at work; it is killed afterwards, and when it takes too long."""
        command = ["git", "-C", str(self.folder), *_OFF, *arguments]
        try:
            git = subprocess.Popen(
                command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=git_environment()
            )
        except FileNotFoundError:
            raise TeleportError("there is no git on this machine", hint="install git") from None
        alarm = threading.Timer(seconds, git.kill)
        alarm.start()
        try:
            with git, suppress(BrokenPipeError):
                try:
                    yield git
                finally:
                    git.kill()
        finally:
            alarm.cancel()


class Batch:
    """Objects by their ids: `look` at one, then perhaps `take` it.

    Of a clone that leaves objects with the server, some versions of git give up at the first that is not there: from
    then on, all raise Unavailable.
    """

    def __init__(self, asked: IO[bytes], answers: IO[bytes]) -> None:
        self._asked, self._answers = asked, answers
        self._size = 0

    def look(self, id_: str, kind: str = "blob") -> int | None:
        """Its size in bytes; None if there is none of that kind in this clone. Then `take` it, or stop asking."""
        self._ask([id_])
        return self._head(id_, kind)

    def many(self, ids: Sequence[str]) -> dict[str, bytes | None]:
        """Some blobs in one turn; so few that git need not wait for us to read."""
        self._ask(ids)
        return {id_: self._content(self._head(id_, "blob")) for id_ in ids}

    def _ask(self, ids: Iterable[str]) -> None:
        with suppress(BrokenPipeError):
            self._asked.write("".join(f"{id_}\n" for id_ in ids).encode())
            self._asked.flush()

    def _head(self, id_: str, kind: str) -> int | None:
        line = self._answers.readline()
        if not line:
            raise Unavailable(f"{id_} is not in this clone, or git took too long", hint=_FETCH)
        head = line.decode(errors="replace").split()
        if len(head) != 3 or head[0] != id_:
            return None
        self._size = int(head[2])
        if head[1] != kind:
            self.take()
            return None
        return self._size

    def take(self) -> bytes:
        """The content of what was looked at."""
        return self._answers.read(self._size + 1)[:-1]

    def get(self, id_: str, kind: str = "blob") -> bytes | None:
        """An object, if it is there and not larger than policy may be."""
        return self._content(self.look(id_, kind))

    def _content(self, size: int | None) -> bytes | None:
        if size is not None and size > MAX_BYTES:
            raise TeleportError(f"an object of the repository is larger than {MAX_BYTES} bytes")
        return self.take() if size is not None else None


def not_policy(name: str, data: bytes | None) -> Problem | None:
    """Why this cannot be the content of a policy file; None stands for what is not there."""
    if data is None:
        return Problem(name, 0, 0, "is not in this clone", "fetch it: git fetch")
    if data.startswith(_LFS):
        return Problem(name, 0, 0, "a pointer to git LFS, not the file", "keep policy in git")
    return None


class _GitFailed(BadInput):
    """Git said no."""


def choose(entries: Mapping[str, Entry], links: Mapping[str, str]) -> tuple[list[tuple[str, Entry]], list[Problem]]:
    """The policy files among the entries: links to files followed, what cannot be read named."""
    chosen: list[tuple[str, Entry]] = []
    problems: list[Problem] = []
    for name in sorted(entries, key=_as_in_a_folder):
        entry = entries[name]
        if _hidden(name):
            continue
        if entry.mode == _SUBMODULE:
            problems.append(
                Problem(name, 0, 0, "a submodule, which is not read", "put the policy into this repository")
            )
        elif entry.mode == _LINK:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), links.get(name, "/")))
            there = entries.get(target)
            if any(one.startswith(f"{target}/") for one in entries):
                problems.append(Problem(name, 0, 0, "a link to a folder, which is not followed in a commit"))
            elif name.endswith(SUFFIXES) and there is not None and there.mode != _LINK:
                chosen.append((name, there))
            elif name.endswith(SUFFIXES):
                problems.append(Problem(name, 0, 0, _OUT, _OUT_HINT))
        elif name.endswith(SUFFIXES):
            chosen.append((name, entry))
    return chosen, problems


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _as_in_a_folder(name: str) -> tuple[tuple[int, str], ...]:
    """The order of `tree`: the files of a folder before those of the folders in it."""
    *folders, file = name.split("/")
    return (*((1, folder) for folder in folders), (0, file))
