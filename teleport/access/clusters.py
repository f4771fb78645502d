"""Which other clusters somebody reaches, by the `cluster_labels` of roles. Pure.

This decides what is shown and routed; what a user is over there says the other cluster's role map alone.
"""

from collections.abc import Mapping

from teleport.access.decide import Decision, conditions_of, place_of, standing
from teleport.access.locks import lock_on, lock_text
from teleport.access.roles import BoundRole
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.core.identity import Identity

__all__ = ["KIND", "labels_of", "reaches_cluster"]

KIND = "cluster"
"""The kind of target that another cluster is."""


def labels_of(snapshot: Snapshot, cluster: str) -> Mapping[str, str]:
    """The labels that are declared for a cluster."""
    declared = snapshot.remotes.get(cluster)
    return declared.metadata.labels if declared is not None else {}


def reaches_cluster(snapshot: Snapshot, identity: Identity, cluster: str, *, now: float) -> Decision:
    """Whether a user of this cluster may go to another one."""
    if identity.passage is not None:
        return Decision(False, ("who comes from another cluster goes to no third one",), hidden=True)
    user = snapshot.user(identity.name)
    obstacle = standing(snapshot, identity, now) or snapshot.blind_for("remote_cluster")
    if obstacle or user is None:
        return Decision(False, (obstacle,), revision=snapshot.revision)
    lock = lock_on(snapshot, user, now=now)
    if lock is not None:
        place = place_of(lock.origin, ("spec", "target"))
        return Decision(False, (lock_text(lock),), revision=snapshot.revision, **place)
    return _by_labels(snapshot, identity, user, cluster)


def _by_labels(snapshot: Snapshot, identity: Identity, user: BoundUser, cluster: str) -> Decision:
    labels, revision = labels_of(snapshot, cluster), snapshot.revision
    for role in user.roles:
        selector = role.deny.selector(KIND)
        if selector.denies(labels):
            because = f"role/{role.name} denies {selector.explain(labels)}"
            place = place_of(role.role.origin, ("spec", "deny", "cluster_labels"))
            return Decision(False, (because,), role=role.name, hidden=True, revision=revision, **place)
    allowing = _allowing(user, identity, labels)
    if allowing is None:
        because = f"no role of {user.name} reaches the cluster {cluster}"
        return Decision(False, (because,), hidden=True, revision=revision)
    conditions = conditions_of(snapshot, user, identity.requested_roles)
    because = f"role/{allowing.name} allows the cluster {cluster}"
    place = place_of(allowing.role.origin, ("spec", "allow", "cluster_labels"))
    return Decision(True, (because,), role=allowing.name, conditions=conditions, revision=revision, **place)


def _allowing(user: BoundUser, identity: Identity, labels: Mapping[str, str]) -> BoundRole | None:
    """The role that reaches it. Without labels it is reached by whoever has roles, none of which speaks of clusters."""
    scoped = user.scoped(identity.requested_roles)
    for role in scoped:
        if role.allow.selector(KIND).allows(labels):
            return role
    silent = all(role.allow.selector(KIND).empty for role in user.roles)
    return scoped[0] if scoped and silent and not labels else None
