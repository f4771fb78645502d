"""What a namespace declares, beside what is in force: what is compared, what is left alone, and what problems name."""

from typing import Any

from teleport.core.errors import Problem
from teleport.gitops.manifests import Declared, Manifests
from teleport.gitops.order import Ref
from teleport.gitops.partial import Partial, Waiting
from teleport.gitops.piecemeal import Case, case_of
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from teleport.resources.model import Origin

NOW = 1_900_000_000.0
PLACE = "kubernetes:team-b/TeleportUser"


def manifest(name: str, *roles: str, **metadata: Any) -> dict[str, Any]:
    named = {"name": name, "namespace": "team-b", "generation": 1, **metadata}
    return {
        "apiVersion": "resources.teleport.dev/v2", "kind": "TeleportUser", "metadata": named,
        "spec": {"roles": list(roles)},
    }  # fmt: skip


async def read(*manifests: dict[str, Any], withheld: tuple[str, ...] = ()) -> Declared:
    source = Manifests("team-b", "team-b")
    source.take(manifests, withheld)
    return await source.load()


def user(name: str, source: str = "team-b", **labels: str) -> AnyResource:
    named = {"name": name, "labels": {"teleport.dev/origin": "kubernetes", **labels}}
    body = {"kind": "user", "version": "v2", "metadata": named, "spec": {"roles": []}}
    return from_dict(body).with_origin(Origin(source=source, file=f"{PLACE}/{name}"))


def in_force(*resources: AnyResource) -> dict[Ref, AnyResource]:
    return {(one.kind, one.name): one for one in resources}


def case(declared: Declared, *found: AnyResource) -> Case:
    return case_of(declared, in_force(*found), "team-b", now=NOW)


async def test_what_is_declared_is_compared_with_what_the_source_owns_and_nobody_else() -> None:
    found = case(await read(manifest("ann")), user("bob"), user("root", "ops"))

    assert (list(found.declared), list(found.owned), list(found.others)) == (
        [("user", "ann")], [("user", "bob")], [("user", "root")],
    )  # fmt: skip
    assert found.pruned(("user", "bob"))
    assert not found.pruned(("user", "root"))


async def test_what_cannot_be_seen_is_declared_as_it_is() -> None:
    found = case(await read(withheld=("TeleportUser",)), user("ann"))

    assert found.declared == in_force(user("ann"))
    assert not found.pruned(("user", "ann"))


async def test_what_is_given_up_to_be_kept_belongs_to_others_already() -> None:
    found = case(await read(), user("ann", **{"teleport.dev/keep": "true"}))

    assert (list(found.owned), list(found.others)) == ([], [("user", "ann")])


async def test_what_has_expired_is_not_declared() -> None:
    past = {"teleport.dev/expires": "2020-01-01T00:00:00Z"}

    assert not case(await read(manifest("ann", annotations=past))).declared


async def test_what_cannot_be_read_is_found_before_anything_is_tried_and_is_not_pruned() -> None:
    found = case(await read(manifest("ann") | {"spec": {"rolse": []}}), user("ann"))

    assert [one.reason for one in found.findings.values()] == ["Invalid"]
    assert not found.pruned(("user", "ann"))


async def test_problems_name_the_changes_in_whose_files_they_are() -> None:
    found = case(await read(manifest("ann", "access"), manifest("bob")), user("ann"), user("bob"), user("eve"))
    problems = [Problem(f"{PLACE}/{name}", 0, 0, "wrong") for name in ("ann", "bob", "eve", "zoe")]

    named = found.named([*problems, Problem("", 0, 0, "of all")], found.declared)

    assert set(named) == {("user", "ann"), ("user", "eve")}


async def test_what_says_the_same_is_no_change_wherever_it_stands() -> None:
    found = case(await read(manifest("ann")), user("ann"))

    assert found.changes(found.declared) == frozenset()


async def test_what_waits_stays_as_it_was_and_what_says_the_same_has_its_new_place() -> None:
    found = case(await read(manifest("ann", "access"), manifest("bob", generation=7)), user("ann"), user("bob"))
    part = Partial(dict(found.owned), waiting={("user", "ann"): Waiting(("ann",))})

    desired = found.desired(part)

    assert desired["user", "ann"] is found.owned["user", "ann"]
    assert desired["user", "bob"].origin.commit == "generation-7"
