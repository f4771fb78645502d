"""Where a repository is, and which branch and folder of it count: `git+https://host/repo#branch:path`. Pure.

Whatever could be taken for an option, another transport or another place by the programs that get it is refused.
"""

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from teleport.core.errors import BadInput

__all__ = ["DEFAULT_BRANCH", "SECURE", "GitAddress", "branch_fault", "path_fault", "url_fault"]

DEFAULT_BRANCH: Final = "main"
SECURE: Final = ("file", "https", "ssh")
"""Transports by which nobody on the way can change what is fetched."""
_OPEN: Final = ("http", "git")
_BAD_IN_REFS: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(/|$)|(^|/)\.|[./]$|^[-/]|^@$")
_BAD_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f\"'\\]")


@dataclass(frozen=True)
class GitAddress:
    """A checked address. `path` is empty for the whole repository."""

    url: str
    branch: str = DEFAULT_BRANCH
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `git+URL#branch:path`; branch and path may be left out. Raises BadInput."""
        if not text.startswith("git+"):
            raise BadInput(f"{text!r} is no address of a repository", hint="write git+https://host/repo#branch:path")
        url, _, place = text.removeprefix("git+").partition("#")
        branch, _, path = place.partition(":")
        return cls.checked(url, branch or DEFAULT_BRANCH, path)

    @classmethod
    def checked(cls, url: str, branch: str, path: str) -> Self:
        """Raises BadInput."""
        for fault in (url_fault(url), branch_fault(branch), path_fault(path)):
            if fault:
                raise BadInput(fault)
        return cls(url, branch, path.strip("/").removeprefix("./").removesuffix("/."))

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    def __str__(self) -> str:
        return f"git+{self.url}#{self.branch}" + (f":{self.path}" if self.path else "")


def url_fault(url: str) -> str:
    """Why a URL cannot be fetched from, or nothing."""
    try:
        parts = urlsplit(url)
        host, password = parts.hostname or "", parts.password
    except ValueError as error:
        return f"{url!r} is no URL: {error}"
    if parts.scheme not in (*SECURE, *_OPEN) or not url.startswith(f"{parts.scheme}://"):
        return f"{url!r} is no URL of a repository: it starts with file://, https:// or ssh://"
    if password is not None or (parts.username and parts.scheme != "ssh"):
        return "the URL of the repository has a user or password in it, which belong into credentials"
    if _BAD_IN_URLS.search(url) or host.startswith("-") or (parts.username or "").startswith("-"):
        return f"{url!r} has characters that a URL cannot have"
    if parts.scheme == "file" and (host or not parts.path.startswith("/") or parts.path.startswith("//")):
        return f"{url!r} names no folder of this machine: write file:///path"
    if parts.scheme != "file" and not host:
        return f"{url!r} names no host"
    return ""


def branch_fault(branch: str) -> str:
    """Why git could not have a branch of this name, or nothing."""
    return f"{branch!r} cannot be the name of a branch" if not branch or _BAD_IN_REFS.search(branch) else ""


def path_fault(path: str) -> str:
    """Why this is no folder of a repository, or nothing."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or any(not char.isprintable() for char in path):
        return f"{path!r} is no folder inside of the repository"
    return ""
