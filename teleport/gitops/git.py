"""A branch of a repository as a source: fetched, judged as a commit, and read without a checkout.

A commit that is not signed as demanded, or that does not contain the last one applied, is refused with its name; what
is in force stays. A repository that cannot be reached is tried again. Who may accept a way back is not known here.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from teleport.core.aio import Clock
from teleport.core.errors import BadInput, Conflict, Problem, Unavailable
from teleport.gitops.address import GitAddress
from teleport.gitops.folder import MAX_FILES
from teleport.gitops.mark import Mark, MarkFile
from teleport.gitops.mirror import GitCredentials, Mirror
from teleport.gitops.provenance import Override, Provenance
from teleport.gitops.revision import Commit, Repository
from teleport.gitops.signatures import Verification, Verifier
from teleport.gitops.tree import SUFFIXES
from teleport.resources.load import Loaded, Loader

__all__ = ["GitSettings", "GitSource"]

log = logging.getLogger(__name__)

_MOST_NEW: Final = 10_000
"""New commits that are verified at once."""
_SHORTEST: Final = 7


@dataclass(frozen=True)
class GitSettings:
    address: GitAddress
    credentials: GitCredentials
    verification: Verification | None = None


class GitSource:
    """Loads the head of a branch. `remembered` tells the commit that the database says was applied last."""

    kind = "git"

    def __init__(
        self, folder: Path, settings: GitSettings, *, name: str, clock: Clock,
        remembered: Callable[[], Awaitable[str]],
    ) -> None:  # fmt: skip
        self.name, self._address, self._clock, self._remembered = name, settings.address, clock, remembered
        self._mirror = Mirror(folder / "mirror.git", settings.address, settings.credentials)
        self._repository = Repository(self._mirror.folder)
        self._verifier = Verifier(self._mirror, settings.verification) if settings.verification is not None else None
        self._marks = MarkFile(folder / "mark.json")
        self._loader = Loader(source=name)
        self._history = _History(self._mirror, settings.address.path)
        self._refused = ""
        self._loaded = Loaded()
        self._noticed: _Noticed | None = None
        self._behind: tuple[str, Provenance] | None = None
        self._marking = asyncio.Lock()

    @property
    def place(self) -> str:
        return str(self._address)

    @property
    def path(self) -> str:
        """The folder of the repository that holds the policy."""
        return self._address.path

    @property
    def mirror(self) -> Mirror:
        return self._mirror

    @property
    def verifier(self) -> Verifier | None:
        """Who judges signatures, if they are demanded."""
        return self._verifier

    async def load(self) -> Loaded:
        """What the head of the branch declares, or why it is not obeyed. Raises Unavailable if it is not reached."""
        head = await self._mirror.fetch()
        async with self._marking:
            self._noticed = None
            refusal = await self._refusal(head)
        if refusal is not None:
            return Loaded(problems=(refusal[1],), commit=head, refusal=refusal[0])
        if self._loaded.commit != head:
            self._loaded = await self._load(head)
        return self._loaded

    async def _load(self, head: str) -> Loaded:
        tree = f"{head}:{self._address.path}"
        entries = await self._mirror.entries(tree)
        links = any(link for _, _, link in entries)
        wanted = [id_ for name, id_, _ in entries if links or name.endswith(SUFFIXES)]
        if 0 < len(wanted) <= MAX_FILES:
            await self._mirror.complete(tree, wanted)
        files, problems = await asyncio.to_thread(self._read, head)
        commits = await self._history.at(head)
        loaded = await asyncio.to_thread(self._declared, files, commits, head)
        return replace(loaded, problems=(*problems, *loaded.problems), commit=head)

    async def applied(self, commit: str) -> None:
        """Note that a commit is in force: none that lacks it may follow."""
        fresh = Mark(applied=commit)
        async with self._marking:
            if await asyncio.to_thread(self._marks.read) != fresh:
                await asyncio.to_thread(self._marks.write, fresh)

    async def within(self, commit: str, head: str) -> str:
        """The full name of a commit that a head contains; nothing if it does not, or knows none of that name."""
        full = await self._mirror.named(commit) if head else ""
        return full if full and await self._mirror.descends(head, full) else ""

    async def accept(self, commit: str) -> str:
        """Let a commit that was refused as a way back follow, once; its full name. Raises Conflict for any other."""
        async with self._marking:
            return await self._accept(commit)

    async def _accept(self, commit: str) -> str:
        if not self._refused or len(commit) < _SHORTEST or not self._refused.startswith(commit.lower()):
            what = f"the commit {self._refused}" if self._refused else "no commit"
            raise Conflict(f"{self.name} refuses {what} as a way back, not {commit}", hint="see tctl policy status")
        mark = await asyncio.to_thread(self._marks.read)
        await asyncio.to_thread(self._marks.write, replace(mark, accepted=self._refused))
        return self._refused

    # -- whether a commit may be obeyed

    async def _refusal(self, head: str) -> tuple[str, Problem] | None:
        """Why a commit is not even looked at, in one word and in full."""
        mark, past = await self._remembers()
        back = [one for one in past if not await self._mirror.descends(head, one)]
        self._refused = head if back and mark.accepted != head else ""
        if self._refused:
            message = f"does not contain {back[0]}, which was applied before: the branch went back or was rewritten"
            return "WentBack", _about(head, message, f"tctl policy accept-rollback {head} --reason … permits it")
        if self._verifier is None or head in past:
            return None
        return await self._unverified(self._verifier, head)

    async def _remembers(self) -> tuple[Mark, Sequence[str]]:
        """How far it came, as the file and the database have it."""
        mark = await asyncio.to_thread(self._marks.read)
        return mark, [one for one in dict.fromkeys((mark.applied, await self._remembered())) if one]

    async def _unverified(self, verifier: Verifier, head: str) -> tuple[str, Problem] | None:
        """Every new commit must be signed; the last one approved, for it is that one which comes into force."""
        noticed = await self._notice(head)
        if len(noticed.new) > _MOST_NEW:
            return "Unverified", _about(head, f"is more than {_MOST_NEW} commits ahead of what is in force", "")
        for commit in noticed.new:
            fault = await verifier.fault(commit, seen=noticed.seen[commit])
            if fault:
                return "Unverified", _about(commit, fault, "")
        lacking = await verifier.lacking(head, seen=noticed.seen[head], tags_seen=noticed.of(noticed.approvals))
        if lacking.people:
            people = "another allowed signer" if lacking.people == 1 else f"{lacking.people} other allowed signers"
            vain = f"; a tag is there that does not count: {lacking.in_vain}" if lacking.in_vain else ""
            hint = f"git tag -s approve/{head} {head}"
            return "Unapproved", _about(head, f"needs the approval of {people}{vain}", hint)
        return None

    async def _notice(self, head: str) -> "_Noticed":
        """What is new of a commit and what is said of it, each with when it was seen first: by now, if it was not."""
        if self._noticed is not None and self._noticed.new[-1] == head:
            return self._noticed
        mark, past = await self._remembers()
        known = [one for one in past if await self._mirror.knows(one)]
        line = await self._mirror.line(known[0] if known else "", head, _MOST_NEW + 1)
        new = [*(one for one in line if one != head), head]
        approvals, overrides = await asyncio.gather(self._mirror.approvals(head), self._mirror.overrides(head))
        noticed = mark.noticing([*new, *approvals, *(tag for _, tag in overrides)], self._clock.time())
        if noticed != mark and head not in past:
            await asyncio.to_thread(self._marks.write, noticed)
        self._noticed = _Noticed(new, approvals, overrides, noticed.seen)
        return self._noticed

    # -- who stands behind a commit, where that is asked

    async def provenance(self, commit: str) -> Provenance:
        """Who signed what comes into force with a commit that was loaded, and who approved it."""
        if self._verifier is None:
            return Provenance()
        async with self._marking:
            known, in_force = self._behind, (await self._remembers())[1]
            if known is not None and known[0] == commit and commit in in_force:
                return known[1]
            noticed = await self._notice(commit)
            signers = [await self._verifier.signer(one, seen=noticed.seen[one]) for one in noticed.new[-_MOST_NEW:]]
            approvers = await self._verifier.approvers(commit, noticed.of(noticed.approvals))
        found = Provenance(tuple(dict.fromkeys(one for one in signers if one is not None)), tuple(approvers))
        self._behind = commit, found
        return found

    async def overrides(self, commit: str) -> list[Override]:
        """Who signed that a commit that was loaded comes into force though a guard refuses it."""
        if self._verifier is None:
            return []
        async with self._marking:
            noticed = await self._notice(commit)
            return [
                Override(guard, signer)
                for guard, tag in noticed.overrides
                for signer in await self._verifier.overriders(commit, guard, noticed.of([tag]))
            ]

    # -- what a commit says

    def _read(self, head: str) -> tuple[list[tuple[str, bytes]], list[Problem]]:
        try:
            files, problems = self._repository.read(Commit(head, self._address.path))
        except BadInput as error:
            return [], [_about(head, error.message, "")]
        kept = [(name, data) for name, data in files if _printable(name)]
        odd = [Problem(repr(name), 0, 0, "its name is not UTF-8") for name, _ in files if not _printable(name)]
        return kept, [*(_utf8(one) for one in problems), *odd]

    def _declared(self, files: Sequence[tuple[str, bytes]], commits: Mapping[str, str], head: str) -> Loaded:
        """What files declare, each resource with the commit that changed its file last."""
        loaded = self._loader.load(files)
        resources = tuple(
            one.with_origin(replace(one.origin, commit=commits.get(self._full(one.origin.file), head)))
            for one in loaded.resources
        )
        return replace(loaded, resources=resources)

    def _full(self, name: str) -> str:
        return f"{self._address.path}/{name}" if self._address.path else name


@dataclass(frozen=True)
class _Noticed:
    """What is known of a commit before it is judged."""

    new: Sequence[str]
    """It and those before it that are not in force yet; it comes last."""
    approvals: Sequence[str]
    overrides: Sequence[tuple[str, str]]
    """Guards and tags."""
    seen: Mapping[str, float]

    def of(self, tags: Sequence[str]) -> Mapping[str, float]:
        return {tag: self.seen[tag] for tag in tags}


class _History:
    """Which commit changed each file last. Walked once, then by increments."""

    def __init__(self, mirror: Mirror, path: str) -> None:
        self._mirror, self._path = mirror, path
        self._commits: Mapping[str, str] = {}
        self._at = ""

    async def at(self, head: str) -> Mapping[str, str]:
        if self._at != head:
            forward = bool(self._at) and await self._mirror.descends(head, self._at)
            since, known = (self._at, self._commits) if forward else ("", {})
            try:
                self._commits = {**known, **await self._mirror.touched(since, head, self._path)}
            except Unavailable as error:
                log.warning("the history is not known, so that all files are said to be of %s: %s", head, error)
                self._commits = {}
            self._at = head
        return self._commits


def _about(commit: str, message: str, hint: str) -> Problem:
    return Problem(f"commit {commit}", 0, 0, message, hint)


def _printable(name: str) -> bool:
    return not re.search("[\ud800-\udfff]", name)


def _utf8(problem: Problem) -> Problem:
    return problem if _printable(problem.file) else replace(problem, file=repr(problem.file))
