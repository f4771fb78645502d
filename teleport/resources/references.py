"""What a resource names by kind and name."""

from collections.abc import Iterator

from teleport.resources.access_invariant import AccessInvariant
from teleport.resources.access_test import AccessTest
from teleport.resources.kinds import AnyResource
from teleport.resources.lock import Lock
from teleport.resources.role import Condition, Role
from teleport.resources.trusted_cluster import TrustedCluster
from teleport.resources.user import User

__all__ = ["Ref", "references"]

Ref = tuple[str, str]
"""Kind and name."""


def references(resource: AnyResource) -> Iterator[Ref]:
    """What a resource names by kind and name; patterns name nothing by themselves."""
    if isinstance(resource, User):
        yield from (("role", name) for name in resource.spec.roles)
    elif isinstance(resource, Role):
        for side in (resource.spec.allow, resource.spec.deny):
            yield from (("role", name) for name in _roles(side))
    elif isinstance(resource, Lock):
        target = resource.spec.target
        yield from (("role", name) for name in (target.role,) if name)
        yield from (("user", name) for name in (target.user,) if name)
    elif isinstance(resource, AccessInvariant):
        yield from (("role", name) for name in resource.spec.only.roles)
    elif isinstance(resource, AccessTest) and resource.spec.given is not None:
        yield from (("role", name) for name in resource.spec.given.roles_here)
    elif isinstance(resource, TrustedCluster):
        yield from (("role", name) for entry in resource.spec.role_map for name in entry.local if "$" not in name)


def _roles(side: Condition) -> Iterator[str]:
    if side.request is not None:
        yield from (*side.request.roles, *side.request.search_as_roles)
    if side.review_requests is not None:
        yield from side.review_requests.roles
    for join in side.join_sessions:
        yield from join.roles
