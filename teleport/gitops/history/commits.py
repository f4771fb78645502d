"""Who wrote a commit, when, what about, and who signed it. What a commit says of itself is free text.

Only a signature by an allowed signer proves anything; without a list of those, none is known.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from teleport.core.errors import BadInput
from teleport.gitops.revision import Repository
from teleport.gitops.signatures import Verifier

__all__ = ["CommitNote", "LocalObjects", "Notes", "Signature", "note_of"]

Signature = Literal["verified", "refused", "unchecked", "unsigned"]
"""By an allowed signer; by nobody who is one; not judged, since nobody says who may sign; none."""

_PERSON: Final = re.compile(rb"^author ([^\n]*) (-?\d{1,12}) [+-]\d{4}$", re.MULTILINE)
_LONGEST: Final = 300


@dataclass(frozen=True)
class CommitNote:
    """A commit in a few words."""

    id: str
    author: str = ""
    """Name and address, as the commit claims."""
    authored: float = 0.0
    subject: str = ""
    signature: Signature = "unsigned"
    signer: str = ""


def note_of(id_: str, data: bytes) -> CommitNote:
    """From a commit as it is stored."""
    head, _, message = data.partition(b"\n\n")
    person = _PERSON.search(head)
    subject = message.lstrip(b"\n").partition(b"\n")[0].decode(errors="replace").strip()[:_LONGEST]
    signed: Signature = "unchecked" if re.search(rb"^gpgsig", head, re.MULTILINE) else "unsigned"
    if person is None:
        return CommitNote(id_, subject=subject, signature=signed)
    return CommitNote(id_, person[1].decode(errors="replace")[:_LONGEST], float(person[2]), subject, signed)


class LocalObjects:
    """A repository of this machine, as signatures are read from it. See `signatures.Objects`."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def content(self, kind: str, id_: str) -> bytes:
        return await asyncio.to_thread(self._repository.ask, "cat-file", kind, id_)

    async def signed_well(self, kind: str, id_: str, options: Sequence[str]) -> bool:
        """The programs that the repository may configure for this are not run."""
        try:
            await asyncio.to_thread(
                self._repository.ask, *options, "-c", "gpg.ssh.program=ssh-keygen", f"verify-{kind}", id_
            )
        except BadInput:
            return False
        return True

    async def approvals(self, _commit: str) -> list[str]:
        return []


class Notes:
    """Reads commits, each once, and judges their signatures where somebody says who may sign."""

    def __init__(self, repository: Repository, verifier: Verifier | None) -> None:
        self._repository, self._verifier = repository, verifier
        self._known: dict[str, CommitNote] = {}

    async def of(self, ids: Iterable[str]) -> Mapping[str, CommitNote]:
        wanted = list(dict.fromkeys(ids))
        fresh = [one for one in wanted if one not in self._known]
        for note in await asyncio.to_thread(self._read, fresh):
            self._known[note.id] = await self._judged(note)
        return {one: self._known[one] for one in wanted}

    def _read(self, ids: Sequence[str]) -> list[CommitNote]:
        with self._repository.objects() as batch:
            return [note_of(one, batch.get(one, "commit") or b"") for one in ids]

    async def _judged(self, note: CommitNote) -> CommitNote:
        if self._verifier is None or note.signature == "unsigned":
            return note
        signer = await self._verifier.signer_as_claimed(note.id)
        return replace(note, signature="verified" if signer else "refused", signer=signer)
