"""When a login's certificates are due to be asked for again, and who does it when many programs start at once.

Asking again extends nothing: the login ends when it ends. It brings what changed since: the authorities' keys, the
logins and extensions that the roles give now, and files that were lost. Imports nothing heavy: every session looks.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from teleport.cli import profile as p
from teleport.core.errors import NotFound

__all__ = [
    "INTERVAL",
    "LIMIT",
    "PATIENCE",
    "alone",
    "is_damaged",
    "is_due",
    "keep_fresh",
    "postpone",
    "program",
    "stamp",
]

INTERVAL: Final = 600.0
"""Seconds between two refreshes of a login that is used."""
RETRY: Final = 30.0
"""Seconds after which one that failed is tried again."""
PATIENCE: Final = 3.0
"""Seconds that a refresh waits for its turn, and again for the answer, before one goes on with what there is."""
LIMIT: Final = 5.0
"""Seconds after which it is given up, whatever it waits for."""
_TURN: Final = 0.05


def program() -> str:
    """The way to `tsh`, written out: who calls it may have another PATH."""
    return shutil.which("tsh") or str(Path(sys.executable).with_name("tsh"))


def keep_fresh(profile: p.Profile) -> p.Profile:
    """The login after a refresh, if one was due. What fails is not said: who uses the login will say it better."""
    if profile.expired or not is_due(profile):
        return profile
    import subprocess

    command = [program(), "refresh", "--if-due", "--proxy", profile.proxy]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired, NotFound):
        subprocess.run(command, check=False, timeout=LIMIT + 1, stdin=subprocess.DEVNULL, capture_output=True)
        return p.current(profile.proxy)
    return profile


def is_due(profile: p.Profile) -> bool:
    """Whether the certificates are some minutes old, or a file is damaged that a refresh makes anew.

    Right before they are old no damage is seen: that is how old they look after an attempt that failed.
    """
    try:
        age = time.time() - profile.refreshed.stat().st_mtime
    except OSError:
        return True
    return not 0 <= age < INTERVAL or (age < INTERVAL - RETRY and is_damaged(profile))


def is_damaged(profile: p.Profile) -> bool:
    """Whether a file that a refresh makes anew is missing, or is not what was written."""
    try:
        written: object = json.loads(profile.refreshed.read_text())
        return written != _sums(profile)
    except (OSError, ValueError):
        return True


def stamp(profile: p.Profile) -> None:
    """The files are new and whole."""
    p.write_private(profile.refreshed, json.dumps(_sums(profile)))


def postpone(profile: p.Profile) -> None:
    """An attempt has failed: the next one is not at once."""
    with contextlib.suppress(OSError):
        profile.refreshed.touch(mode=0o600)
        begun = time.time() - INTERVAL + RETRY
        os.utime(profile.refreshed, (begun, begun))


def _sums(profile: p.Profile) -> list[int]:
    known = profile.known_hosts.read_text().splitlines()
    ours = "\n".join(line for line in known if line.startswith(profile.host_pattern))
    files = (profile.ssh_key, profile.ssh_certificate, profile.host_authorities)
    return [*(zlib.crc32(path.read_bytes()) for path in files), zlib.crc32(ours.encode())]


@contextlib.contextmanager
def alone(proxy: str, *, patience: float = PATIENCE) -> Iterator[bool]:
    """While nobody else changes the files of a login; False where that could not be had in time, or at all."""
    try:
        p.home().mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(p.home() / f"{p.profile_name(proxy)}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield False
        return
    try:
        yield _locked(descriptor, time.monotonic() + patience)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, until: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_TURN)
        except OSError:  # a file system without locks
            return False
        else:
            return True
