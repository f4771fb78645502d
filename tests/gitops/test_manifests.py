"""Manifests are read as a folder would be: all of them, each fault by its path, the last word to who was first."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.core.errors import BadInput
from teleport.gitops.manifests import CHANGE_SET, Declared, Manifests
from teleport.gitops.partial import ChangeSet


def manifest(kind: str, name: str, spec: Any, version: str = "v1", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"resources.teleport.dev/{version}", "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": "default", "generation": 1, **metadata},
    }  # fmt: skip


def lock(name: str, user: str = "ann", **metadata: Any) -> dict[str, Any]:
    return manifest("TeleportLockV2", name, {"target": {"user": user}}, **metadata)


async def loaded(*manifests: dict[str, Any]) -> Declared:
    source = Manifests("kubernetes", "default")
    source.take(manifests)
    return await source.load()


async def test_manifests_declare_resources_of_their_source() -> None:
    found = await loaded(lock("lost"), manifest("TeleportUser", "ann", {"roles": ["access"]}, "v2"))

    assert [one.ref for one in found.resources] == ["lock/lost", "user/ann"]
    assert {one.origin.source for one in found.resources} == {"kubernetes"}
    assert [one.origin.file for one in found.resources] == [
        "kubernetes:default/TeleportLockV2/lost", "kubernetes:default/TeleportUser/ann",
    ]  # fmt: skip
    assert {one.origin.commit for one in found.resources} == {"generation-1"}


async def test_a_fault_is_told_with_the_path_of_its_field() -> None:
    spec = {"allow": {"rules": [{"resources": ["user"], "verbs": ["lst"]}]}, "dney": {}}

    found = await loaded(manifest("TeleportRoleV7", "dev", spec))

    assert [str(one) for one in found.problems] == [
        "kubernetes:default/TeleportRoleV7/dev: spec.allow.rules[0].verbs[0]: unknown verb lst (did you mean list?)",
        "kubernetes:default/TeleportRoleV7/dev: spec.dney: unknown field dney (did you mean deny?)",
    ]
    assert found.broken == (("role", "dev"),)


@pytest.mark.parametrize(("spec", "said"), [({}, "no version"), ({"version": "v9"}, "spec.version: unknown version")])
async def test_a_role_that_does_not_say_its_version_is_refused(spec: dict[str, Any], said: str) -> None:
    (problem,) = (await loaded(manifest("TeleportRole", "dev", spec))).problems

    assert problem.message.startswith(said)


async def test_of_two_that_declare_the_same_the_older_keeps_it() -> None:
    younger = manifest("TeleportRoleV6", "dev", {}, creationTimestamp="2027-01-02T00:00:00Z")
    older = manifest("TeleportRoleV7", "dev", {}, creationTimestamp="2027-01-01T00:00:00Z")

    found = await loaded(younger, older)

    assert [one.version for one in found.resources] == ["v7"]
    assert [one.file for one in found.problems] == ["kubernetes:default/TeleportRoleV6/dev"]
    assert dict(found.refs) == {
        "kubernetes:default/TeleportRoleV7/dev": ("role", "dev"),
        "kubernetes:default/TeleportRoleV6/dev": ("TeleportRoleV6", "dev"),
    }


@pytest.mark.parametrize("metadata", [{"namespace": "other"}, {"namespace": None}, {"name": 1}])
def test_what_is_no_manifest_of_the_namespace_is_not_taken(metadata: dict[str, Any]) -> None:
    source = Manifests("kubernetes", "default")

    with pytest.raises(BadInput):
        source.take([lock("lost"), {**lock("other"), "metadata": {**lock("other")["metadata"], **metadata}}])

    assert list(source) == []


async def test_a_change_set_is_an_annotation() -> None:
    found = await loaded(lock("a", annotations={CHANGE_SET: "move/2"}), lock("b"))

    assert dict(found.sets) == {("lock", "a"): ChangeSet("move", 2)}


@pytest.mark.parametrize("text", ["move", "move/0", "move/two", "/2", "", "move/2\n", 2, None, ["move/2"]])
async def test_what_is_no_change_set_is_a_fault(text: Any) -> None:
    found = await loaded(lock("a", annotations={CHANGE_SET: text}))

    assert ([one.hint for one in found.problems] == [f"write {CHANGE_SET}: NAME/COUNT"]) == (text is not None)


@pytest.mark.parametrize("wish", ["keep", "ignore", "adopt"])
@pytest.mark.parametrize(("text", "asked"), [("true", True), ("1", True), ("yes", False), ("", False)])
async def test_what_is_asked_by_an_annotation_is_asked_as_by_a_label(wish: str, text: str, asked: bool) -> None:
    found = await loaded(lock("a", annotations={f"teleport.dev/{wish}": text}, labels={"a": "b"}))

    labels = found.resources[0].metadata.labels
    assert (labels["a"], labels.get(f"teleport.dev/{wish}")) == ("b", "true" if asked else None)


async def test_a_field_beside_spec_that_nobody_knows_is_a_fault() -> None:
    found = await loaded({**manifest("TeleportRoleV7", "dev", {}), "deny": {"logins": ["root"]}})

    assert [one.message for one in found.problems] == ["unknown field deny beside spec"]
    assert list(found.broken) == [("role", "dev")]


async def test_what_is_ignored_may_be_broken() -> None:
    broken = manifest("TeleportRoleV7", "dev", {"dney": {}}, annotations={"teleport.dev/ignore": "true"})

    found = await loaded(broken)

    assert found.problems == ()
    assert found.ignored == {("role", "dev")}


async def test_what_did_not_change_is_read_once() -> None:
    source = Manifests("kubernetes", "default")
    source.take([lock("lost")])
    first = await source.load()
    source.take([{**lock("lost"), "status": {"conditions": []}}])

    second = await source.load()

    assert first.resources[0] is second.resources[0]


def deep(levels: int) -> Any:
    return {"a": deep(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (deep(40), "nested deeper than 32 levels"),
        ({"x": "y" * (1 << 21)}, "more than"),
        ({"x": list(range(200_000))}, "more than"),
    ],
    ids=["deep", "long", "many"],
)
async def test_a_huge_manifest_is_refused_before_it_is_read(spec: Any, said: str) -> None:
    (problem,) = (await loaded(manifest("TeleportRoleV7", "dev", spec))).problems

    assert problem.message.startswith(said)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)
kinds = st.sampled_from(["TeleportRole", "TeleportRoleV7", "TeleportUser", "TeleportLockV2", "TeleportNothing"])


@given(kinds, anything, st.dictionaries(st.sampled_from(["labels", "annotations", "uid", "generation"]), anything))
async def test_whatever_is_put_in_ends_in_resources_or_problems(kind: str, spec: Any, metadata: Any) -> None:
    body = {"apiVersion": "resources.teleport.dev/v1", "kind": kind, "spec": spec}
    body["metadata"] = {**metadata, "name": "x", "namespace": "default"}

    found = await loaded(body)

    assert len(found.resources) + len({one.file for one in found.problems}) == 1
    assert all(one.message and "\n" not in one.message for one in found.problems)
