"""`teleport restore`: puts a backup in the place of a data directory's store, while no process has it.

Nothing is deleted: the store that was there is moved aside. With `discard_secrets`, for when the sealing key is lost,
everything sealed goes and with it the authorities: the next start makes new ones, and everybody enrols again.
"""

import json
import os
import pwd
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teleport.audit.events import Actor, BackupRestored
from teleport.audit.files import sync_directory
from teleport.audit.log import CHECKPOINTS
from teleport.auth import keys
from teleport.core.aio import utc
from teleport.core.errors import BadInput, Conflict, Refused, Unavailable
from teleport.store import offline
from teleport.store.lock import lock_directory
from teleport.store.sealed import SEALING_KEY_FILE, SEALING_KEY_VARIABLE, load_sealer
from teleport.store.sqlite import DATABASE

__all__ = ["Restored", "restore"]

_SECRETS: Final = "secret/"
_DISCARDED: Final = (_SECRETS, "ca/")
"""What only the sealing key opens, and what says which authorities there were."""
_PRESENCE: Final = "presence/"
"""Who was there when the backup was made says nothing of who is there now."""
_EMERGENCIES: Final = ("overlay/", "secret/overlay/")
"""What was changed for an emergency of that time, and perhaps ended since: whoever needs it does it again."""
_COMPANIONS: Final = ("", "-wal", "-shm")
"""A SQLite file and what belongs to it."""


@dataclass(frozen=True)
class Restored:
    """What was done. `aside` are the files that were there before, under their new names."""

    cluster: str
    revision: int
    aside: tuple[Path, ...]
    key_missing: bool
    """There are sealed secrets, and no key beside them yet."""


def restore(
    file: Path, data_dir: Path, *, discard_secrets: bool, force: bool, now: float, environment: Mapping[str, str]
) -> Restored:
    """Check a backup, and make it the store. Raises what stands against it; then everything is as it was."""
    contents = offline.look(file)
    born = offline.values(file, keys.CLUSTER)
    if not born:
        raise BadInput(f"{file} is a store, but of no cluster")
    with lock_directory(data_dir):
        store = data_dir / DATABASE
        if store.exists() and not force:
            raise Conflict(f"{store} exists already", hint="--force moves it aside; it is not deleted")
        sealed = not discard_secrets and bool(offline.values(file, _SECRETS))
        has_key = SEALING_KEY_VARIABLE in environment or (data_dir / SEALING_KEY_FILE).exists()
        if sealed and has_key:
            _check_key(file, data_dir, environment)
        fresh = data_dir / f".restore.{os.getpid()}"
        try:
            event = _event(file, contents.revision, discarded=discard_secrets, now=now)
            _write(file, fresh, event, discard_secrets=discard_secrets)
            aside = _move_aside(store, now)
            fresh.rename(store)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"{store} cannot be written: {error}") from None
        finally:
            fresh.unlink(missing_ok=True)
        if discard_secrets:
            aside += _move_aside(data_dir / "audit" / CHECKPOINTS, now)
        sync_directory(data_dir)
    return Restored(born[0][1].decode(), contents.revision, aside, sealed and not has_key)


def _check_key(file: Path, data_dir: Path, environment: Mapping[str, str]) -> None:
    """Raises Refused if the key at hand does not open the backup's secrets."""
    sealer = load_sealer(data_dir, environment, make=False)
    for name, value in offline.values(file, _SECRETS):
        try:
            sealer.open(name, value)
        except Refused as error:
            raise Refused(
                f"the sealing key of {data_dir} does not open this backup: {error.message}",
                hint="put the key of that time there; if it is lost, --discard-secrets gives the secrets up",
            ) from None


def _write(file: Path, fresh: Path, event: tuple[str, bytes], *, discard_secrets: bool) -> None:
    """The store as it shall be, whole and durable, private from its first byte."""
    fresh.unlink(missing_ok=True)
    old = os.umask(0o077)
    try:
        offline.copy(file, fresh)
    finally:
        os.umask(old)
    offline.amend(
        fresh, discard=(_PRESENCE, *_EMERGENCIES, *(_DISCARDED if discard_secrets else ())), put=dict([event])
    )
    with fresh.open("rb") as written:
        os.fsync(written.fileno())
    if os.geteuid() == 0:
        owner = fresh.parent.stat()
        os.chown(fresh, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _move_aside(path: Path, now: float) -> tuple[Path, ...]:
    """Give what is there another name, that of the moment."""
    stamp = utc(now)[:19].replace(":", "")
    moved = []
    for companion in _COMPANIONS:
        old = path.with_name(path.name + companion)
        if old.exists():
            moved.append(old.rename(path.with_name(f"{path.name}.before-{stamp}{companion}")))
    return tuple(moved)


def _event(file: Path, revision: int, *, discarded: bool, now: float) -> tuple[str, bytes]:
    """What the audit log will say of it, once the auth service is there to write it."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    actor = Actor(f"{name} (uid {uid})", 1)
    event = BackupRestored(**actor.fields(), name=str(file), revision=revision, secrets_discarded=discarded)
    return f"{keys.OUTBOX}000000-{event.uid}", json.dumps({"time": utc(now), **event.to_dict()}).encode()
