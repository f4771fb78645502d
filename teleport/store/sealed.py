"""Encrypts values under certain prefixes with a key that is kept outside the store.

AES-256-GCM with the record's key as associated data, so that a value moved to another key does not open.
A stolen database is not a stolen certificate authority.
"""

import base64
import binascii
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from teleport.core.errors import BadInput, Refused
from teleport.store.base import Change, Commit, Listing, Operation, Put, Record, Store

__all__ = ["SEALING_KEY_FILE", "SEALING_KEY_VARIABLE", "SealedStore", "Sealer", "load_sealer"]

SEALING_KEY_FILE: Final = "sealing.key"
SEALING_KEY_VARIABLE: Final = "TELEPORT_SEALING_KEY"
SEALED_PREFIXES: Final = ("secret/",)
_MAGIC: Final = b"sealed1:"
_CHECK_KEY: Final = "secret/sealing-check"
_NONCE: Final = 12


class Sealer:
    """Seals and opens values with one 256-bit key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise BadInput("a sealing key has 32 bytes")
        self._aead = AESGCM(key)
        self.key_id = sha256(b"teleport sealing key id" + key).digest()[:8]

    def seal(self, name: str, value: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return _MAGIC + self.key_id + nonce + self._aead.encrypt(nonce, value, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """Raises Refused when the value was sealed with another key, or is not what was sealed."""
        head, body = sealed[: len(_MAGIC)], sealed[len(_MAGIC) :]
        if head != _MAGIC or body[:8] != self.key_id:
            raise Refused(
                "the secrets of this data directory were sealed with another key",
                hint="put the right sealing.key back; if it is lost, see `teleport restore --discard-secrets`",
            )
        try:
            return self._aead.decrypt(body[8 : 8 + _NONCE], body[8 + _NONCE :], name.encode())
        except InvalidTag:
            raise Refused(f"the sealed value of {name} was altered") from None


def load_sealer(directory: Path, environment: Mapping[str, str], *, make: bool = True) -> Sealer:
    """The sealer of a data directory: the key from the environment, else from its file, made on first use.

    Without `make` the key must be there already: Refused if it is lost.
    """
    text, source = environment.get(SEALING_KEY_VARIABLE), SEALING_KEY_VARIABLE
    path = directory / SEALING_KEY_FILE
    if text is None:
        if not path.exists():
            if not make:
                raise Refused(
                    f"the sealing key {path} is missing, and without it the secrets of the store cannot be opened",
                    hint="put it back from where it is kept, or give up the secrets:"
                    f" teleport restore {directory}/store.sqlite --data-dir {directory} --discard-secrets --force",
                )
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(os.urandom(32)) + b"\n")
                file.flush()
                os.fsync(descriptor)
        elif path.stat().st_mode & 0o077:
            raise Refused(f"{path} is readable by others", hint=f"chmod 600 {path}, and consider it known to them")
        text, source = path.read_text(), str(path)
    try:
        return Sealer(base64.b64decode(text.strip(), validate=True))
    except (binascii.Error, ValueError):
        raise BadInput(f"{source} is not 32 bytes in base64") from None


class SealedStore:
    """A store whose sealed prefixes are encrypted; see `teleport.store.base.Store`."""

    def __init__(self, store: Store, sealer: Sealer, *, prefixes: tuple[str, ...] = SEALED_PREFIXES) -> None:
        self._store, self._sealer, self._prefixes = store, sealer, prefixes

    @classmethod
    async def open(cls, store: Store, sealer: Sealer) -> "SealedStore":
        """Wrap a store, having checked that this key opens what is in it. Raises Refused if it does not."""
        sealed = cls(store, sealer)
        if await sealed.get(_CHECK_KEY) is None:
            existing = (await store.list("secret/")).records
            if existing:
                sealer.open(existing[0].key, existing[0].value)
            await sealed.put(_CHECK_KEY, b"sealed")
        return sealed

    async def get(self, key: str) -> Record | None:
        record = await self._store.get(key)
        return None if record is None else self._opened(record)

    async def list(self, prefix: str = "") -> Listing:
        listing = await self._store.list(prefix)
        return replace(listing, records=tuple(self._opened(record) for record in listing.records))

    async def watch(self, *, after: int) -> AsyncGenerator[Commit]:
        async for commit in self._store.watch(after=after):
            changes = tuple(
                Change(change.key, None if change.record is None else self._opened(change.record))
                for change in commit.changes
            )
            yield Commit(commit.revision, changes)

    async def txn(self, operations: Sequence[Operation]) -> int:
        return await self._store.txn([self._sealed(operation) for operation in operations])

    async def put(self, key: str, value: bytes, *, expected: int | None = None, expires: float | None = None) -> int:
        return await self.txn([Put(key, value, expected, expires)])

    async def delete(self, key: str, *, expected: int | None = None) -> int:
        return await self._store.delete(key, expected=expected)

    async def backup(self, path: Path) -> int:
        return await self._store.backup(path)

    async def close(self) -> None:
        await self._store.close()

    def _sealed(self, operation: Operation) -> Operation:
        if isinstance(operation, Put) and operation.key.startswith(self._prefixes):
            return replace(operation, value=self._sealer.seal(operation.key, operation.value))
        return operation

    def _opened(self, record: Record) -> Record:
        if record.key.startswith(self._prefixes):
            return replace(record, value=self._sealer.open(record.key, record.value))
        return record
