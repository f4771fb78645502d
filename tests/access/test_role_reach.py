"""How far a role reaches, as its status in Kubernetes tells in one line."""

from collections.abc import Mapping
from typing import Any

import pytest

from teleport.access.role_reach import reach_lines
from teleport.access.snapshot import Declared, compile_snapshot
from teleport.access.target import Target
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource

HOSTS = [Target("node", name, name, {"team": team}) for name, team in (("a", "web"), ("b", "web"), ("c", "db"))]


def role(team: str, *logins: str) -> AnyResource:
    allow = {"logins": list(logins), "node_labels": {"team": team}}
    return from_dict({"kind": "role", "version": "v7", "metadata": {"name": "dev"}, "spec": {"allow": allow}})


def user(name: str, *roles: str, **traits: list[str]) -> AnyResource:
    spec = {"roles": list(roles), "traits": traits}
    return from_dict({"kind": "user", "version": "v2", "metadata": {"name": name}, "spec": spec})


def lines(*resources: AnyResource) -> Mapping[str, str]:
    return reach_lines(compile_snapshot(Declared(resources)), HOSTS, ["dev", "unknown"])


@pytest.mark.parametrize(
    ("declared", "line"),
    [
        (role("web", "root"), "2 people, 2 nodes"),
        (role("db", "root"), "2 people, 1 node"),
        (role("web"), "2 people, 0 nodes"),
        (role("{{external.team}}", "root"), "2 people, 3 nodes"),
        (role("web", "{{external.none}}"), "2 people, 0 nodes"),
    ],
)
def test_a_line_counts_who_holds_the_role_and_which_hosts_it_opens(declared: AnyResource, line: str) -> None:
    people = [user("ann", "dev", team=["web"]), user("bob", "dev", team=["db"]), user("eve", "access")]

    found: dict[str, Any] = dict(lines(declared, *people))

    assert found == {"dev": line}


def test_a_role_that_nobody_holds_says_so() -> None:
    assert lines(role("web", "root")) == {"dev": "0 people, 2 nodes"}
