"""A store's file while nobody serves it: what it holds, a consistent copy of it, and the copy amended.

For restoring backups. Looking never writes; amending forgets the log of changes, so every watcher lists anew.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from teleport.core.errors import BadInput, Refused
from teleport.store.sql import MIGRATIONS, after_prefix, migrate

__all__ = ["Contents", "amend", "copy", "look", "values"]

_TABLES = {"records", "log", "counters"}


@dataclass(frozen=True)
class Contents:
    """What a file holds."""

    schema: int
    revision: int
    records: int


def look(path: Path) -> Contents:
    """Check a file from end to end. Raises BadInput for what is no whole store, Refused for a newer program's."""
    with _reading(path) as db:
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables >= _TABLES:
            raise BadInput(f"{path} is a database, but not a store of this program")
        schema = db.execute("PRAGMA user_version").fetchone()[0]
        if schema > len(MIGRATIONS):
            raise Refused(
                f"{path} has schema version {schema}; this program knows up to {len(MIGRATIONS)}",
                hint="restore it with the program that made it, or a newer one",
            )
        verdict = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise BadInput(f"{path} is damaged: {verdict}", hint="take an older backup")
        revision = db.execute("SELECT value FROM counters WHERE name = 'revision'").fetchone()[0]
        return Contents(schema, revision, db.execute("SELECT count(*) FROM records").fetchone()[0])


def values(path: Path, prefix: str, *, limit: int = 1) -> list[tuple[str, bytes]]:
    """The first keys with a prefix, and their values as they lie there."""
    with _reading(path) as db:
        condition = "key >= ? AND key < ?"
        return db.execute(
            f"SELECT key, value FROM records WHERE {condition} ORDER BY key LIMIT ?",  # noqa: S608 - a constant
            (prefix, after_prefix(prefix), limit),
        ).fetchall()


def copy(source: Path, target: Path) -> None:
    """Everything of a store, also what is still in its write-ahead log, in a new file."""
    with _reading(source, what="copied") as db:
        db.execute("VACUUM INTO ?", (str(target),))


def amend(path: Path, *, discard: Sequence[str], put: Mapping[str, bytes]) -> int:
    """Bring a store to the present schema, drop keys by prefix, write others; the revision afterwards."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db)
        db.execute("BEGIN IMMEDIATE")
        for prefix in discard:
            db.execute("DELETE FROM records WHERE key >= ? AND key < ?", (prefix, after_prefix(prefix)))
        db.execute("UPDATE counters SET value = value + 1 WHERE name = 'revision'")
        revision: int = db.execute("SELECT value FROM counters WHERE name = 'revision'").fetchone()[0]
        for key, value in put.items():
            db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, NULL)", (key, value, revision))
        db.execute("DELETE FROM log")
        db.execute("UPDATE counters SET value = ? WHERE name = 'compacted'", (revision,))
        db.execute("COMMIT")
        db.execute("VACUUM")  # what was dropped leaves the file, too
    return revision


@contextlib.contextmanager
def _reading(path: Path, *, what: str = "read as a store") -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise BadInput(f"{path} is not a file")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)) as db:
            yield db
    except sqlite3.Error as error:
        raise BadInput(f"{path} cannot be {what}: {error}") from None
