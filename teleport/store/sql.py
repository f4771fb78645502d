"""What the SQLite back end says to its database: the schema, transactions, expiry, the log of changes.

Functions of a connection, run by the one thread that has it; nothing here knows of tasks, watchers or time.
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from teleport.core.errors import Refused, Unavailable
from teleport.store.base import ABSENT, Change, Commit, Compacted, Delete, Mismatch, Operation, Put, Record

__all__ = [
    "MIGRATIONS", "after_prefix", "apply", "compact", "connect", "copy", "counter", "due", "expire", "migrate",
    "read_log",
]  # fmt: skip

MIGRATIONS: Final[Sequence[str]] = (
    """
    CREATE TABLE records (
        key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL, expires REAL
    ) WITHOUT ROWID;
    CREATE INDEX records_expiry ON records (expires) WHERE expires IS NOT NULL;
    CREATE TABLE log (
        revision INTEGER NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, expires REAL,
        PRIMARY KEY (revision, position)
    ) WITHOUT ROWID;
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO counters VALUES ('revision', 0), ('compacted', 0);
    """,
)
"""Step n brings the schema from version n to n+1. Steps are only ever appended."""

_READ_BATCH: Final = 500
"""Log rows a watcher takes at a time."""


def connect(path: Path) -> sqlite3.Connection:
    fresh = not path.exists()
    if fresh:
        path.touch(mode=0o600)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA busy_timeout = 5000")
    return db


def migrate(db: sqlite3.Connection) -> None:
    """Bring a store to the present schema. Raises Refused for one that a newer program wrote."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise Refused(
            f"the store has schema version {version}; this program knows up to {len(MIGRATIONS)}",
            hint="start the newer program, or restore a backup made by this one",
        )
    for step in range(version, len(MIGRATIONS)):
        db.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[step]}; PRAGMA user_version = {step + 1}; COMMIT;")


def copy(db: sqlite3.Connection, *, path: Path) -> int:
    """Everything in a new file, private from its first byte and durable; the revision of it. Raises Unavailable."""
    revision = counter(db, "revision")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            db.execute("VACUUM INTO ?", (str(path),))
            os.fsync(descriptor)
        except (OSError, sqlite3.Error):
            path.unlink()
            raise
        finally:
            os.close(descriptor)
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Unavailable(f"the backup {path} cannot be written: {why}") from None
    return revision


def counter(db: sqlite3.Connection, name: str) -> int:
    value: int = db.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()[0]
    return value


def apply(db: sqlite3.Connection, operations: Sequence[Operation], now: float) -> int:
    revision = counter(db, "revision") + 1
    position = 0
    for operation in operations:
        row = db.execute("SELECT revision, expires FROM records WHERE key = ?", (operation.key,)).fetchone()
        alive = row is not None and (row[1] is None or row[1] > now)
        actual = row[0] if alive else ABSENT
        if operation.expected is not None and operation.expected != actual:
            raise Mismatch(operation.key, expected=operation.expected, actual=actual)
        if isinstance(operation, Put):
            db.execute(
                "INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
                " SET value = excluded.value, revision = excluded.revision, expires = excluded.expires",
                (operation.key, operation.value, revision, operation.expires),
            )
            entry: tuple[Any, ...] = (revision, position, operation.key, operation.value, operation.expires)
        elif row is not None:
            db.execute("DELETE FROM records WHERE key = ?", (operation.key,))
            entry = (revision, position, operation.key, None, None)
        else:
            continue
        db.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?)", entry)
        position += 1
    if position == 0:
        return revision - 1
    db.execute("UPDATE counters SET value = ? WHERE name = 'revision'", (revision,))
    return revision


def due(db: sqlite3.Connection, now: float) -> bool:
    return db.execute("SELECT 1 FROM records WHERE expires <= ? LIMIT 1", (now,)).fetchone() is not None


def expire(db: sqlite3.Connection, now: float) -> None:
    keys = [row[0] for row in db.execute("SELECT key FROM records WHERE expires <= ? ORDER BY key", (now,))]
    apply(db, [Delete(key) for key in keys], now)


def compact(db: sqlite3.Connection, keep: int) -> None:
    limit = counter(db, "revision") - keep
    if limit > counter(db, "compacted"):
        db.execute("DELETE FROM log WHERE revision <= ?", (limit,))
        db.execute("UPDATE counters SET value = ? WHERE name = 'compacted'", (limit,))


def read_log(db: sqlite3.Connection, after: int) -> list[Commit]:
    if after < counter(db, "compacted") or after > counter(db, "revision"):
        raise Compacted
    rows = db.execute(
        "SELECT revision, key, value, expires FROM log WHERE revision > ? ORDER BY revision, position LIMIT ?",
        (after, _READ_BATCH),
    ).fetchall()
    if len(rows) == _READ_BATCH:
        rows = _whole_commits(db, rows)
    commits: dict[int, list[Change]] = {}
    for revision, key, value, expires in rows:
        record = None if value is None else Record(key, value, revision, expires)
        commits.setdefault(revision, []).append(Change(key, record))
    return [Commit(revision, tuple(changes)) for revision, changes in commits.items()]


def _whole_commits(db: sqlite3.Connection, rows: list[Any]) -> list[Any]:
    """Rows cut at a transaction's end; where the first one alone is longer, all of that."""
    last = rows[-1][0]
    whole = [row for row in rows if row[0] != last]
    return (
        whole
        or db.execute(
            "SELECT revision, key, value, expires FROM log WHERE revision = ? ORDER BY position", (last,)
        ).fetchall()
    )


def after_prefix(prefix: str) -> str:
    """A text that sorts after every key with this prefix."""
    return prefix + "\U0010ffff"
