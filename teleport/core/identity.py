"""Who somebody is: what a certificate proves, never what its holder may do.

The same text goes into SSH and X.509 certificates. Decoding is strict: a field this version does not know
could be a restriction, so such an identity is refused rather than widened; and each identity has one spelling.
"""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

__all__ = ["HostRole", "Identity", "IdentityKind", "Passage", "ssh_name_of_proxies"]

IdentityKind = Literal["user", "host", "admin"]
HostRole = Literal["Auth", "Proxy", "Node", "Operator"]

_VERSION = 1
_LIMIT = 16 * 1024
_MOST_GENERATIONS = 2**53
_LAST_MOMENT = 253_402_300_799.0
"""The end of the year 9999, in seconds since the epoch: what clocks and calendars can still express."""


@dataclass(frozen=True)
class Passage:
    """One connection of a user to another cluster: by which route, and with what that user has at home."""

    user: str
    """The name at home; there it is the identity's own, elsewhere only this."""
    to: str
    """The cluster that may let the user in, no other."""
    host: str
    login: str
    session: str
    """The connection, as the proxy at home calls it."""
    proxy: str
    """The id of that proxy: only what comes by it counts."""
    roles: tuple[str, ...] = ()
    traits: tuple[tuple[str, tuple[str, ...]], ...] = ()
    certificate: str = field(default="", compare=False, repr=False)
    """Where all of this was read, for whoever judges again; it does not contain itself."""


@dataclass(frozen=True)
class Identity:
    """One caller.

    `uid` is the incarnation: the id made when the user was created, or the host's UUID. `cluster` is that of
    the certificate authority that signed. `expires` is in seconds since the epoch, taken from the certificate.
    """

    kind: IdentityKind
    name: str
    uid: str
    cluster: str
    expires: float = 0.0
    system_roles: tuple[str, ...] = ()
    requested_roles: tuple[str, ...] | None = None
    """The scope: only these roles may allow anything. None means all live roles of the user."""
    allowed_resources: tuple[str, ...] | None = None
    """Only these hosts, by UUID or name. None means no restriction. Of an operator: the sources it may feed."""
    mfa_verified: bool = False
    """The holder proved a second factor for this certificate's single session, moments ago."""
    authenticated: float = 0.0
    """When the holder last logged in, in seconds since the epoch: kept through every re-issue."""
    session_until: float = 0.0
    """For a certificate that opens one session: when the login behind it expires. 0 where it is the login itself."""
    pinned_ip: str = ""
    reissuable: bool = True
    """False for certificates that must not obtain others, such as those for one session."""
    passage: Passage | None = None
    """For a certificate that is good for one connection to another cluster, and nowhere else."""
    generation: int = 0
    """Of a host: which renewal of its identity this is, so that a copy of an older one is noticed."""
    local_uid: int | None = None
    """For the local administration socket: the operating system's user id."""

    def encode(self) -> str:
        """The identity as canonical JSON, without what the certificate itself states (cluster, expiry)."""
        body: dict[str, Any] = {
            key: value
            for key, value in asdict(self).items()
            if key not in ("cluster", "expires", "local_uid") and value != _DEFAULTS.get(key, _MISSING)
        }
        if self.passage is not None:
            del body["passage"]["certificate"]
        return json.dumps({"v": _VERSION, **body}, separators=(",", ":"), sort_keys=True)

    @classmethod
    def decode(cls, text: str | bytes, *, cluster: str, expires: float) -> "Identity":
        """Read what `encode` wrote, to the letter. Raises ValueError for anything else."""
        if len(text) > _LIMIT:
            raise ValueError("identity too large")
        written = text.decode() if isinstance(text, bytes) else text
        try:
            found = cls._read(json.loads(written), cluster=cluster, expires=expires)
        except RecursionError:
            raise ValueError("identity nested too deeply") from None
        if found.encode() != written:
            raise ValueError("identity in another spelling than ours")
        return found

    @classmethod
    def _read(cls, body: Any, *, cluster: str, expires: float) -> "Identity":
        version = body.pop("v", None) if isinstance(body, dict) else None
        if version != _VERSION or isinstance(version, bool):
            raise ValueError("identity of an unknown version")
        unknown = set(body) - _ENCODED
        if unknown:
            raise ValueError(f"identity with unknown fields: {', '.join(sorted(unknown))}")
        json.dumps(body, ensure_ascii=False).encode()  # half a surrogate pair is in no name, and would fail later
        if body.get("kind") not in ("user", "host"):
            raise ValueError("identity of an unknown kind")
        for key in ("name", "uid"):
            if not isinstance(body.get(key), str) or not body[key]:
                raise ValueError(f"identity without {key}")
        for key in ("system_roles", "requested_roles", "allowed_resources"):
            if key in body:
                body[key] = _texts(key, body[key])
        for key in ("mfa_verified", "reissuable"):
            if not isinstance(body.get(key, False), bool):
                raise ValueError(f"identity with a malformed {key}")
        for key in ("authenticated", "session_until"):
            _check_moment(key, body.get(key, 0.0))
        _check_generation(body.get("generation", 0))
        if not isinstance(body.get("pinned_ip", ""), str):
            raise ValueError("identity with a malformed pinned_ip")
        if "passage" in body:
            body["passage"] = _passage(body["passage"])
        return cls(**body, cluster=cluster, expires=expires)

    def until(self, expires: float) -> "Identity":
        return replace(self, expires=expires)

    @property
    def login_expires(self) -> float:
        """When the login expires that this certificate comes from."""
        return self.session_until or self.expires

    @property
    def is_user(self) -> bool:
        return self.kind == "user"

    def has_role(self, role: HostRole) -> bool:
        """Whether this is a host that may act in that role."""
        return self.kind == "host" and role in self.system_roles


def ssh_name_of_proxies(cluster: str) -> str:
    """The name by which SSH clients verify a proxy, wherever it is reached: one that no host can be given."""
    return f"ssh+proxy.{cluster}"


_MISSING = object()
_DEFAULTS = {one.name: one.default for one in fields(Identity)}
_ENCODED = {one.name for one in fields(Identity)} - {"cluster", "expires", "local_uid"}


def _check_moment(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_MOMENT:
        raise ValueError(f"identity with a malformed {key}")


_ROUTE = ("user", "to", "host", "login", "session", "proxy")


def _passage(body: Any) -> Passage:
    if not isinstance(body, dict) or set(body) != {*_ROUTE, "roles", "traits"}:
        raise ValueError("identity with a malformed passage")
    if not all(isinstance(body[key], str) for key in _ROUTE) or not isinstance(body["traits"], list):
        raise ValueError("identity with a malformed passage")
    traits = []
    for pair in body["traits"]:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ValueError("identity with malformed traits")
        traits.append((pair[0], _texts("trait", pair[1])))
    return Passage(**{key: body[key] for key in _ROUTE}, roles=_texts("roles", body["roles"]), traits=tuple(traits))


def _check_generation(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_GENERATIONS:
        raise ValueError("identity with a malformed generation")


def _texts(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"identity with a malformed {key}")
    return tuple(value)
