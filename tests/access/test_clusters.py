"""Which other clusters somebody reaches."""

from teleport.access.clusters import reaches_cluster
from teleport.access.snapshot import Snapshot
from teleport.core.identity import Identity, Passage
from teleport.resources.kinds import AnyResource
from teleport.resources.role import Role
from tests.access.builders import NOW, from_yaml, identity, lock, policy, role, user


def leaf(**labels: str) -> AnyResource:
    shown = ", ".join(f"{key}: {value}" for key, value in labels.items())
    return from_yaml(f"kind: remote_cluster\nversion: v3\nmetadata: {{name: leaf, labels: {{{shown}}}}}\n")[0]


def going(name: str, **labels: str) -> Role:
    return role(name, allow={"cluster_labels": labels})


def goes(snapshot: Snapshot, who: Identity | None = None) -> bool:
    return reaches_cluster(snapshot, who or identity(), "leaf", now=NOW).allowed


def test_a_cluster_without_labels_is_reached_by_roles_that_say_nothing_of_clusters() -> None:
    assert goes(policy(role("dev"), user()))
    assert goes(policy(role("dev"), user(), leaf()))


def test_one_role_that_speaks_of_clusters_ends_that_for_all_of_the_user() -> None:
    snapshot = policy(role("dev"), going("far", env="prod"), user(roles=("dev", "far")))

    assert not goes(snapshot)


def test_that_role_ends_it_though_the_certificate_is_restricted_to_another() -> None:
    snapshot = policy(role("dev"), going("far", env="prod"), user(roles=("dev", "far")))

    assert not goes(snapshot, identity(requested_roles=("dev",)))


def test_labels_are_reached_by_the_roles_that_select_them() -> None:
    assert goes(policy(going("dev", env="prod"), user(), leaf(env="prod")))
    assert not goes(policy(going("dev", env="prod"), user(), leaf(env="test")))
    assert not goes(policy(role("dev"), user(), leaf(env="prod")))


def test_a_denial_of_any_role_counts() -> None:
    snapshot = policy(
        going("dev", env="prod"), role("stay", deny={"cluster_labels": {"*": "*"}}), user(roles=("dev", "stay")),
        leaf(env="prod"),
    )  # fmt: skip

    assert not goes(snapshot)


def test_nobody_without_a_role_or_locked_out_goes_anywhere() -> None:
    assert not goes(policy(user(roles=())))
    assert not goes(policy(role("dev"), user(), lock(user="ann")))


def test_who_came_from_another_cluster_goes_to_no_third_one() -> None:
    passage = Passage("ann", "acme", "db-1", "root", "sid", "proxy", ("dev",))
    snapshot = policy(role("dev"), user(), leaf())

    assert not goes(snapshot, identity(passage=passage))


def test_labels_that_cannot_be_read_deny() -> None:
    assert not goes(policy(role("dev"), user(), unreadable=["remote_cluster/leaf"]))
