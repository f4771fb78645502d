"""What somebody wants to reach, and as whom."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from teleport.access.roles import LOGINS
from teleport.core.identity import Identity

__all__ = ["AccessRequest", "Target"]


@dataclass(frozen=True)
class Target:
    """What somebody wants to reach."""

    kind: str
    name: str
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AccessRequest:
    """Who wants to reach what, as which login; at a database, as which of its users and which database."""

    identity: Identity
    target: Target
    login: str = ""
    db_user: str = ""
    db_name: str = ""

    @property
    def wants(self) -> tuple[tuple[str, str], ...]:
        """What a single role must name, by its field; a kind with logins always needs one."""
        if self.target.kind in LOGINS:
            return ((LOGINS[self.target.kind], self.login),)
        if self.target.kind == "db":
            asked = (("db_users", self.db_user), ("db_names", self.db_name))
            return tuple((field, name) for field, name in asked if name)
        return ()
