"""Manifests are read as a folder would be: all of them, each fault by its path, the last word to who was first."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.gitops.manifests import Manifests
from teleport.resources.load import Loaded


def manifest(kind: str, name: str, spec: Any, version: str = "v1", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"resources.teleport.dev/{version}", "kind": kind, "spec": spec,
        "metadata": {"name": name, "generation": 1, **metadata},
    }  # fmt: skip


def lock(name: str, user: str = "ann", **metadata: Any) -> dict[str, Any]:
    return manifest("TeleportLockV2", name, {"target": {"user": user}}, **metadata)


async def loaded(*manifests: dict[str, Any]) -> Loaded:
    source = Manifests("kubernetes", "namespace default")
    for one in manifests:
        source.put(one)
    return await source.load()


async def test_manifests_declare_resources_of_their_source() -> None:
    found = await loaded(lock("lost"), manifest("TeleportUser", "ann", {"roles": ["access"]}, "v2"))

    assert [one.ref for one in found.resources] == ["lock/lost", "user/ann"]
    assert {one.origin.source for one in found.resources} == {"kubernetes"}
    assert [one.origin.file for one in found.resources] == ["TeleportLockV2/lost", "TeleportUser/ann"]


async def test_a_fault_is_told_with_the_path_of_its_field() -> None:
    spec = {"allow": {"rules": [{"resources": ["user"], "verbs": ["lst"]}]}, "dney": {}}

    found = await loaded(manifest("TeleportRoleV7", "dev", spec))

    assert [str(one) for one in found.problems] == [
        "TeleportRoleV7/dev: spec.allow.rules[0].verbs[0]: unknown verb lst (did you mean list?)",
        "TeleportRoleV7/dev: spec.dney: unknown field dney (did you mean deny?)",
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
    assert [one.file for one in found.problems] == ["TeleportRoleV6/dev"]


async def test_one_that_is_gone_declares_nothing() -> None:
    source = Manifests("kubernetes", "namespace default")
    source.put(lock("lost"))

    assert source.remove(lock("lost"))
    assert not source.remove(lock("lost"))
    assert await source.load() == Loaded()


async def test_a_kind_whose_definition_is_gone_is_forgotten() -> None:
    source = Manifests("kubernetes", "namespace default")
    source.put(lock("lost"))
    source.put(manifest("TeleportUser", "ann", {}, "v2"))

    source.forget("TeleportLockV2")

    assert [one.ref for one in (await source.load()).resources] == ["user/ann"]


def test_a_change_of_the_status_alone_is_no_news() -> None:
    source = Manifests("kubernetes", "namespace default")

    assert source.put(lock("lost"))
    assert not source.put({**lock("lost"), "status": {"conditions": []}})
    assert source.put(lock("lost", generation=2))
    assert source.put(lock("lost", generation=2, annotations={"teleport.dev/keep": "true"}))


async def test_what_did_not_change_is_read_once() -> None:
    source = Manifests("kubernetes", "namespace default")
    source.put(lock("lost"))

    first, second = await source.load(), await source.load()

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


@given(kinds, anything, st.dictionaries(st.sampled_from(["name", "labels", "annotations", "uid"]), anything))
async def test_whatever_is_put_in_ends_in_resources_or_problems(kind: str, spec: Any, metadata: Any) -> None:
    body = {"apiVersion": "resources.teleport.dev/v1", "kind": kind, "metadata": metadata, "spec": spec}

    found = await loaded(body)

    assert len(found.resources) + len({one.file for one in found.problems}) == 1
    assert all(one.message and "\n" not in one.message for one in found.problems)
