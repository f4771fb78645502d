"""A folder of policy without a cluster: loaded and judged as a cluster would, and the questions asked of it.

What only a running cluster knows is missing: labels that hosts report, users from elsewhere, resources that other
sources declare.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from teleport.access.decide import AccessRequest, Decision, decide
from teleport.access.fleet import Fleet
from teleport.access.judge import judge
from teleport.access.people import Rights, host_named, people, supposed
from teleport.access.reach import reach
from teleport.access.snapshot import Declared, Snapshot, compile_snapshot
from teleport.access.target import Target
from teleport.core.errors import BadInput, Invalid, Problem
from teleport.core.identity import Identity
from teleport.gitops.folder import read_folder
from teleport.resources.kinds import AnyResource
from teleport.resources.load import Loader
from teleport.resources.node import Node
from teleport.resources.nouns import nearest
from teleport.resources.secret_ref import plain_secrets
from teleport.resources.user import User

__all__ = ["Policy", "Review", "Rights", "load_policy", "review"]

Traits = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Review:
    """What a folder declares and everything that is to be said about it."""

    resources: tuple[AnyResource, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def review(folder: Path) -> Review:
    """Load and judge a folder: every problem of every file. Raises BadInput where there is no such folder."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder", hint="name the folder that holds the policy")
    files, unreadable = read_folder(folder)
    loaded = Loader(source="folder").load(files)
    judgement = judge([*loaded.resources, *loaded.remnants], broken=loaded.broken)
    secrets = plain_secrets((*loaded.resources, *loaded.remnants))
    problems = {*unreadable, *loaded.problems, *judgement.problems, *secrets}
    return Review(loaded.resources, tuple(sorted(problems)), judgement.warnings)


def load_policy(folder: Path) -> "Policy":
    """A folder that a cluster would accept. Raises Invalid with every problem."""
    found = review(folder)
    if found.problems:
        raise Invalid(found.problems)
    return Policy(compile_snapshot(Declared(found.resources)))


@dataclass(frozen=True)
class Policy:
    """A policy, and what may be asked of it."""

    snapshot: Snapshot

    def with_traits(self, name: str, traits: Traits) -> "Policy":
        """The same policy, had this user these traits: each replaces the one of its name. Raises BadInput."""
        user = self._user(name)
        changed = user.model_copy(
            update={"spec": user.spec.model_copy(update={"traits": {**user.spec.traits, **traits}})}
        )
        return Policy(self.snapshot.with_user(changed))

    def host(self, name: str) -> Target:
        """A declared host, by the name people use or by that of its resource. Raises BadInput."""
        nodes = self.snapshot.nodes
        found = host_named(name, nodes)
        if found is None:
            raise BadInput(
                f"no host {name} is declared there", hint=_likely(name, nodes) or "use --labels for any other"
            )
        return found

    def check(self, name: str, login: str, target: Target, *, mfa: bool, now: float) -> Decision:
        """May this user log in there? Raises BadInput for a user who is not declared."""
        return decide(self.snapshot, AccessRequest(self._identity(name, mfa=mfa), target, login), now=now)

    def hosts(self, name: str, *, now: float) -> list[tuple[Target, list[str]]]:
        """Every declared host that a user reaches, with the logins; a second factor assumed."""
        fleet = Fleet("node", map(_target, self.snapshot.nodes.values()))
        return list(reach(self.snapshot, self._identity(name, mfa=True), fleet, now=now).rows())

    def people(self, target: Target, *, login: str = "", now: float) -> list[Rights]:
        """Who reaches a host, a second factor assumed: for each user and each role, the logins that role gives."""
        return people(self.snapshot, target, login=login, now=now)

    def _user(self, name: str) -> User:
        user = self.snapshot.users.get(name)
        if user is None:
            raise BadInput(f"no user {name} is declared there", hint=_likely(name, self.snapshot.users))
        return user

    def _identity(self, name: str, *, mfa: bool) -> Identity:
        return supposed(self.snapshot, self._user(name).name, mfa=mfa)


def _target(node: Node) -> Target:
    return Target("node", node.hostname, node.name, node.metadata.labels)


def _likely(word: str, known: Iterable[str]) -> str:
    likely = nearest(word, known)
    return f"did you mean {likely}?" if likely else ""
