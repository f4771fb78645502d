"""A bare copy of one branch of a repository, kept by the `git` program: fetched by increments, never checked out.

Fetching runs without hooks, filters, submodules, prompts, redirects and transports other than the URL's own, with an
empty environment and secrets outside of its arguments. Blobs are left with a server that permits it, until asked for.
"""

import asyncio
import base64
import contextlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teleport.core.errors import Unavailable
from teleport.gitops.address import GitAddress
from teleport.gitops.program import Bounds, Ended, run

__all__ = ["GitCredentials", "Mirror"]

HEAD: Final = "refs/teleport/head"
APPROVALS: Final = "refs/tags/approve"
OVERRIDES: Final = "refs/tags/override"
_OFF: Final = (
    "--no-replace-objects", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.askPass=",
    "-c", "credential.helper=", "-c", "submodule.recurse=false", "-c", "fetch.recurseSubmodules=false",
    "-c", "http.followRedirects=false", "-c", "gc.autoDetach=false", "-c", "core.bigFileThreshold=16m",
    "-c", "core.quotePath=false", "-c", "log.showSignature=false",
)  # fmt: skip
_MOST_APPROVALS: Final = 50
"""Of one commit; whoever may push could make any number, and each is judged."""
_MOST_ASKED: Final = 5_000
"""Objects of one request to a server."""
_LEFTOVERS: Final = ("*.lock", "refs/**/*.lock", "objects/info/**/*.lock", "objects/pack/tmp_*", "objects/*/tmp_obj_*")
_NOT_READ: Final = "Could not read from remote repository."
"""What git says where ssh, in the line before, has said why."""
_NO_TRANSPORT: Final = "none"
"""As the list of permitted transports: git knows none of that name."""


@dataclass(frozen=True)
class GitCredentials:
    """Files that prove who we are to a server, and who it is to us. Their content is never an argument."""

    token_file: str = ""
    username: str = "git"
    ssh_key: str = ""
    known_hosts: str = ""
    ca_file: str = ""


class Mirror:
    """One branch of a repository, and the approvals of its commits. Git's failures are Unavailable."""

    def __init__(
        self, folder: Path, address: GitAddress, credentials: GitCredentials | None = None, *,
        bounds: Bounds | None = None,
    ) -> None:  # fmt: skip
        self.folder, self._address = folder, address
        self._credentials, self._bounds = credentials or GitCredentials(), bounds or Bounds()
        self._made = False
        self._fetching = asyncio.Lock()

    async def fetch(self) -> str:
        """Bring it up to date; the commit that the branch is at."""
        await self._make()
        branch = f"+refs/heads/{self._address.branch}:{HEAD}"
        tags = [f"+{below}/*:{below}/*" for below in (APPROVALS, OVERRIDES)]
        await self._fetch("--prune", "--filter=blob:none", "--", "origin", branch, *tags)
        return (await self._ask("rev-parse", "--verify", "--quiet", f"{HEAD}^{{commit}}")).decode().strip()

    async def complete(self, tree: str, wanted: Iterable[str]) -> None:
        """Fetch the blobs of a tree that were left with the server."""
        await self._complete([tree], wanted)

    async def complete_line(self, since: str, until: str, path: str, wanted: Iterable[str]) -> None:
        """The same of all commits after one, or of all there are; as far as they concern a path."""
        scope = ["--", f":(literal){path}"] if path else ["--"]
        await self._complete(["--first-parent", until, *([f"^{since}"] if since else []), *scope], wanted)

    async def _complete(self, span: Sequence[str], wanted: Iterable[str]) -> None:
        """Git tells what is missing only of what it walks: asked for a missing blob by name, it fails."""
        listing = await self._ask("rev-list", "--objects", "--missing=print", *span)
        missing = {line[1:].decode() for line in listing.split(b"\n") if line.startswith(b"?")}
        asked = sorted(missing.intersection(wanted))
        for begin in range(0, len(asked), _MOST_ASKED):
            text = "".join(f"{one}\n" for one in asked[begin : begin + _MOST_ASKED]).encode()
            await self._fetch("--filter=blob:none", "--stdin", "--", "origin", stdin=text)

    async def entries(self, tree: str) -> list[tuple[str, str, bool]]:
        """Name, object id, and whether it is a link, of everything below a tree; nothing where there is no tree."""
        found = []
        listing = await self._git("ls-tree", "-r", "-z", "--full-tree", tree)
        for line in listing.output.split(b"\0") if listing.status == 0 else ():
            if line:
                head, _, name = line.partition(b"\t")
                mode, _, id_ = head.decode().split(" ")
                found.append((name.decode(errors="surrogateescape"), id_, mode == "120000"))
        return found

    async def descends(self, commit: str, ancestor: str) -> bool:
        """Whether a commit contains another; not if that one is unknown here."""
        return commit == ancestor or (await self._git("merge-base", "--is-ancestor", ancestor, commit)).status == 0

    async def knows(self, commit: str) -> bool:
        return (await self._git("cat-file", "-e", f"{commit}^{{commit}}")).status == 0

    async def named(self, beginning: str) -> str:
        """The one commit whose name begins so, in full; nothing if there is none, or several."""
        ended = await self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{beginning}^{{commit}}")
        return ended.output.decode().strip() if ended.status == 0 else ""

    async def line(self, since: str, until: str, limit: int) -> list[str]:
        """New commits on the first-parent line, oldest first; of the last commit alone if `since` is empty."""
        span = [f"{since}..{until}", f"--max-count={limit}"] if since else [until, "--max-count=1"]
        return (await self._ask("rev-list", "--first-parent", *span)).decode().split()[::-1]

    async def content(self, kind: str, id_: str) -> bytes:
        """A commit or tag as it is stored."""
        return await self._ask("cat-file", kind, id_)

    async def signed_well(self, kind: str, id_: str, options: Sequence[str]) -> bool:
        """What `git verify-commit` or `git verify-tag` says, with these settings."""
        return (await self._git(*options, f"verify-{kind}", id_)).status == 0

    async def approvals(self, commit: str) -> list[str]:
        """The tag objects that are said to approve a commit."""
        name = f"{APPROVALS}/{commit}"
        most = f"--count={_MOST_APPROVALS}"
        listing = await self._ask("for-each-ref", most, "--format=%(objecttype) %(objectname)", "--", name, f"{name}/")
        rows = [line.split(" ") for line in listing.decode().splitlines()]
        return [id_ for kind, id_ in rows if kind == "tag"]

    async def overrides(self, commit: str) -> list[tuple[str, str]]:
        """The guards and the tag objects that are said to override them for a commit."""
        names = (f"{OVERRIDES}/*/{commit}", f"{OVERRIDES}/*/{commit}/*")
        listing = await self._ask(
            "for-each-ref", f"--count={_MOST_APPROVALS}", "--format=%(objecttype) %(objectname) %(refname)", "--",
            *names,
        )  # fmt: skip
        rows = [line.split(" ", 2) for line in listing.decode(errors="replace").splitlines()]
        return [(name.removeprefix(f"{OVERRIDES}/").split("/")[0], id_) for kind, id_, name in rows if kind == "tag"]

    async def touched(self, since: str, until: str, path: str) -> Mapping[str, str]:
        """For each file that changed below a path, the commit of the first-parent line that changed it last."""
        span = f"{since}..{until}" if since else until
        scope = ["--", f":(literal){path}"] if path else []
        log = await self._ask(
            "log", "--first-parent", "--diff-merges=first-parent", "--no-renames", "--no-ext-diff", "--no-textconv",
            "--name-only", "-z", "--format=%x01%H", span, *scope,
        )  # fmt: skip
        found: dict[str, str] = {}
        commit = ""
        for word in log.decode(errors="surrogateescape").split("\0"):
            if word.startswith("\x01"):
                commit = word[1:]
            elif word:
                found.setdefault(word.removeprefix("\n"), commit)
        return found

    # -- the program

    async def _make(self) -> None:
        if self._made:
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._tidy()
        await self._ask("init", "--quiet", "--bare", "--template=", str(self.folder))
        settings = {
            "remote.origin.url": self._address.url, "remote.origin.promisor": "true",
            "remote.origin.partialclonefilter": "blob:none", "core.repositoryformatversion": "1",
            "extensions.partialClone": "origin",
        }  # fmt: skip
        for name, value in settings.items():
            await self._ask("config", "--replace-all", name, value)
        self._settings.write_text("[safe]\n\tdirectory = *\n")
        self._made = True

    @property
    def _settings(self) -> Path:
        """Read by git where it reads another user's repository on this machine, which teleport.yaml names."""
        return self.folder / "surroundings"

    async def _fetch(self, *arguments: str, stdin: bytes = b"") -> None:
        fixed = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        async with self._fetching:
            try:
                ended = await self._git(*fixed, *arguments, stdin=stdin, environment=self._surroundings())
            finally:
                self._tidy()
        if ended.status != 0:
            raise Unavailable(f"{self._address} cannot be fetched: {_said(ended)}")

    def _tidy(self) -> None:
        """Remove what a git that was ended left behind; nobody but us uses the copy, one git at a time."""
        for pattern in _LEFTOVERS:
            for path in self.folder.glob(pattern):
                with contextlib.suppress(OSError):
                    path.unlink()

    async def _ask(self, *arguments: str) -> bytes:
        ended = await self._git(*arguments)
        if ended.status != 0:
            raise Unavailable(f"git {arguments[0]} failed on the copy of {self._address}: {_said(ended)}")
        return ended.output

    async def _git(self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Ended:
        known = {
            "HOME": str(self.folder), "GIT_DIR": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ATTR_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": _NO_TRANSPORT,
        }  # fmt: skip
        return await run(["git", *_OFF, *arguments], {**known, **(environment or {})}, stdin=stdin, bounds=self._bounds)

    def _surroundings(self) -> Mapping[str, str]:
        """What fetching needs besides: one transport, and for that our credentials. Raises Unavailable."""
        scheme, own = self._address.scheme, self._credentials
        found = {"GIT_ALLOW_PROTOCOL": scheme}
        if scheme == "file":
            found["GIT_CONFIG_GLOBAL"] = str(self._settings)
        if scheme == "ssh":
            found["GIT_SSH_COMMAND"] = shlex.join(_ssh(own))
            found["GIT_SSH_VARIANT"] = "ssh"
        settings: list[tuple[str, str]] = []
        if scheme in ("http", "https") and own.token_file:
            settings.append(("http.extraHeader", f"Authorization: Basic {_basic(own)}"))
        if own.ca_file:
            settings.append(("http.sslCAInfo", own.ca_file))
        for index, (name, value) in enumerate(settings):
            found |= {f"GIT_CONFIG_KEY_{index}": name, f"GIT_CONFIG_VALUE_{index}": value}
        return {**found, "GIT_CONFIG_COUNT": str(len(settings))}


def _ssh(own: GitCredentials) -> list[str]:
    options = {
        "BatchMode": "yes", "StrictHostKeyChecking": "yes", "UserKnownHostsFile": own.known_hosts or "/dev/null",
        "GlobalKnownHostsFile": "/dev/null", "UpdateHostKeys": "no", "IdentitiesOnly": "yes", "IdentityAgent": "none",
        "IdentityFile": own.ssh_key or "none", "ConnectTimeout": "15", "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
    }  # fmt: skip
    return ["ssh", "-F", "/dev/null", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]


def _basic(own: GitCredentials) -> str:
    try:
        token = Path(own.token_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"the repository's token {own.token_file} cannot be read: {error}") from None
    return base64.b64encode(f"{own.username}:{token}".encode()).decode()


def _said(ended: Ended) -> str:
    """The last thing a program complained of; hostile servers may say anything, so it is one printable line."""
    lines = [line.strip() for line in ended.errors.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    text = telling[0].split(":", 1)[-1].strip() if telling else f"it exited with {ended.status}"
    if text == _NOT_READ and lines.index(telling[0]) > 0:
        text = lines[lines.index(telling[0]) - 1]
    return "".join(char if char.isprintable() else "?" for char in text)[:300]
