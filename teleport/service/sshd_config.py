"""The configuration of this host's sshd: what it says now, and one file of ours in it that can be taken out again.

sshd itself says what is in force (`sshd -T`) and whether it would start (`sshd -t`); nothing is left changed that it
does not accept.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teleport.audit.files import write_durably
from teleport.core.errors import BadInput, Unavailable

__all__ = ["SshdConfig"]

_MARK: Final = "# teleport join openssh"
_DROP_IN: Final = "00-teleport.conf"
"""First of its folder: of what is said twice, sshd believes the first."""
_SECONDS: Final = 20


@dataclass(frozen=True)
class SshdConfig:
    """A file such as /etc/ssh/sshd_config."""

    path: Path

    def effective(self) -> dict[str, list[str]]:
        """What is in force, by option in lower case. Raises BadInput for what sshd does not accept."""
        found: dict[str, list[str]] = {}
        for line in self._run("-T").splitlines():
            name, _, value = line.partition(" ")
            found.setdefault(name.lower(), []).append(value)
        return found

    def check(self) -> None:
        """Raises BadInput with what sshd says."""
        self._run("-t")

    def install(self, text: str, folder: Path) -> bool:
        """Have sshd read a text before everything else; whether anything changed. Raises BadInput, undone again."""
        drop_in = self._drop_in()
        place = drop_in or folder / "sshd.conf"
        before = {path: _read(path) for path in (place, self.path)}
        after = {place: text, self.path: (before[self.path] or "") if drop_in else self._including(place)}
        if before == after:
            self.check()  # who was killed in the middle wrote it and did not ask
            return False
        self._change(before, after)
        return True

    def uninstall(self, folder: Path) -> bool:
        """Take our file out; whether it was there. Raises BadInput, undone again, if sshd would not start then."""
        drop_in, ours = self.path.parent / "sshd_config.d" / _DROP_IN, folder / "sshd.conf"
        before = {path: _read(path) for path in (drop_in, ours, self.path)}
        after: dict[Path, str | None] = {drop_in: None, ours: None, self.path: self._without(before[self.path] or "")}
        if before == after:
            return False
        self._change(before, after)
        return True

    def _change(self, before: Mapping[Path, str | None], after: Mapping[Path, str | None]) -> None:
        """Write files and have sshd judge them; as they were before if either fails. Raises what failed."""
        try:
            _write(after, before)
            self.check()
        except BaseException:
            _write(before, {path: _read(path) for path in before})
            raise

    def _drop_in(self) -> Path | None:
        """Where files are included from as Debian has it, if this configuration does."""
        folder = self.path.parent / "sshd_config.d"
        wanted = {str(folder / "*.conf"), "sshd_config.d/*.conf"}
        for line in (_read(self.path) or "").splitlines():
            words = line.split()
            if words and words[0].lower() == "include" and wanted & set(words[1:]) and folder.is_dir():
                return folder / _DROP_IN
        return None

    def _including(self, place: Path) -> str:
        return f"{_MARK}\nInclude {place}\n{self._without(_read(self.path) or '')}"

    @staticmethod
    def _without(text: str) -> str:
        lines = text.splitlines(keepends=True)
        if lines[:1] == [f"{_MARK}\n"]:
            return "".join(lines[2:])
        return text

    def _run(self, flag: str) -> str:
        program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/sbin")
        if program is None:
            raise Unavailable("there is no sshd on this host", hint="Debian: apt-get install openssh-server")
        arguments = [program, flag, "-f", str(self.path)]
        try:
            done = subprocess.run(
                arguments, capture_output=True, text=True, timeout=_SECONDS, check=False, env=_environment()
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"sshd does not say what it makes of {self.path}: {error}") from None
        if done.returncode:
            raise BadInput(f"sshd does not accept {self.path}: {done.stderr.strip()[:1000]}")
        return done.stdout


def _environment() -> Mapping[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from None


def _write(wanted: Mapping[Path, str | None], known: Mapping[Path, str | None]) -> None:
    """Make files what is wanted, those that differ; None for none. Their modes stay."""
    try:
        for path, text in wanted.items():
            if known.get(path) == text:
                continue
            if text is None:
                path.unlink(missing_ok=True)
                continue
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
            write_durably(path, text.encode(errors="surrogateescape"))
            path.chmod(mode)
    except OSError as error:
        raise Unavailable(f"{error.filename} cannot be written: {error.strerror}") from None
