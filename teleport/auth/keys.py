"""Where the auth service keeps what in the store. Everything below `secret/` is sealed."""

import hashlib
from typing import Final

from teleport.resources.kinds import KINDS

__all__ = [
    "AUDIT_KEY", "DECLARED_REMOTES", "GENERATION", "OUTBOX", "adoption", "applied_commit", "approval", "authority",
    "credential", "enlisted", "fed", "host", "invitation", "last_applied", "leaf", "overlay", "overlay_witness",
    "policy", "root", "spent", "suspended", "token",
]  # fmt: skip

GENERATION: Final = "policy-generation"
"""Written by every transaction that changes policy, so that only one judgement wins."""
OUTBOX: Final = "outbox/"
"""Audit events that were committed with what they tell of, until the log has them."""
DECLARED_REMOTES: Final = "declared-remotes"
"""The remote clusters that were declared when somebody looked last."""
AUDIT_KEY: Final = "secret/audit-key"
CLUSTER: Final = "cluster"
INVITATIONS: Final = "secret/invitation/"
TOKENS: Final = "secret/token/"
ROOTS: Final = "trust/root/"
LEAVES: Final = "trust/leaf/"


def authority(kind: str) -> str:
    """The signing half of a certificate authority; the public half is at `ca/KIND`."""
    return f"secret/ca/{kind}"


def public_authority(kind: str) -> str:
    return f"ca/{kind}"


def policy(kind: str, name: str) -> str:
    """A declared resource. Where the name is a secret, the key has its hash."""
    return token(name) if KINDS[kind].secret else f"policy/{kind}/{name}"


def applied_commit(source: str) -> str:
    """Which commit of a source of policy was applied last."""
    return f"applied-commit/{source}"


def adoption(kind: str, name: str) -> str:
    """Which source an administrator lets take over an object, and from whom."""
    return f"adoption/{kind}/{hashed(name) if KINDS[kind].secret else name}"


def suspended(source: str) -> str:
    """Why a source of policy is suspended, since when and by whom."""
    return f"suspended-source/{source}"


def approval(digest: str) -> str:
    """That somebody approved of a proposal that a guard refuses."""
    return f"secret/approval/{digest}"


def last_applied(source: str) -> str:
    """What a source of policy declared when it was applied last; sealed, so that only this program writes it."""
    return f"secret/last-applied/{source}"


def fed(source: str) -> str:
    """What an operator brought last of a source; sealed, since secrets may go with it."""
    return f"secret/fed/{source}"


def overlay(kind: str, name: str) -> str:
    """An emergency change, apart from the declaration that it is laid over."""
    return f"overlay/{kind}/{name}"


def overlay_witness(kind: str, name: str) -> str:
    """The hash of an emergency change; sealed: a change that was written past the auth service has none."""
    return f"secret/overlay/{kind}/{name}"


def root(cluster: str) -> str:
    """What is kept of a cluster that is trusted here."""
    return f"{ROOTS}{cluster}"


def leaf(cluster: str) -> str:
    """What is kept of a cluster that trusts this one."""
    return f"{LEAVES}{cluster}"


def spent(token: str) -> str:
    """Which cluster a token was spent by, apart from the token's declaration: kept when that is gone."""
    return f"secret/trust/spent/{hashed(token)}"


def token(name: str) -> str:
    return f"{TOKENS}{hashed(name)}"


def credential(uid: str) -> str:
    """Password and second factor of a user's incarnation."""
    return f"secret/credential/{uid}"


def invitation(secret: str) -> str:
    return f"{INVITATIONS}{hashed(secret)}"


def host(uid: str) -> str:
    return f"presence/node/{uid}"


def enlisted(uid: str) -> str:
    """Which generation of its identity a host uses."""
    return f"secret/host/{uid}"


def hashed(secret: str) -> str:
    """A secret as a key: looking it up compares hashes, so timing tells nothing of the secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
