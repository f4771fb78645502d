"""A login's key in a running ssh-agent, by way of the system's ssh-add. A convenience: what fails here is only told."""

import os
import shutil
import subprocess
import time
from typing import Final

import click

from teleport.cli.profile import Profile

__all__ = ["add", "remove", "tell_what_stays"]

_PATIENCE: Final = 10.0
"""Seconds for the agent to answer; it may ask its owner first."""
_NO_AGENT: Final = 2
"""The status of ssh-add where nobody listens at SSH_AUTH_SOCK."""


def add(profile: Profile) -> None:
    """Load key and certificate, for as long as the certificate lasts."""
    seconds = max(1, int(profile.expires - time.time()))
    if not _ssh_add("-t", str(seconds), str(profile.ssh_key)):
        _note("the ssh-agent did not take the key; `tsh ssh`, and ssh as `tsh config` sets it up, do without")


def remove(profile: Profile) -> bool:
    """Take key and certificate out again, while the key is still on disk; whether nothing of them is left."""
    return not profile.ssh_key.exists() or _ssh_add("-d", str(profile.ssh_key))


def tell_what_stays(profile: Profile) -> None:
    """The agent gave nothing back. It does not say whether it has nothing, or is locked."""
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(profile.expires))
    _note(f"the ssh-agent gave no key back; if it holds one and is locked, it keeps it until {until}")


def _ssh_add(*arguments: str) -> bool:
    """Whether the agent did as it was told; true as well where there is no agent."""
    if not os.environ.get("SSH_AUTH_SOCK") or shutil.which("ssh-add") is None:
        return True
    try:
        done = subprocess.run(
            ["ssh-add", "-q", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, check=False, timeout=_PATIENCE,
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError):
        return False
    return done.returncode in (0, _NO_AGENT)


def _note(text: str) -> None:
    click.echo(f"tsh: note: {text}", err=True)
