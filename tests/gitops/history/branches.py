"""Branches whose commits change files of policy, made at once by `git fast-import`."""

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from teleport.gitops.revision import Commit, Repository

__all__ = ["ANN", "DAY", "DEV", "HOST", "START", "Files", "branch", "commits_of", "head", "node", "role", "user"]

START = 1_700_000_000
"""When the first commit was made; each follows a day later."""
DAY = 86400


def role(name: str = "dev", logins: str = "root", labels: str = '"*": "*"', deny: str = "") -> str:
    return (
        f"kind: role\nversion: v7\nmetadata: {{name: {name}}}\nspec:\n"
        f"  allow:\n    logins: [{logins}]\n    node_labels: {{{labels}}}\n  deny: {{{deny}}}\n"
    )


def user(name: str = "ann", roles: str = "dev") -> str:
    return f"kind: user\nversion: v2\nmetadata: {{name: {name}}}\nspec: {{roles: [{roles}]}}\n"


def node(name: str = "db-1", labels: str = "env: prod") -> str:
    return f"kind: node\nversion: v2\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"


ANN, DEV, HOST = user(), role(), node()

Files = Mapping[str, str | None]
"""What a commit changes: a file and its text, None where it is removed. A text with `->` in front is a link."""


def branch(folder: Path, *commits: Files, path: str = "") -> Repository:
    """A repository with these commits on `main`, one a day."""
    folder.mkdir(parents=True, exist_ok=True)
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "fast-import", "--quiet", stdin="".join(_stream(commits, f"{path}/" if path else "")))
    return Repository(folder)


def _stream(commits: Iterable[Files], prefix: str) -> Iterable[str]:
    for number, files in enumerate(commits):
        when = f"Ann <ann@example.com> {START + number * DAY} +0000"
        message = f"change {number}"
        yield f"commit refs/heads/main\nauthor {when}\ncommitter {when}\ndata {len(message)}\n{message}\n"
        for name, text in files.items():
            if text is None:
                yield f"D {prefix}{name}\n"
                continue
            mode = "120000" if text.startswith("->") else "100644"
            content = text.removeprefix("->")
            yield f"M {mode} inline {prefix}{name}\ndata {len(content.encode())}\n{content}\n"
        yield "\n"


def commits_of(repository: Repository) -> list[str]:
    """The ids, oldest first."""
    return repository.ask("rev-list", "--first-parent", "--reverse", "main").decode().split()


def head(repository: Repository, path: str = "") -> Commit:
    return repository.commit("main", path)


def _git(folder: Path, *arguments: str, stdin: str = "") -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    result = subprocess.run(
        ["git", "-C", str(folder), *arguments], input=stdin.encode(), capture_output=True, env=environment,
        timeout=30, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
