"""Which hosts there are, with which labels; and two fleets in which a host has one place."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from teleport.access.inventory import aligned, declared_hosts, known_hosts, plain_hosts
from teleport.access.target import Target
from teleport.resources.codec import from_dict
from teleport.resources.node import Node


def node(name: str, labels: dict[str, str], *, hostname: str = "", **more: Any) -> Node:
    made = from_dict(
        {
            "kind": "node",
            "version": "v2",
            "metadata": {"name": name, "labels": labels},
            "spec": {"hostname": hostname, "addr": f"{name}:22"},
            **more,
        }
    )
    assert isinstance(made, Node)
    return made


def test_a_declared_node_gives_labels_that_win_to_the_host_of_its_name() -> None:
    declared = {"web-1": node("any", {"env": "prod"}, hostname="web-1")}

    (host,) = known_hosts([node("id-1", {"env": "dev", "own": "x"}, hostname="web-1")], declared)

    assert host == Target("node", "web-1", "id-1", {"env": "prod", "own": "x"})


def test_what_is_declared_and_does_not_report_is_a_host_only_if_it_is_a_plain_one() -> None:
    declared = {"a": node("a", {}), "b": node("b", {}, sub_kind="openssh")}

    assert [one.name for one in known_hosts([], declared)] == ["b"]
    assert [one.name for one in declared_hosts(declared)] == ["a", "b"]


HOSTS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["x", "y"])).map(
    lambda found: [Target("node", uid, uid, {"l": label}) for uid, label in found.items()]
)


@given(HOSTS, HOSTS)
def test_a_host_has_the_same_place_in_both_fleets(before: list[Target], after: list[Target]) -> None:
    was, will = aligned(before, after)

    assert sorted(one.uid for one in was) == sorted(one.uid for one in before)
    assert sorted(one.uid for one in will) == sorted(one.uid for one in after)
    both = {one.uid for one in before} & {one.uid for one in after}
    assert all(was.position(uid) == will.position(uid) for uid in both)
    places = {uid: fleet.position(uid) for fleet in (was, will) for uid in {one.uid for one in fleet}}
    assert len(set(places.values())) == len(places)


def test_fleets_that_are_equal_are_one() -> None:
    hosts = [Target("node", "a", "a", {})]

    was, will = aligned(hosts, list(hosts))

    assert was is will


def test_a_plain_host_gives_way_to_an_agent_of_its_name_or_id() -> None:
    nodes = [node(name, {}, sub_kind="openssh", hostname=f"{name}-host") for name in ("a", "b", "c")]
    declared = {one.hostname: one for one in (*nodes, node("d", {}))}

    found = plain_hosts(declared, {"a", "b-host"})

    assert list(found) == ["c"]
