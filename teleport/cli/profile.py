"""What `tsh` keeps below `~/.tsh`: which cluster, whose certificates, until when. Directories 0700, files 0600.

Imports nothing heavy: `tsh status` and `tsh proxy ssh` must start at once.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from teleport.core.errors import BadInput, NotFound, Unauthenticated

__all__ = [
    "Profile",
    "Trust",
    "choose",
    "chosen",
    "current",
    "forget",
    "home",
    "load_trust",
    "profile_name",
    "save",
    "save_trust",
    "write_private",
]

DEFAULT_PORT = 3080


def home() -> Path:
    """`~/.tsh`, or where TELEPORT_HOME says."""
    return Path(os.environ.get("TELEPORT_HOME") or Path.home() / ".tsh")


@dataclass(frozen=True)
class Profile:
    """A login: everything but the keys and certificates, which lie in files beside it."""

    proxy: str
    """HOST:PORT."""
    user: str
    cluster: str
    expires: float
    logins: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    traits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return home() / "keys" / profile_name(self.proxy)

    @property
    def ssh_key(self) -> Path:
        return self.folder / self.user

    @property
    def ssh_certificate(self) -> Path:
        return self.folder / f"{self.user}-cert.pub"

    @property
    def tls_key(self) -> Path:
        return self.folder / f"{self.user}.key"

    @property
    def tls_certificate(self) -> Path:
        return self.folder / f"{self.user}.crt"

    @property
    def host_authorities(self) -> Path:
        """X.509 certificates of the cluster's host authority."""
        return home() / "cas" / f"{self.cluster}.pem"

    @property
    def known_hosts(self) -> Path:
        return home() / "known_hosts"

    @property
    def configured_hosts(self) -> Path:
        """Known hosts by the names that `tsh config` gives them."""
        return home() / f"known_hosts.{self.cluster}"

    @property
    def host_pattern(self) -> str:
        """How lines of `known_hosts` begin that trust the cluster's authority."""
        return f"@cert-authority *.{self.cluster} "

    @property
    def refreshed(self) -> Path:
        """Written whenever the certificates are: its time is theirs. No user's name begins like this."""
        return self.folder / ".refreshed"

    @property
    def expired(self) -> bool:
        return time.time() >= self.expires

    def check(self) -> None:
        """Raises Unauthenticated once the login has expired."""
        if self.expired:
            raise Unauthenticated("the login has expired", hint=f"tsh login --proxy {self.proxy} --user {self.user}")

    def name_of(self, host: str) -> str:
        """A host's name as its certificate has it."""
        return f"{host.removesuffix(f'.{self.cluster}')}.{self.cluster}"

    @property
    def address(self) -> tuple[str, int]:
        return split_address(self.proxy)


@dataclass(frozen=True)
class Trust:
    """How a proxy is recognised: by the cluster's host authority (PEM), or by the system's trust store if None."""

    cluster: str
    authority: str | None


def split_address(text: str) -> tuple[str, int]:
    """Host and port of HOST[:PORT]. Raises BadInput."""
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        host, port = text, str(DEFAULT_PORT)
    host = host.strip("[]")
    if not host or not port.isdigit() or int(port) > 65535 or any(char.isspace() or char == "/" for char in host):
        raise BadInput(f"{text!r} is not HOST:PORT", hint="for example proxy.example.com:3080")
    return host, int(port)


def profile_name(proxy: str) -> str:
    """A proxy's address as the name of a file."""
    host, port = split_address(proxy)
    return f"{host.replace(':', '_')}-{port}"


def current(proxy: str | None = None) -> Profile:
    """The profile of a proxy, or the one logged in to last. Raises NotFound."""
    try:
        name = profile_name(proxy) if proxy else (home() / "current-profile").read_text().strip()
        body = json.loads((home() / f"{name}.json").read_text())
        return Profile(
            proxy=body["proxy"], user=body["user"], cluster=body["cluster"], expires=float(body["expires"]),
            logins=tuple(body["logins"]), roles=tuple(body["roles"]),
            traits={key: tuple(values) for key, values in body["traits"].items()},
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        raise NotFound("not logged in", hint="tsh login --proxy HOST:PORT --user NAME") from None


def save(profile: Profile, *, current: bool = True) -> None:
    """Keep a profile, and make it the current one."""
    name = profile_name(profile.proxy)
    write_private(home() / f"{name}.json", json.dumps(asdict(profile), indent=1))
    if current:
        write_private(home() / "current-profile", name)


def forget(profile: Profile) -> None:
    """Remove a profile, its keys and its certificates; what is trusted of the proxy stays."""
    files = (profile.ssh_key, profile.ssh_certificate, profile.tls_key, profile.tls_certificate, profile.refreshed,
             profile.ssh_key.with_suffix(".pub"), home() / f"{profile_name(profile.proxy)}.json")  # fmt: skip
    for path in files:
        path.unlink(missing_ok=True)
    marker = home() / "current-profile"
    if marker.exists() and marker.read_text().strip() == profile_name(profile.proxy):
        marker.unlink()


def choose(profile: Profile, cluster: str) -> None:
    """Have commands mean another cluster from now on; empty for the profile's own."""
    path = home() / f"{profile_name(profile.proxy)}.cluster"
    if cluster in ("", profile.cluster):
        path.unlink(missing_ok=True)
    else:
        write_private(path, cluster)


def chosen(profile: Profile) -> str:
    """The cluster that commands mean where none is named; empty for the profile's own."""
    try:
        return (home() / f"{profile_name(profile.proxy)}.cluster").read_text().strip()
    except OSError:
        return ""


def load_trust(proxy: str) -> Trust | None:
    """What was learned of a proxy before."""
    try:
        body = json.loads((home() / "trust" / f"{profile_name(proxy)}.json").read_text())
        return Trust(body["cluster"], body["authority"])
    except (OSError, ValueError, KeyError):
        return None


def save_trust(proxy: str, trust: Trust) -> None:
    write_private(home() / "trust" / f"{profile_name(proxy)}.json", json.dumps(asdict(trust)))


def write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace a file as a whole; directories that are missing are made 0700."""
    root = home()
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    if path.is_relative_to(root):
        root.chmod(0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
