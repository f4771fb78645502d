"""What counts as weaker: everything that is not plainly at least as strong."""

from typing import Any

import pytest

from teleport.gitops.weakened import weakened
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from teleport.resources.model import Origin

ROW = {"cannot": "root", "hosts": "any"}
OTHER = {"can": "dev", "hosts": {"name": "web-1"}}
LIST = {"users": ["ann"], "hosts": {"name": "db-1"}}
TEST = {"given": {"user": "ann"}, "expect": [ROW, OTHER], "exactly": [LIST]}
ONLY = {"roles": ["platform"], "users": ["boss"], "traits": {"team": ["sre", "ops"]}}
INVARIANT = {
    "only": ONLY, "may": {"logins": ["root", "admin"], "labels": {"env": ["prod", "staging"], "tier": "gold"}},
    "assume": {"traits": {"logins": ["ann", "bob"]}, "labels": {"env": ["prod", "dev"]}},
}  # fmt: skip


def promise(kind: str, spec: Any, **metadata: str) -> AnyResource:
    return from_dict({"kind": kind, "version": "v1", "metadata": {"name": "x", **metadata}, "spec": spec})


def found(before: AnyResource, after: AnyResource | None) -> list[tuple[str, str]]:
    ref = (before.kind, before.name)
    return [(one.how, one.what) for one in weakened({ref: before}, {ref: after} if after is not None else {})]


def with_(spec: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return {**spec, head: with_(spec[head], rest, value) if rest else value}


@pytest.mark.parametrize(("kind", "spec"), [("access_test", TEST), ("access_invariant", INVARIANT)])
def test_what_is_deleted_or_given_an_end_is_weaker_and_what_is_moved_or_described_is_not(kind: str, spec: Any) -> None:
    one = promise(kind, spec)

    moved = promise(kind, spec, description="why").with_origin(Origin("other", "elsewhere.yaml", 9))
    ending = promise(kind, spec, expires="2030-01-01T00:00:00Z")

    assert found(one, None) == [("deleted", f"{kind}/x is deleted")]
    assert found(one, moved) == []
    assert found(one, ending) == [("weakened", f"{kind}/x: it ends at 2030-01-01T00:00:00Z")]
    assert found(ending, one) == []


@pytest.mark.parametrize(
    "spec",
    [
        with_(TEST, "expect", [OTHER, ROW]),
        with_(TEST, "expect", [ROW, OTHER, {"cannot": "x", "hosts": "any"}]),
        with_(TEST, "exactly", [LIST, {"users": [], "hosts": "any", "logins": ["root"]}]),
    ],
)
def test_a_test_that_expects_as_much_or_more_is_not_weaker(spec: Any) -> None:
    assert found(promise("access_test", TEST), promise("access_test", spec)) == []


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        (with_(TEST, "expect", [ROW]), "it no longer expects can dev on web-1"),
        (with_(TEST, "exactly", [{**LIST, "users": ["ann", "eve"]}]), "it no longer expects exactly ann on db-1"),
        (with_(TEST, "given", {"user": "bob"}), "it is about somebody else"),
        (with_(TEST, "given", {"user": "ann", "mfa": False}), "it is about somebody else"),
    ],
)
def test_a_test_that_expects_less_is_weaker(spec: Any, what: str) -> None:
    assert found(promise("access_test", TEST), promise("access_test", spec)) == [("weakened", f"access_test/x: {what}")]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("only.roles", []),
        ("only.users", []),
        ("only.traits", {}),
        ("only.traits", {"team": ["sre"]}),
        ("only.traits", {"team": ["sre"], "clearance": ["high"]}),
        ("may.logins", ["root", "admin", "x"]),
        ("may.logins", "*"),
        ("may.labels", {"*": "*"}),
        ("may.labels", {"env": ["prod", "staging"]}),
        ("may.labels", {"env": ["dev", "prod", "staging"], "tier": "*"}),
        ("assume", {}),
        ("assume.traits", {"logins": ["ann", "bob", "cy"]}),
        ("assume.labels", {}),
    ],
)
def test_an_invariant_that_says_as_much_or_more_is_not_weaker(path: str, value: Any) -> None:
    assert (
        found(promise("access_invariant", INVARIANT), promise("access_invariant", with_(INVARIANT, path, value))) == []
    )


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("only.roles", ["platform", "dev"], "others may"),
        ("only.users", ["boss", "eve"], "others may"),
        ("only.traits", {"team": ["sre", "ops", "web"]}, "others may"),
        ("only.traits", {"clearance": ["high"]}, "others may"),
        ("may.logins", ["root"], "it speaks of fewer logins"),
        ("may.labels", {"env": "prod", "tier": "gold"}, "it speaks of other hosts"),
        ("may.labels", {"env": ["prod", "staging"], "tier": "gold", "zone": "a"}, "it speaks of other hosts"),
        ("assume.traits", {"logins": ["ann"]}, "it assumes more"),
        ("assume.traits", {"logins": ["ann", "bob"], "team": []}, "it assumes more"),
        ("assume.labels", {"env": ["prod"]}, "it assumes more"),
        ("on_unknown", "warn", "what cannot be proved only warns"),
    ],
)
def test_an_invariant_that_says_less_is_weaker(path: str, value: Any, what: str) -> None:
    after = promise("access_invariant", with_(INVARIANT, path, value))

    assert found(promise("access_invariant", INVARIANT), after) == [("weakened", f"access_invariant/x: {what}")]


def test_nobody_is_let_in_by_traits_where_traits_let_nobody_in() -> None:
    before = promise("access_invariant", {**INVARIANT, "only": {"roles": ["platform"]}})

    assert found(before, promise("access_invariant", INVARIANT))[0][1].endswith("others may")
