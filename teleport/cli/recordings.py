"""Recordings for the command lines: listing them, finding one by the beginning of its id, bringing it here."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.audit.recording import META, OUTPUT, TIMING
from teleport.core.errors import BadInput, NotFound, TeleportError
from teleport.core.output import table, to_json, write

__all__ = ["check", "fetch", "find", "read_meta", "show"]

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_PREFIX: Final = re.compile(r"[0-9a-f-]{1,36}\Z")


def show(rows: Sequence[m.RecordingRow], form: str) -> None:
    """Print a list of recordings."""
    if form == "json":
        write(to_json([row.model_dump(mode="json") for row in rows]))
        return
    headers = ("Session", "User", "Login", "Host", "Started", "What")
    write(
        table(headers, [(one.sid, one.user, one.login, one.server_hostname, one.started, _what(one)) for one in rows])
    )


def _what(row: m.RecordingRow) -> str:
    what = "shell" if row.interactive and not row.command else row.command or "shell"
    marks = [name for name in ("interrupted", "truncated") if getattr(row, name)]
    return f"{what} ({', '.join(marks)})" if marks else what


async def find(client: ApiClient, text: str) -> str:
    """The id of the one recording whose id begins like this. Raises NotFound, BadInput."""
    wanted = text.lower()
    if _ID.match(wanted):
        return wanted
    if not _PREFIX.match(wanted):
        raise BadInput(f"{text!r} is no session id", hint="tsh recordings ls")
    rows = (await client.call(r.RECORDINGS, m.RecordingQuery(prefix=wanted, limit=2))).recordings
    if not rows:
        raise NotFound(f"no recording begins with {text}", hint="tsh recordings ls")
    if len(rows) > 1:
        raise BadInput(f"several recordings begin with {text}", hint="write more of the id: tsh recordings ls")
    return rows[0].sid


async def fetch(client: ApiClient, sid: str, folder: Path, *, form: str) -> None:
    """Bring a recording into a folder. `form` is what it is for, as the audit log will say."""
    for name in (META, TIMING, OUTPUT):
        with (folder / name).open("wb") as file:
            request = m.RecordingFile(sid=sid, name=name, format=form)
            async for chunk in client.stream(r.RECORDING, request):
                file.write(chunk)
    check(folder)


def read_meta(folder: Path) -> dict[str, Any]:
    """What a folder says of its recording. Raises BadInput for what is none."""
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_bytes())
        if not isinstance(meta["sid"], str):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"{folder} holds no recording") from None
    return meta


def check(folder: Path) -> None:
    """Hold a recording against the digests in its description. Raises TeleportError if they differ."""
    meta = read_meta(folder)
    for name in (OUTPUT, TIMING):
        try:
            with (folder / name).open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BadInput(f"{folder / name} cannot be read: {error.strerror or error}") from None
        if actual != meta.get(f"{name}_sha256"):
            raise TeleportError(f"the {name} of {meta['sid']} is not what the host sealed", hint="it was changed since")
