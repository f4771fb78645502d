"""Real repositories with real signatures, made by `git` and `ssh-keygen` in a folder of the test."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

AUTHOR = ("-c", "user.name=t", "-c", "user.email=t@example.com")
ROLE = "kind: role\nversion: v7\nmetadata: {name: NAME}\nspec: {allow: {logins: [LOGIN], node_labels: {'*': '*'}}}\n"


def role(name: str, login: str = "root") -> str:
    return ROLE.replace("NAME", name).replace("LOGIN", login)


@dataclass(frozen=True)
class Key:
    """A person's signing key."""

    principal: str
    path: Path

    @property
    def public(self) -> str:
        return Path(f"{self.path}.pub").read_text().strip()

    def allowed(self, options: str = "") -> str:
        """A line of an allowed-signers file."""
        return f"{self.principal} {options} {self.public}\n".replace("  ", " ")


def key(folder: Path, principal: str) -> Key:
    path = folder / f"key-{principal}"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True, timeout=20)
    return Key(principal, path)


class Upstream:
    """A repository that people commit to; `main` is its branch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, when: int = 0, stdin: str = "") -> str:
        times = {"GIT_AUTHOR_DATE": f"@{when} +0000", "GIT_COMMITTER_DATE": f"@{when} +0000"} if when else {}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1", **times}
        command = ["git", "-C", str(self.folder), *AUTHOR, *arguments]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=20, input=stdin, env=environment, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self, files: dict[str, str] | None = None, *, by: Key | None = None, when: int = 0) -> str:
        """Write files and commit everything; the commit's name."""
        for name, text in (files or {}).items():
            self.write(name, text)
        self.git("add", "-A")
        self.git(*_signing(by), "commit", "-q", "--allow-empty", *(["-S"] if by else []), "-m", "m", when=when)
        return self.head

    def approve(self, commit: str, *, by: Key, name: str = "", when: int = 0) -> None:
        self.git(*_signing(by), "tag", "-f", "-s", "-m", "m", name or f"approve/{commit}", commit, when=when)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return f"file://{self.folder}"


def _signing(by: Key | None) -> list[str]:
    if by is None:
        return ["-c", "commit.gpgsign=false"]
    return ["-c", "gpg.format=ssh", "-c", f"user.signingkey={by.path}"]
