"""The repository that docs/history.md tells of: the example's policy, and what became of it."""

import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["COMMITS", "shop"]

ROOT = Path(__file__).resolve().parents[2]
ADA, BEN = "Ada <ada@example.com>", "Ben <ben@example.com>"
STORY = (
    (ADA, "2030-01-07T09:00:00Z", "The policy of the shop", ""),
    (BEN, "2030-02-04T08:30:00Z", "Cleo is on call", "[developer, sandbox, on-call]"),
    (BEN, "2030-02-11T08:30:00Z", "Cleo had her week", "[developer, sandbox]"),
    (BEN, "2030-03-04T08:31:00Z", "Cleo is on call again", "[developer, sandbox, on-cal]"),
    (ADA, "2030-03-04T08:40:00Z", "It is spelt on-call", "[developer, sandbox, on-call]"),
)
"""Author, time, subject, and the roles of cleo."""
COMMITS = (
    "1a52f0b7c9d84e3365a1f7be02c4d9981e70a6b3", "5d08c1e6f4b29a7730c5d2e8f1b6a4937c0e5d21",
    "77b0e3a91c6d5f284e0b9a3c7d1f5e6280a4b7c9", "9c41d7e05b8a2f6637e1c0d4b9f85a2316d7e0f4",
    "e3f60a8b2d7c19545b0e8f3a6c92d1740b5e7f18",
)  # fmt: skip
"""The names that the commits have on the page, which no real ones have."""


def shop(folder: Path) -> list[str]:
    """Make it, and tell the real names of the commits."""
    shutil.copytree(ROOT / "examples/policies", folder / "policies")
    _git(folder, "init", "-q", "-b", "main")
    cleo = folder / "policies/users/cleo.yaml"
    for author, when, subject, roles in STORY:
        if roles:
            head = cleo.read_text().partition("  roles: ")
            cleo.write_text(f"{head[0]}  roles: {roles}\n{head[2].partition(chr(10))[2]}")
        _git(folder, "add", "-A")
        _git(folder, "commit", "-q", f"--author={author}", f"--date={when}", "-m", subject, when=when)
    return _git(folder, "rev-list", "--reverse", "HEAD").split()


def _git(folder: Path, *arguments: str, when: str = "") -> str:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "GIT_COMMITTER_NAME": "c",
        "GIT_COMMITTER_EMAIL": "c@example.com", **({"GIT_COMMITTER_DATE": when} if when else {}),
    }  # fmt: skip
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20, env=environment).stdout
