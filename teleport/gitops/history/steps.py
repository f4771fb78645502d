"""What each commit of a branch changed below a folder: one run of git, along the first parents, oldest first.

A merge counts as one commit that changed all it brought. Knows nothing of what the files say.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from teleport.core.errors import BadInput
from teleport.gitops.revision import Commit, Entry, Repository

__all__ = ["GONE", "Line", "Step", "commit_at", "cut_off", "last_change", "read_line"]

GONE: Final = "000000"
"""As the mode of an entry: there is nothing of that name any more."""

_LOG: Final = (
    "-c", "log.showRoot=true", "-c", "log.follow=false", "-c", "log.showSignature=false", "log", "--first-parent",
    "--diff-merges=first-parent", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--no-notes",
    "--no-relative", "--ignore-submodules=none",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A commit, and what is different with it."""

    commit: str
    when: float
    """When it says that it was made; seconds since the epoch."""
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Line:
    """Part of a branch, up to a commit."""

    steps: tuple[Step, ...]
    base: Step | None = None
    """Where it begins, if there is more before; otherwise it begins with nothing."""


def read_line(repository: Repository, until: Commit, limit: int) -> Line:
    """The last so many commits that changed something in the folder, oldest first."""
    log = repository.ask(
        *_LOG, "--raw", "--no-abbrev", "-z", "--format=%x01%H %ct", f"--max-count={limit + 1}", until.id,
        *_scope(until.path),
    )  # fmt: skip
    steps = list(_parsed(log, f"{until.path}/" if until.path else ""))[::-1]
    if len(steps) > limit:
        return Line(tuple(steps[1:]), Step(steps[0].commit, steps[0].when))
    base = cut_off(repository, until)
    return Line(tuple(one for one in steps if base is None or one.commit != base.commit), base)


def cut_off(repository: Repository, until: Commit) -> Step | None:
    """Where a shallow clone begins: git shows that commit as if it had made all there was by then."""
    if repository.ask("rev-parse", "--is-shallow-repository").strip() != b"true":
        return None
    listed = repository.ask("rev-list", "--first-parent", "--max-parents=0", "--timestamp", until.id).split()
    if len(listed) != 2:
        return None
    when, commit = listed[0].decode(), listed[1].decode()
    header = repository.ask("cat-file", "commit", commit).partition(b"\n\n")[0]
    return Step(commit, float(when)) if b"\nparent " in header else None


def last_change(repository: Repository, until: Commit, name: str) -> str:
    """The commit that changed a file of the folder last; nothing if none did."""
    path = f"{until.path}/{name}" if until.path else name
    return repository.ask(*_LOG, "--format=%H", "--max-count=1", until.id, *_scope(path)).decode().strip()


def commit_at(repository: Repository, until: Commit, moment: float) -> str:
    """The newest commit that says it was made by then. Raises BadInput if there is none."""
    listed = repository.ask("rev-list", "--first-parent", "--max-count=1", f"--before=@{int(moment)} +0000", until.id)
    if not listed.strip():
        raise BadInput("the history does not go back that far", hint="name a later time, or a commit")
    return listed.decode().strip()


def _scope(path: str) -> list[str]:
    return ["--", f":(top,literal){path}"] if path else ["--"]


def _parsed(log: bytes, prefix: str) -> Iterator[Step]:
    """Commits, each followed by pairs of what changed and of which name; names may be anything but empty."""
    words = iter(log.decode(errors="surrogateescape").split("\0"))
    step: Step | None = None
    entries: list[Entry] = []
    for word in words:
        head = word.removeprefix("\n")
        if head.startswith(":"):
            _, mode, _, id_, _ = head.removeprefix(":").split(" ")
            name = next(words)
            if name.startswith(prefix):
                entries.append(Entry(mode, id_, name.removeprefix(prefix)))
        elif head.startswith("\x01"):
            if step is not None:
                yield Step(step.commit, step.when, tuple(entries))
            commit, _, when = head[1:].partition(" ")
            step, entries = Step(commit, float(when)), []
    if step is not None:
        yield Step(step.commit, step.when, tuple(entries))
