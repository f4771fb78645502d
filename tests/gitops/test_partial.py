"""What can come into force does, whole change sets at a time; while anything cannot, nobody gets more."""

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from teleport.access.judge import judge
from teleport.core.errors import Problem
from teleport.gitops.order import Ref
from teleport.gitops.partial import ChangeSet, Partial, Waiting, partial
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from teleport.resources.model import Origin

Objects = dict[Ref, AnyResource]
BROKEN = (Problem("TeleportRoleV7/broken", 0, 0, "unknown field"),)


def made(kind: str, name: str, spec: Any, version: str) -> AnyResource:
    body = {"kind": kind, "version": version, "metadata": {"name": name}, "spec": spec}
    return from_dict(body).with_origin(Origin(source="kubernetes", file=f"{kind}/{name}"))


def role(name: str, *logins: str, requests: Sequence[str] = ()) -> AnyResource:
    allow: dict[str, Any] = {"logins": list(logins), "node_labels": {"*": "*"}}
    if requests:
        allow["request"] = {"roles": list(requests)}
    return made("role", name, {"allow": allow}, "v7")


def user(name: str, *roles: str) -> AnyResource:
    return made("user", name, {"roles": list(roles)}, "v2")


def objects(*resources: AnyResource) -> Objects:
    return {(one.kind, one.name): one for one in resources}


def logins(state: Mapping[Ref, AnyResource]) -> set[tuple[str, str]]:
    """Who may log in as what, anywhere: enough of a policy to tell what widens."""
    return {
        (one.name, login)
        for one in state.values()
        if one.kind == "user"
        for name in one.spec.roles
        if ("role", name) in state
        for login in state["role", name].spec.allow.logins
    }


def widens(before: Mapping[Ref, AnyResource], after: Mapping[Ref, AnyResource]) -> list[str]:
    return sorted({name for name, _ in logins(after) - logins(before)})


def run(
    declared: Objects, *, owned: Objects | None = None, broken: Sequence[Ref] = (), others: Objects | None = None,
    sets: Mapping[Ref, ChangeSet] | None = None,
) -> Partial:  # fmt: skip
    return partial(
        declared, dict.fromkeys(broken, BROKEN), owned=owned or {}, others=others or {}, widens=widens, sets=sets
    )


def test_where_nothing_is_wrong_everything_comes_into_force() -> None:
    declared = objects(role("dev", "root"), user("ann", "dev"))

    assert run(declared) == Partial(declared)


def test_what_plainly_gives_more_waits_and_nobody_is_asked_about_it() -> None:
    asked: list[int] = []

    def ask(before: Mapping[Ref, AnyResource], after: Mapping[Ref, AnyResource]) -> list[str]:
        asked.append(len(after) - len(before))
        return []

    found = partial(
        objects(user("ann"), *(role(f"r{index}", "root") for index in range(50))), {("lock", "x"): BROKEN}, owned={},
        others={}, widens=ask, plainly=lambda one: ["all"] if one.kind == "role" else [],
    )  # fmt: skip

    assert asked == [1]
    assert set(found.desired) == {("user", "ann")}
    assert set(found.waiting.values()) == {Waiting(("all",))}


def test_a_broken_object_keeps_its_last_good_version() -> None:
    owned = objects(role("dev", "root"), user("ann", "dev"))

    found = run(objects(user("ann", "dev")), owned=owned, broken=[("role", "dev")])

    assert found.desired == owned
    assert set(found.stalled) == {("role", "dev")}


def test_what_refers_to_a_broken_object_that_never_was_stalls_too() -> None:
    found = run(objects(user("ann", "dev"), user("bob")), broken=[("role", "dev")])

    assert set(found.stalled) == {("role", "dev"), ("user", "ann")}
    assert set(found.desired) == {("user", "bob")}
    assert found.stalled["user", "ann"][0].message == "unknown role dev"


def test_what_is_still_used_is_not_deleted_and_says_by_whom() -> None:
    owned = objects(role("dev", "root"))
    others = objects(user("ann", "dev"))

    found = run({}, owned=owned, others=others)

    assert found.desired == owned
    assert found.stalled["role", "dev"][0].message == "role/dev is still used by user/ann (user/ann)"


def test_while_something_is_stalled_only_what_gives_nobody_more_comes_into_force() -> None:
    owned = objects(role("dev", "ann"), role("ops", "root"), user("ann", "dev"), user("bob", "dev", "ops"))
    wider, narrower = role("dev", "ann", "root"), user("bob", "dev")

    found = run(objects(wider, role("ops", "root"), user("ann", "dev"), narrower), owned=owned, broken=[("role", "x")])

    assert found.desired["role", "dev"] is owned["role", "dev"]
    assert found.desired["user", "bob"] is narrower
    assert found.waiting["role", "dev"].gainers == ("ann",)


def test_what_needs_a_change_that_waits_waits_for_it() -> None:
    owned = objects(role("dev", "ann"), user("ann", "dev"))
    declared = objects(role("dev", "ann", "root"), role("new"), user("ann", "dev"), user("eve", "dev"))

    found = run(declared, owned=owned, broken=[("role", "x")])

    assert set(found.waiting) == {("role", "dev"), ("user", "eve")}
    assert ("role", "new") in found.desired


def test_a_change_set_comes_whole() -> None:
    sets = {("role", "dev"): ChangeSet("move", 2), ("user", "ann"): ChangeSet("move", 2)}
    declared = objects(role("dev", "root"), user("ann", "dev"))

    assert run(declared, sets=sets) == Partial(declared)


def test_a_change_set_that_lacks_one_stays_out_and_says_so() -> None:
    sets = {("role", "dev"): ChangeSet("move", 2)}

    found = run(objects(role("dev", "root"), user("bob")), sets=sets)

    assert set(found.desired) == {("user", "bob")}
    assert found.stalled["role", "dev"][0].message == "change set move has 1 of 2 objects"


def test_a_change_set_waits_for_its_broken_member() -> None:
    sets = {("role", "dev"): ChangeSet("move", 2), ("role", "broken"): ChangeSet("move", 2)}

    found = run(objects(role("dev", "root")), broken=[("role", "broken")], sets=sets)

    assert found.desired == {}
    assert found.stalled["role", "dev"][0].message == "change set move waits for role/broken"


def test_members_that_disagree_about_their_number_stay_out() -> None:
    sets = {("user", "ann"): ChangeSet("move", 2), ("user", "bob"): ChangeSet("move", 3)}

    found = run(objects(user("ann"), user("bob")), sets=sets)

    assert found.desired == {}
    assert "said to have 2 and 3" in found.stalled["user", "ann"][0].message


def test_one_that_nobody_can_be_blamed_for_changes_nothing() -> None:
    owned = objects(user("bob"))
    others = objects(user("eve", "nowhere"))

    found = run(objects(user("ann")), owned=owned, others=others)

    assert found.desired == owned


ROLES, USERS = ["a", "b", "c"], ["ann", "bob"]
role_specs = st.builds(
    lambda logins, requests: (tuple(logins), tuple(requests)),
    st.lists(st.sampled_from(["root", "web"]), unique=True), st.lists(st.sampled_from(ROLES), unique=True, max_size=1),
)  # fmt: skip


@st.composite
def states(draw: st.DrawFn) -> Objects:
    found: list[AnyResource] = []
    for name in ROLES:
        if draw(st.booleans()):
            names, requests = draw(role_specs)
            found.append(role(name, *names, requests=requests))
    found += [user(name, *draw(st.lists(st.sampled_from(ROLES), unique=True))) for name in USERS if draw(st.booleans())]
    return objects(*found)


def sound(state: Objects) -> Objects:
    """What is left when everything that refers to nothing is taken out."""
    while problems := judge(state.values()).problems:
        files = {one.file for one in problems}
        state = {ref: one for ref, one in state.items() if one.origin.file not in files}
    return state


REFS = [*(("role", name) for name in ROLES), *(("user", name) for name in USERS)]


@given(states().map(sound), states(), st.lists(st.sampled_from(REFS), unique=True, max_size=2), st.data())
def test_whatever_is_declared_what_comes_into_force_is_sound_and_widens_nothing_while_something_is_stalled(
    owned: Objects, declared: Objects, broken: list[Ref], data: st.DataObject
) -> None:
    declared = {ref: one for ref, one in declared.items() if ref not in broken}
    members = data.draw(st.lists(st.sampled_from(sorted(declared)), unique=True)) if declared else []
    sets = {ref: ChangeSet("set", len(members)) for ref in members}

    found = run(declared, owned=owned, broken=broken, sets=sets)

    assert judge(found.desired.values()).problems == ()
    if found.stalled:
        assert widens(owned, found.desired) == []
    else:
        assert found.desired == declared
    for ref in found.stalled:
        assert found.desired.get(ref) is owned.get(ref)
    moved = {ref for ref in members if not same(found.desired.get(ref), owned.get(ref))}
    changing = {ref for ref in members if not same(declared[ref], owned.get(ref))}
    assert moved in (set(), changing)


def same(one: AnyResource | None, other: AnyResource | None) -> bool:
    return (one and one.to_dict()) == (other and other.to_dict())
