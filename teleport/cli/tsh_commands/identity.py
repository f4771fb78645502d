"""`tsh login --identity`: what `tctl auth sign` exported becomes the present login, for programs without a person."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from teleport.cli import freshness
from teleport.cli import profile as p
from teleport.cli.tsh_commands.login import check_names, forget_earlier
from teleport.cli.tsh_commands.refresh import renew
from teleport.core.errors import BadInput, TeleportError

__all__ = ["adopt"]


def adopt(path: Path, proxy: str | None) -> p.Profile:
    """Keep what an identity file holds as a login does. The cluster is asked at once whether it is good.

    Raises BadInput for what is no identity file, and what the cluster says; then nothing is kept.
    """
    body = _read(path)
    try:
        expires = datetime.fromisoformat(body["expires"]).timestamp()
        profile = p.Profile(proxy or body["proxy"], body["user"], body["cluster"], expires)
        check_names(profile.user, profile.cluster, body["known_hosts"])
    except (KeyError, ValueError, TypeError, AttributeError):
        raise _not_one(path) from None
    profile.check()
    with freshness.alone(profile.proxy, patience=freshness.LIMIT + 1):
        forget_earlier(profile.proxy)
        _write(profile, body, path)
        try:
            renew(profile)
        except TeleportError:
            p.forget(profile)
            raise
        profile = p.current(profile.proxy)
        p.save(profile)
    return profile


def _read(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text())
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise _not_one(path) from None
    if not isinstance(body, dict):
        raise _not_one(path)
    return body


def _write(profile: p.Profile, body: dict[str, Any], path: Path) -> None:
    """What the answer of the cluster will replace, but for the keys."""
    files = {
        "ssh_key": profile.ssh_key, "ssh_certificate": profile.ssh_certificate, "tls_key": profile.tls_key,
        "tls_certificate": profile.tls_certificate, "host_authorities": profile.host_authorities,
    }  # fmt: skip
    if not all(isinstance(body.get(name), str) for name in files):
        raise _not_one(path)
    for name, target in files.items():
        p.write_private(target, body[name])
    p.save_trust(profile.proxy, p.Trust(profile.cluster, body["host_authorities"]))


def _not_one(path: Path) -> BadInput:
    return BadInput(f"{path} is not an identity file", hint="make one with `tctl auth sign`")
