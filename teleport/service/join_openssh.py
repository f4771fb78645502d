"""`teleport join openssh`: makes this host's sshd take what proxies bring, and know itself by a certificate.

The host joins with a token and keeps an identity, by which its certificate is renewed. Done again it changes nothing,
or what has to change; undone, sshd is configured as before. Nothing is left half done: sshd judges every change.
"""

import asyncio
import json
import os
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.audit.files import write_durably
from teleport.auth.join import service_name
from teleport.auth.openssh import principal_of
from teleport.core.errors import BadInput, Unavailable
from teleport.net import alpn
from teleport.net.tls import client_context
from teleport.pki.authority import TrustedAuthority
from teleport.pki.keys import load_private, load_ssh_line, new_tls_key, private_pem, public_pem, ssh_line
from teleport.service.address import DEFAULT_PORT, Address
from teleport.service.join import recognise
from teleport.service.sshd_config import SshdConfig

__all__ = ["Joined", "Wanted", "join", "undo"]

_IDENTITY: Final = "identity.json"
_CERTIFICATE: Final = "ssh_host-cert.pub"
_AUTHORITIES: Final = "openssh_ca.pub"
_RENEWED_WHEN_LEFT: Final = 0.5
"""Of its time: a timer that runs once a week is early enough."""
_ECHO: Final = ("/bin/echo", "/usr/bin/echo")


@dataclass(frozen=True)
class Wanted:
    """What somebody asked for."""

    config: Path
    folder: Path
    proxy: str
    name: str
    token: str = ""
    pins: tuple[str, ...] = ()
    reload: str = ""
    """A command that has sshd read its configuration again."""


@dataclass(frozen=True)
class Joined:
    """What has become of it."""

    name: str
    cluster: str
    expires: float
    changed: bool
    manifest: str
    """What to declare."""


@dataclass(frozen=True)
class _Identity:
    """What the host keeps of itself: by this it renews, and nothing else."""

    tls_private: str
    certificates: m.HostCertificates
    issued: float
    name: str
    host_key: str
    proxy: str
    pins: tuple[str, ...]

    @property
    def cluster(self) -> str:
        return self.certificates.cluster

    def authority(self, kind: str) -> TrustedAuthority:
        found = [TrustedAuthority.decode(text) for text in self.certificates.authorities]
        return next(one for one in found if one.kind == kind)

    def save(self, path: Path) -> None:
        body = {**asdict(self), "certificates": self.certificates.model_dump(mode="json")}
        write_durably(path, json.dumps(body).encode())


def join(wanted: Wanted) -> Joined:
    """Make it so. Raises TeleportErrors; then sshd is configured as it was."""
    sshd = SshdConfig(wanted.config)
    effective = sshd.effective()
    _check_free(effective, wanted.folder)
    host_key = _host_key(effective)
    wanted.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    before = _load(wanted.folder / _IDENTITY)
    identity = asyncio.run(_current(wanted, before, host_key))
    identity.save(wanted.folder / _IDENTITY)
    changed = _write_public(wanted.folder, identity)
    changed = sshd.install(_options(wanted.folder, identity), wanted.folder) or changed
    if changed and wanted.reload:
        _reload(wanted.reload)
    port = int((effective.get("port") or ["22"])[0])
    return Joined(
        identity.name, identity.cluster, identity.certificates.expires, changed, _manifest(identity.name, port)
    )  # fmt: skip


def undo(wanted: Wanted) -> bool:
    """Configure sshd as before, and forget the identity; whether there was anything to undo."""
    changed = SshdConfig(wanted.config).uninstall(wanted.folder)
    for name in (_IDENTITY, _CERTIFICATE, _AUTHORITIES):
        path = wanted.folder / name
        changed = path.exists() or changed
        path.unlink(missing_ok=True)
    if wanted.folder.is_dir() and not any(wanted.folder.iterdir()):
        wanted.folder.rmdir()
    if changed and wanted.reload:
        _reload(wanted.reload)
    return changed


def _check_free(effective: dict[str, list[str]], folder: Path) -> None:
    """sshd takes one file of authorities and one command for principals: somebody else's stay theirs."""
    ours = {"trustedusercakeys": str(folder / _AUTHORITIES), "hostcertificate": str(folder / _CERTIFICATE)}
    for option, value in ours.items():
        others = [one for one in effective.get(option, []) if one not in ("none", value)]
        if others:
            raise BadInput(
                f"sshd is configured with {option} {others[0]} already",
                hint="take it out first, or write what docs/openssh-hosts.md says by hand",
            )
    command = (effective.get("authorizedprincipalscommand") or ["none"])[0]
    if command != "none" and not command.startswith(_ECHO):
        raise BadInput(
            f"sshd is configured with AuthorizedPrincipalsCommand {command} already", hint="take it out first"
        )


def _host_key(effective: dict[str, list[str]]) -> str:
    """The public key that sshd shows, as a line; the newest kind that there is."""
    found: dict[str, str] = {}
    for path in effective.get("hostkey", []):
        try:
            line = Path(f"{path}.pub").read_text()
        except OSError:
            continue
        found[line.split(" ", 1)[0]] = ssh_line(load_ssh_line(" ".join(line.split()[:2])))
    if not found:
        raise BadInput("sshd has no host key whose public half lies beside it", hint="make some: ssh-keygen -A")
    return found.get("ssh-ed25519") or next(iter(found.values()))


async def _current(wanted: Wanted, kept: _Identity | None, host_key: str) -> _Identity:
    """The identity that is kept if it will do, else a renewed or a new one."""
    now = time.time()
    if kept is None or kept.certificates.expires <= now or (wanted.pins and set(wanted.pins) != set(kept.pins)):
        return await _new(wanted, host_key, now)
    lifetime = kept.certificates.expires - kept.issued
    is_fresh = kept.certificates.expires - now > lifetime * _RENEWED_WHEN_LEFT
    wanted_name = wanted.name or kept.name
    if is_fresh and (kept.name, kept.host_key) == (wanted_name, host_key):
        return kept
    return await _renewed(kept, wanted.proxy or kept.proxy, wanted_name, host_key)


async def _new(wanted: Wanted, host_key: str, now: float) -> _Identity:
    if not wanted.proxy or not wanted.token:
        raise BadInput(
            "this host has not joined the cluster yet: it needs --proxy, --token and --ca-pin",
            hint="`tctl tokens add --type node` on the auth host makes a token",
        )
    address, key = Address.parse(wanted.proxy, DEFAULT_PORT), private_pem(new_tls_key())
    authority = await recognise(address, set(wanted.pins))
    context = client_context(trust=authority.certificates, alpn=[alpn.HTTP])
    name = wanted.name or os.uname().nodename
    async with ApiClient(
        f"https://{address}", tls=context, server_name=service_name("Proxy", authority.cluster)
    ) as client:
        request = m.JoinRequest(
            token=_token(wanted.token), ssh_public_key=host_key, hostname=name, roles=("Node",),
            tls_public_key=public_pem(load_private(key).public_key()),
        )  # fmt: skip
        made = await client.call(r.JOIN, request)
    return _Identity(key, made, now, name, host_key, wanted.proxy, wanted.pins)


async def _renewed(kept: _Identity, proxy: str, name: str, host_key: str) -> _Identity:
    address, cluster = Address.parse(proxy, DEFAULT_PORT), kept.cluster
    context = client_context(
        trust=kept.authority("host").certificates, certificate=kept.certificates.tls_certificate,
        key=kept.tls_private, alpn=[alpn.api(cluster)],
    )  # fmt: skip
    async with ApiClient(f"https://{address}", tls=context, server_name=service_name("Auth", cluster)) as client:
        request = m.RenewHost(
            ssh_public_key=host_key, tls_public_key=public_pem(load_private(kept.tls_private).public_key()),
            hostname=name,
        )  # fmt: skip
        made = await client.call(r.RENEW_HOST, request)
    return _Identity(kept.tls_private, made, time.time(), name, host_key, proxy, kept.pins)


def _token(text: str) -> str:
    if not text.startswith("/"):
        return text
    try:
        return Path(text).read_text().strip()
    except OSError as error:
        raise BadInput(f"the join token cannot be read from {text}: {error.strerror}") from None


def _load(path: Path) -> _Identity | None:
    try:
        body: dict[str, Any] = json.loads(path.read_bytes())
        certificates = m.HostCertificates.model_validate(body.pop("certificates"))
        return _Identity(**{**body, "pins": tuple(body["pins"])}, certificates=certificates)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise BadInput(f"{path} is not what this command wrote: {error}", hint="remove it and join again") from None


def _write_public(folder: Path, identity: _Identity) -> bool:
    """What sshd reads; whether any of it changed."""
    keys = "".join(f"{key.ssh_public}\n" for key in identity.authority("openssh").keys)
    changed = False
    for name, text in ((_AUTHORITIES, keys), (_CERTIFICATE, f"{identity.certificates.ssh_certificate}\n")):
        path = folder / name
        if not path.exists() or path.read_text() != text:
            write_durably(path, text.encode(), mode=0o644)
            changed = True
    return changed


def _options(folder: Path, identity: _Identity) -> str:
    """A certificate names a login and a host; the command says which one each login of this host asks for."""
    echo = next((path for path in _ECHO if Path(path).exists()), None)
    if echo is None:
        raise Unavailable("there is no /bin/echo on this host")
    principal = principal_of("%u", identity.name, identity.cluster)
    return (
        f"# Written by `teleport join openssh` for the cluster {identity.cluster}; `--undo` takes it out again.\n"
        f"TrustedUserCAKeys {folder / _AUTHORITIES}\n"
        f"AuthorizedPrincipalsCommand {echo} {principal}\n"
        "AuthorizedPrincipalsCommandUser nobody\n"
        f"HostCertificate {folder / _CERTIFICATE}\n"
    )


def _manifest(name: str, port: int) -> str:
    return (
        "kind: node\nsub_kind: openssh\nversion: v2\nmetadata:\n"
        f"  name: {name}\n  labels: {{}}\nspec:\n  addr: {name}:{port}\n"
    )


def _reload(command: str) -> None:
    try:
        done = subprocess.run(command, shell=True, check=False, timeout=60)  # noqa: S602 - what root asked for
    except subprocess.TimeoutExpired:
        raise Unavailable(f"`{command}` does not end") from None
    if done.returncode:
        raise Unavailable(f"`{command}` failed; sshd still runs as before", hint="have it read its configuration")
