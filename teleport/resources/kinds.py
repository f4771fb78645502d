"""KINDS: every kind this program knows, by name."""

from collections.abc import Mapping
from typing import Any

from teleport.core.errors import BadInput
from teleport.resources.access_invariant import AccessInvariant
from teleport.resources.access_test import AccessTest
from teleport.resources.lock import Lock
from teleport.resources.model import Resource
from teleport.resources.node import Node
from teleport.resources.nouns import nearest
from teleport.resources.remote_cluster import RemoteCluster
from teleport.resources.role import Role
from teleport.resources.settings import AuthPreference, NetworkingConfig, RecordingConfig
from teleport.resources.token import Token
from teleport.resources.trusted_cluster import TrustedCluster
from teleport.resources.user import User

__all__ = ["KINDS", "AnyResource", "kind_named", "shown"]

AnyResource = Resource[Any]

KINDS: Mapping[str, type[AnyResource]] = {
    cls.kind: cls
    for cls in (
        Role,
        User,
        Token,
        Node,
        Lock,
        TrustedCluster,
        RemoteCluster,
        AuthPreference,
        RecordingConfig,
        NetworkingConfig,
        AccessTest,
        AccessInvariant,
    )
}


def shown(kind: str, name: str) -> str:
    """A name as it may be printed: secret names are masked."""
    return f"{name[:2]}…" if KINDS[kind].secret else name


_BY_ANY_NAME: Mapping[str, type[AnyResource]] = {
    name: cls for cls in KINDS.values() for name in (cls.kind, f"{cls.kind}s", *cls.aliases)
}


def kind_named(word: str) -> type[AnyResource]:
    """The kind by its name, plural or alias. Raises BadInput with the likely right one."""
    found = _BY_ANY_NAME.get(word.lower())
    if found is None:
        likely = nearest(word.lower(), _BY_ANY_NAME)
        known = ", ".join(KINDS)
        raise BadInput(f"unknown kind {word}", hint=f"did you mean {likely}?" if likely else f"known kinds: {known}")
    return found
