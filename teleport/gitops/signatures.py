"""Whether a commit may be obeyed: signed, and approved, by keys that an allowed-signers file names.

A signature must hold at the time that it claims (as git judges it) and at the time when we first saw it, so that an
expired key cannot sign for the past. Knows nothing of branches, and not who may do what.
"""

import base64
import hashlib
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from teleport.core.errors import Unavailable
from teleport.gitops.program import run
from teleport.gitops.provenance import Signer

__all__ = ["Lacking", "Objects", "Signed", "Verification", "Verifier", "signed_commit", "signed_tag"]

_MANY: Final = 20_000
"""Signatures whose signers are remembered."""
_BEGIN: Final = b"-----BEGIN SSH SIGNATURE-----\n"
_WHEN: Final = re.compile(rb"^(?:committer|tagger) [^\n]* (\d{1,12}) [+-]\d{4}$", re.MULTILINE)
_KEY: Final = re.compile(r" key (SHA256:\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Verification:
    """Whose signatures count, and how many people must have given theirs."""

    allowed_signers: Path
    required: int = 1
    revoked: Path | None = None


@dataclass(frozen=True)
class Signed:
    """What was signed, the signature, and when it says that this was."""

    payload: bytes
    signature: bytes
    claimed: float


class Objects(Protocol):
    """A repository, as far as signatures are concerned."""

    async def content(self, kind: str, id_: str) -> bytes: ...
    async def signed_well(self, kind: str, id_: str, options: tuple[str, ...]) -> bool: ...
    async def approvals(self, commit: str) -> list[str]: ...


def signed_commit(data: bytes) -> Signed | None:
    """A commit as its signature sees it; None if it has none, or not exactly one."""
    head, separator, message = data.partition(b"\n\n")
    kept: list[bytes] = []
    signature: list[bytes] = []
    inside, seen = False, 0
    for line in head.split(b"\n"):
        inside = line.startswith(b" ") and inside
        if line.startswith(b"gpgsig"):
            inside, seen = line.startswith(b"gpgsig "), seen + 1
            line = line.removeprefix(b"gpgsig")
        elif not inside:
            kept.append(line)
            continue
        signature.append(line[1:])
    payload = b"\n".join(kept) + separator + message
    return _signed(payload, b"\n".join(signature) + b"\n", b"\n".join(kept)) if seen == 1 else None


def signed_tag(data: bytes, *, of: str, name: str) -> Signed | None:
    """A tag of a commit under a name (or below it) as its signature sees it; None if it is not that, or unsigned."""
    payload, begin, rest = data.partition(_BEGIN)
    head = payload.partition(b"\n\n")[0]
    lines = head.split(b"\n")
    named = next((line[4:].decode(errors="replace") for line in lines if line.startswith(b"tag ")), "")
    meant = lines[:2] == [b"object " + of.encode(), b"type commit"] and f"{named}/".startswith(f"{name}/")
    whole = begin and payload.endswith(b"\n") and _BEGIN not in rest
    return _signed(payload, begin + rest, head) if meant and whole else None


def _signed(payload: bytes, signature: bytes, head: bytes) -> Signed | None:
    times = _WHEN.findall(head)
    if len(times) != 1 or not signature.startswith(_BEGIN):
        return None
    return Signed(payload, signature, float(times[0]))


@dataclass(frozen=True)
class Lacking:
    """The approvals that a commit still needs."""

    people: int
    in_vain: str = ""
    """Why the first of the approvals that do not count does not, in words."""


class Verifier:
    """Judges the commits of one repository."""

    def __init__(self, objects: Objects, verification: Verification) -> None:
        self._objects, self._wanted = objects, verification
        self._faults: dict[tuple[str, float], str] = {}
        self._known: dict[tuple[str, float], Signer | None] = {}
        self._files: list[bytes] = []

    async def fault(self, commit: str, *, seen: float) -> str:
        """Why the signature of a commit, first seen at this time, does not count; or nothing. Raises Unavailable."""
        self._read()
        if (commit, seen) not in self._faults:
            self._faults[commit, seen] = await self._fault(commit, seen)
        return self._faults[commit, seen]

    async def signer(self, commit: str, *, seen: float) -> Signer | None:
        """Who signed a commit; None where that does not count. Raises Unavailable."""
        self._read()
        return await self._signer_of(commit, seen)

    async def approvers(self, commit: str, tags_seen: Mapping[str, float]) -> list[Signer]:
        """Who signed that a commit may come into force, besides who made it."""
        return await self._of_tags(commit, f"approve/{commit}", tags_seen)

    async def overriders(self, commit: str, guard: str, tags_seen: Mapping[str, float]) -> list[Signer]:
        """Who signed that a commit may come into force though a guard refuses it."""
        return await self._of_tags(commit, f"override/{guard}/{commit}", tags_seen)

    async def _of_tags(self, commit: str, name: str, tags_seen: Mapping[str, float]) -> list[Signer]:
        self._read()
        found = []
        for tag, when in tags_seen.items():
            signed = signed_tag(await self._objects.content("tag", tag), of=commit, name=name)
            signer = await self._signer("tag", tag, signed, when) if signed is not None else None
            if signer is not None:
                found.append(signer)
        return found

    async def _fault(self, commit: str, seen: float) -> str:
        signed = signed_commit(await self._objects.content("commit", commit))
        if signed is None:
            return "is not signed with an SSH key"
        if await self._signer_of(commit, seen) is None:
            return (
                "is not signed by an allowed signer whose key was valid when it was signed and when it was first seen: "
                f"{await self._whose(signed)}"
            )
        return ""

    async def _whose(self, signed: Signed) -> str:
        """Whose key made a signature that does not count, for people to find the mistake; nothing is decided by it."""
        with _kept(signed.signature) as place:
            command = ["ssh-keygen", "-Y", "check-novalidate", "-n", "git", "-s", str(place)]
            answer = await run(command, {}, stdin=signed.payload)
        key = _KEY.search(answer.output.decode(errors="replace")) if answer.status == 0 else None
        if key is None:
            return "the signature does not fit what is signed"
        owner, *revoked = (_owner(key[1], file) for file in self._files)
        whose = f"the key {key[1]} is {f'that of {owner}' if owner else 'in no line of the file of allowed signers'}"
        return f"{whose}, and revoked" if any(revoked) else whose

    async def signer_as_claimed(self, commit: str) -> str:
        """Who signed a commit with a key that was theirs at the time it claims; nothing if no allowed signer did.

        For telling the past: when it was first seen is not asked.
        """
        self._read()
        signed = signed_commit(await self._objects.content("commit", commit))
        found = await self._signer("commit", commit, signed, signed.claimed) if signed is not None else None
        return found.principal if found is not None else ""

    async def lacking(self, commit: str, *, seen: float, tags_seen: Mapping[str, float]) -> "Lacking":
        """How many more people must approve a commit. Neither a person nor a key counts twice."""
        self._read()
        signer = await self._signer_of(commit, seen)
        counted = [signer] if signer is not None else []
        in_vain = ""
        for tag, when in tags_seen.items():
            if len(counted) >= self._wanted.required:
                break
            signed = signed_tag(await self._objects.content("tag", tag), of=commit, name=f"approve/{commit}")
            found = await self._signer("tag", tag, signed, when) if signed is not None else None
            if found is not None and all(found.principal != one.principal and found.key != one.key for one in counted):
                counted.append(found)
            elif found is not None:
                in_vain = in_vain or f"{found.principal} has signed already"
            elif not in_vain:
                in_vain = await self._whose(signed) if signed is not None else "it is not signed for this commit"
        return Lacking(max(0, self._wanted.required - len(counted)), in_vain)

    async def _signer_of(self, commit: str, seen: float) -> Signer | None:
        if (commit, seen) in self._known:
            return self._known[commit, seen]
        signed = signed_commit(await self._objects.content("commit", commit))
        return await self._signer("commit", commit, signed, seen) if signed is not None else None

    async def _signer(self, kind: str, id_: str, signed: Signed, seen: float) -> Signer | None:
        if len(self._known) > _MANY:
            self._known.clear()
        if (id_, seen) not in self._known:
            self._known[id_, seen] = await self._verified(kind, id_, signed, seen)
        return self._known[id_, seen]

    async def _verified(self, kind: str, id_: str, signed: Signed, seen: float) -> Signer | None:
        options = ["-c", f"gpg.ssh.allowedSignersFile={self._wanted.allowed_signers}"]
        if self._wanted.revoked is not None:
            options += ["-c", f"gpg.ssh.revocationFile={self._wanted.revoked}"]
        if not await self._objects.signed_well(kind, id_, tuple(options)):
            return None
        with _kept(signed.signature) as place:
            at_claimed = await self._signers(place, signed, signed.claimed)
            at_seen = await self._signers(place, signed, seen) if at_claimed else []
        return next((one for one in at_seen if one in at_claimed), None)

    async def _signers(self, signature: Path, signed: Signed, when: float) -> list[Signer]:
        """Those whose key made a signature and was theirs at a time."""
        about = ("-f", str(self._wanted.allowed_signers), "-s", str(signature), f"-Overify-time={_moment(when)}")
        found = await run(["ssh-keygen", "-Y", "find-principals", *about], {})
        signers = []
        for principal in found.output.decode(errors="replace").splitlines() if found.status == 0 else ():
            revoked = ("-r", str(self._wanted.revoked)) if self._wanted.revoked is not None else ()
            command = ["ssh-keygen", "-Y", "verify", *about, "-n", "git", "-I", principal, *revoked]
            answer = await run(command, {}, stdin=signed.payload)
            key = _KEY.search(answer.output.decode(errors="replace"))
            if answer.status == 0 and key is not None:
                signers.append(Signer(principal, key[1]))
        return signers

    def _read(self) -> None:
        """Forget earlier answers if the files have changed. Raises Unavailable: without them nobody is known."""
        paths = [path for path in (self._wanted.allowed_signers, self._wanted.revoked) if path is not None]
        try:
            files = [path.read_bytes() for path in paths]
        except OSError as error:
            raise Unavailable(f"{error.filename}, which tells whose signatures count, cannot be read") from None
        if files != self._files:
            self._faults.clear()
            self._known.clear()
            self._files = files


@contextmanager
def _kept(signature: bytes) -> Iterator[Path]:
    """A file that holds a signature, for as long as a program reads it."""
    with tempfile.TemporaryDirectory(prefix="teleport-") as folder:
        place = Path(folder) / "signature"
        place.write_bytes(signature)
        yield place


def _owner(fingerprint: str, file: bytes) -> str:
    """The first word of the line of a file that has a key, valid or not."""
    for line in file.decode(errors="replace").splitlines():
        words = line.split()
        if any(_fingerprint(word) == fingerprint for word in words if word.startswith("AAAA")):
            return words[0]
    return ""


def _fingerprint(key: str) -> str:
    try:
        digest = hashlib.sha256(base64.b64decode(key, validate=True)).digest()
    except ValueError:
        return ""
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _moment(when: float) -> str:
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(when))
