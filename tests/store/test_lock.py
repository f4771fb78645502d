"""The lock of a data directory: who has it, who gets it next, and whose file it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from teleport.core.errors import Unavailable
from teleport.store.lock import lock_directory

_HOLDER = """
import sys
from pathlib import Path
from teleport.store.lock import lock_directory
lock = lock_directory(Path(sys.argv[1]))
print("taken", flush=True)
sys.stdin.read()
"""


def test_the_process_that_has_it_is_named_and_its_death_lets_it_go(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        with pytest.raises(Unavailable, match=f"in use by process {holder.pid}"):
            lock_directory(tmp_path)

        holder.kill()
        holder.wait()
        lock_directory(tmp_path).close()


def test_closing_it_lets_it_go(tmp_path: Path) -> None:
    lock_directory(tmp_path).close()

    lock_directory(tmp_path).close()


def test_a_directory_that_is_made_for_it_is_private(tmp_path: Path) -> None:
    with lock_directory(tmp_path / "new"):
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_lock_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("content")
    (tmp_path / "lock").symlink_to("precious")

    with pytest.raises(Unavailable, match="cannot be used"):
        lock_directory(tmp_path)

    assert (tmp_path / "precious").read_text() == "content"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_takes_first_the_owner_of_the_directory_can_take_later(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)

    lock_directory(tmp_path).close()

    found = (tmp_path / "lock").stat()
    assert (found.st_uid, found.st_gid) == (65534, 65534)
