"""From what a source owns to what it declares; and when it must not be obeyed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.gitops.fields import differing
from teleport.gitops.plan import Change, plan
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from teleport.resources.wishes import IGNORE, KEEP


def made(kind: str, name: str, spec: Any, version: str = "v2") -> AnyResource:
    return from_dict({"kind": kind, "version": version, "metadata": {"name": name}, "spec": spec})


def lock(name: str, *, message: str = "", user: str = "ann") -> AnyResource:
    return made("lock", name, {"target": {"user": user}, "message": message})


def node(name: str) -> AnyResource:
    return made("node", name, {"hostname": name})


def role(name: str, **spec: Any) -> AnyResource:
    return made("role", name, spec, "v7")


def user(name: str, *roles: str) -> AnyResource:
    return made("user", name, {"roles": list(roles)})


def labelled(resource: AnyResource, label: str) -> AnyResource:
    metadata = {"name": resource.name, "labels": {label: "true"}}
    return from_dict({**resource.to_dict(), "metadata": metadata})


def owned(*resources: AnyResource) -> dict[tuple[str, str], AnyResource]:
    return {(one.kind, one.name): one for one in resources}


def test_a_plan_names_what_is_created_updated_and_deleted() -> None:
    desired = [lock("new"), lock("changed", message="b"), lock("same")]

    found = plan(desired, owned(lock("changed", message="a"), lock("same"), lock("gone")))

    assert found.changes == (
        Change("update", "lock", "changed"),
        Change("create", "lock", "new"),
        Change("delete", "lock", "gone"),
    )
    assert found.unchanged == 1


def test_where_a_resource_stands_is_no_change() -> None:
    moved = lock("x").with_origin(lock("x").origin.__class__(source="s", file="elsewhere.yaml", line=9))

    assert plan([moved], owned(lock("x"))).empty


def test_what_is_referred_to_comes_first_and_goes_last() -> None:
    asks = role("asks", allow={"request": {"roles": ["given"]}})
    everything = [lock("l"), user("ann", "asks"), asks, role("given"), node("n")]

    coming = plan(everything, {}).changes
    going = plan([], owned(*everything)).changes

    names = [change.name for change in coming]
    assert names == ["given", "asks", "ann", "n", "l"]
    assert [change.name for change in going] == names[::-1]


def test_roles_that_refer_to_each_other_are_in_order_of_name() -> None:
    pair = [role(one, allow={"request": {"roles": [other]}}) for one, other in (("b", "a"), ("a", "b"))]

    assert [change.name for change in plan(pair, {}).changes] == ["a", "b"]


def test_a_field_is_told_with_its_path_its_old_and_its_new_value() -> None:
    before = role("dev", allow={"logins": ["a"], "node_labels": {"env": "dev"}}, options={"max_session_ttl": "8h"})
    after = role("dev", allow={"logins": ["a", "b"], "node_labels": {"env": ["dev", "prod"]}})

    (change,) = plan([after], owned(before)).changes

    assert [(one.path, one.old, one.new) for one in change.fields] == [
        ("spec.options.max_session_ttl", "8h", None),
        ("spec.allow.logins", ["a"], ["a", "b"]),
        ("spec.allow.node_labels.env", "dev", ["dev", "prod"]),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"logins": ["a", "b"]}, {"logins": ["b", "a"]}),
        ({"node_labels": {"env": ["a", "b"]}}, {"node_labels": {"env": ["b", "a"]}}),
        ({"node_labels": {"env": ["a"]}}, {"node_labels": {"env": "a"}}),
        (
            {"rules": [{"resources": ["event"], "verbs": ["list"]}, {"resources": ["session"], "verbs": ["read"]}]},
            {"rules": [{"resources": ["session"], "verbs": ["read"]}, {"resources": ["event"], "verbs": ["list"]}]},
        ),
    ],
)
def test_the_order_of_a_list_is_no_change(old: Any, new: Any) -> None:
    assert plan([role("dev", allow=new)], owned(role("dev", allow=old))).empty


def test_one_item_of_a_list_that_changes_is_told_by_itself() -> None:
    event, session = ({"resources": [one], "verbs": ["list"]} for one in ("event", "session"))
    before = role("dev", allow={"rules": [event, session]})
    after = role("dev", allow={"rules": [{**session, "verbs": ["list", "read"]}, event]})
    more = role("dev", allow={"rules": [event]})

    (changed,) = plan([after], owned(before)).changes
    (removed,) = plan([more], owned(before)).changes

    assert [(one.path, one.new) for one in changed.fields] == [("spec.allow.rules[0].verbs", ["list", "read"])]
    assert [(one.path, one.old, one.new) for one in removed.fields] == [("spec.allow.rules[1]", session, None)]


def test_a_key_that_is_no_plain_word_is_quoted_in_its_path() -> None:
    (found,) = differing({"labels": {}}, {"labels": {"a.b/c": "x"}})

    assert found.path == 'labels["a.b/c"]'


def test_secrets_are_hidden_in_names_and_values() -> None:
    token = made("token", "hunter2-secret", {"roles": ["Node"], "suggested_labels": {"note": "sesame"}})

    (change,) = plan([token], {}).changes

    told = str(change.to_dict())
    assert "hunter2" not in told
    assert "sesame" not in told
    assert change.shown == "token/hu…"
    assert {one.new for one in change.fields} == {"(hidden)"}


def test_what_exists_elsewhere_is_adopted_and_what_is_not_declared_is_left_alone() -> None:
    api = lock("x", message="old")
    theirs = api.with_origin(api.origin.__class__(source="api"))

    found = plan([lock("x", message="new")], {}, owned(theirs, lock("other")))

    (change,) = found.changes
    assert (change.action, change.owner, [one.path for one in change.fields]) == ("adopt", "api", ["spec.message"])
    assert found.left_alone == (("lock", "other"),)


def test_what_asks_to_be_kept_or_ignored_is_left_alone() -> None:
    kept = labelled(lock("kept"), KEEP)
    ignored, changed = lock("ignored", message="old"), labelled(lock("ignored", message="new"), IGNORE)

    found = plan([changed, labelled(lock("absent"), IGNORE)], owned(kept, ignored, lock("gone")))

    assert found.changes == (Change("delete", "lock", "gone"),)
    assert found.left_alone == (("lock", "ignored"), ("lock", "kept"))


VALUES = st.recursive(
    st.sampled_from(["a", "b", 1, True]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2),
    max_leaves=6,
)


@given(VALUES)
def test_nothing_differs_from_itself(value: Any) -> None:
    assert list(differing(value, value)) == []
