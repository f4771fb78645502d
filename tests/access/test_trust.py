"""Role maps: what the roles of another cluster are here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.access.decide import AccessRequest, Decision, Target, decide
from teleport.access.judge import judge
from teleport.access.snapshot import Snapshot
from teleport.access.trust import mapped, printed_name
from teleport.core.errors import Invalid
from teleport.core.identity import Identity, Passage
from teleport.resources.kinds import AnyResource
from teleport.resources.load import load
from teleport.resources.trusted_cluster import RoleMapping
from tests.access.builders import NOW, from_yaml, host, lock, policy, role, rule, user

NAMES = st.text("ab-*$.", min_size=1, max_size=6)


def entry(remote: str, *local: str, traits: tuple[str, ...] = ()) -> RoleMapping:
    return RoleMapping(remote=remote, local=local, traits=traits)


def roles_by(*entries: RoleMapping, of: tuple[str, ...] = ("dev",)) -> tuple[str, ...]:
    return mapped(entries, of, {}).roles


def trusting(*entries: str, enabled: str = "yes") -> AnyResource:
    """A declaration of trust in the cluster root, with these entries in YAML's flow style."""
    lines = "".join(f"    - {{{one}}}\n" for one in entries)
    text = (
        "kind: trusted_cluster\nversion: v2\nmetadata: {name: root}\n"
        f"spec:\n  enabled: {enabled}\n  web_proxy_addr: root.example:443\n  role_map:\n{lines}"
    )
    return from_yaml(text)[0]


def visitor(*roles: str, scope: tuple[str, ...] | None = None, cluster: str = "root", **traits: str) -> Identity:
    passage = Passage(
        "ann", "leaf", "db-1", "root", "sid", "proxy", roles, tuple((key, (value,)) for key, value in traits.items())
    )
    name = printed_name("ann", cluster)
    return Identity("user", name, "uid", cluster, requested_roles=scope, passage=passage)


def ask(snapshot: Snapshot, who: Identity, login: str = "root", target: Target | None = None) -> Decision:
    return decide(snapshot, AccessRequest(who, target or host(), login), now=NOW)


def problems(*resources: AnyResource) -> list[str]:
    return [problem.message for problem in judge(resources).problems]


# -- mapping


def test_a_name_maps_itself_and_nothing_longer() -> None:
    assert roles_by(entry("dev", "access"), of=("dev", "devops")) == ("access",)


def test_what_the_stars_stand_for_is_captured() -> None:
    assert roles_by(entry("remote-*-of-*", "local-$2-$1"), of=("remote-dev-of-web",)) == ("local-web-dev",)


def test_an_expression_passes_a_role_through() -> None:
    assert roles_by(entry("^(.*)$", "$1"), of=("dev", "ops")) == ("dev", "ops")


def test_entries_add_up_without_duplicates() -> None:
    assert roles_by(entry("dev", "a", "b"), entry("d*", "b", "c")) == ("a", "b", "c")


def test_an_expansion_to_nothing_is_no_role() -> None:
    assert roles_by(entry("dev*", "$1"), of=("dev", "dev-1")) == ("-1",)


def test_a_star_maps_nobody_who_has_no_role() -> None:
    assert mapped([entry("*", "access", traits=("logins",))], (), {"logins": ("root",)}).roles == ()


def test_only_the_traits_pass_that_a_matching_entry_names() -> None:
    entries = [entry("dev", "access", traits=("logins",)), entry("ops", "admin", traits=("team",))]

    found = mapped(entries, ("dev",), {"logins": ("ann",), "team": ("web",), "more": ("x",)})

    assert found.traits == {"logins": ("ann",)}


def test_a_line_break_in_a_role_does_not_end_it() -> None:
    assert roles_by(entry("dev", "access"), entry("d*v", "visitor"), of=("dev\n", "d\nv")) == ("visitor",)


@given(NAMES)
def test_characters_of_a_name_are_literal_but_the_star(name: str) -> None:
    plain = name.replace("*", "x")

    assert roles_by(entry(plain, "access"), of=(plain,)) == ("access",)
    assert roles_by(entry(plain, "access"), of=(f"{plain}x",)) == ()


@given(st.lists(st.sampled_from(["dev", "ops", "x-1"]), max_size=3), st.lists(st.sampled_from("abc"), max_size=3))
def test_more_roles_never_give_less(roles: list[str], more: list[str]) -> None:
    entries = [entry("dev", "access"), entry("*-*", "local-$2"), entry("^([ab])$", "$1")]

    few, many = mapped(entries, roles, {}), mapped(entries, [*roles, *more], {})

    assert set(few.roles) <= set(many.roles)
    assert few.passing <= many.passing


@given(st.dictionaries(st.sampled_from("abcd"), st.just(("x",))), st.sets(st.sampled_from("abcd")))
def test_no_trait_passes_that_nobody_named(traits: dict[str, tuple[str, ...]], named: set[str]) -> None:
    found = mapped([entry("*", "access", traits=tuple(named))], ("dev",), traits)

    assert set(found.traits) == set(traits) & named


# -- judging maps


def test_two_entries_for_the_same_roles_are_an_error() -> None:
    text = b"kind: trusted_cluster\nversion: v2\nmetadata: {name: root}\nspec:\n  web_proxy_addr: a:1\n"
    text += b"  role_map: [{remote: dev, local: a}, {remote: dev, local: b}]\n"

    (problem,) = load(text, file="t.yaml", source="test").problems

    assert "second entry for dev" in problem.message


def test_a_token_written_out_is_refused_without_being_repeated() -> None:
    text = (
        b"kind: trusted_cluster\nversion: v2\nmetadata: {name: root}\nspec:\n  web_proxy_addr: a:1\n  token: hushhush\n"
    )

    loaded = load(text, file="t.yaml", source="test")

    assert loaded.problems
    assert "hushhush" not in str(Invalid(loaded.problems))


@pytest.mark.parametrize(
    ("written", "because"),
    [
        ("remote: '^a|b$', local: x", "not grouped"),
        ("remote: '^(a$', local: x", "missing"),
        ("remote: 'dev-*', local: $2", "does not have"),
        ("remote: 'dev-*', local: local-$1_x", "does not have"),
        ("remote: dev, local: x, traits: ['*']", "no trait's name"),
    ],
)
def test_a_map_that_cannot_be_meant_is_refused(written: str, because: str) -> None:
    (problem,) = problems(trusting(written))

    assert because in problem


def test_a_mapped_role_that_needs_a_trait_which_may_not_pass_is_an_error() -> None:
    templated = role("access", allow=rule("{{external.logins}}", team="{{external.team}}"))

    (problem,) = problems(templated, trusting("remote: dev, local: access, traits: [team]"))

    assert problem == "role/access reads traits that may not pass: logins"
    assert not problems(templated, trusting("remote: dev, local: access, traits: [team, logins]"))


def test_a_mapped_role_that_does_not_exist_is_told_and_no_error() -> None:
    judgement = judge([trusting("remote: dev, local: acces")])

    assert not judgement.problems
    assert any("role/acces does not exist" in warning.message for warning in judgement.warnings)


# -- deciding


def test_a_visitor_has_what_the_map_gives() -> None:
    snapshot = policy(role("db", allow=rule("root", env="prod")), trusting("remote: dev, local: db"))

    assert ask(snapshot, visitor("dev"), target=host(env="prod")).allowed
    assert not ask(snapshot, visitor("dev"), "ann", target=host(env="prod")).allowed
    assert not ask(snapshot, visitor("ops"), target=host(env="prod")).allowed


@pytest.mark.parametrize("changed", [trusting("remote: dev, local: db", enabled="no"), None])
def test_nobody_comes_from_a_cluster_that_is_not_trusted(changed: AnyResource | None) -> None:
    everywhere = role("db", allow=rule("root", **{"*": "*"}))
    snapshot = policy(*(one for one in (everywhere, changed) if one is not None))

    decision = ask(snapshot, visitor("dev"))

    assert not decision.allowed
    assert "root" in decision.because


def test_a_local_user_of_the_same_name_is_somebody_else() -> None:
    everywhere = role("db", allow=rule("root", **{"*": "*"}))
    snapshot = policy(everywhere, user("ann", ["db"]), trusting("remote: ops, local: db"))

    assert not ask(snapshot, visitor("dev")).allowed


def test_the_scope_of_a_certificate_narrows_what_allows_and_not_what_denies() -> None:
    snapshot = policy(
        role("db", allow=rule("root", **{"*": "*"})),
        role("web", allow=rule("ann", **{"*": "*"})),
        role("freeze", deny=rule(env="prod")),
        trusting("remote: dev, local: db", "remote: ops, local: web", "remote: calm, local: freeze"),
    )
    scoped = visitor("dev", "ops", "calm", scope=("dev",))

    assert ask(snapshot, scoped).allowed
    assert not ask(snapshot, scoped, "ann").allowed
    assert not ask(snapshot, scoped, target=host(env="prod")).allowed


def test_whoever_is_mapped_to_a_role_that_reads_what_may_not_pass_is_denied() -> None:
    snapshot = policy(
        role("db", allow=rule("root", **{"*": "*"})),
        role("banned", deny={"logins": ["{{external.banned}}"]}),
        trusting("remote: '^(.*)$', local: $1"),
    )

    decision = ask(snapshot, visitor("db", "banned", banned="root"))

    assert not decision.allowed
    assert "role/banned" in decision.because


def test_traits_that_pass_are_data() -> None:
    snapshot = policy(
        role("db", allow=rule("root", team="{{external.team}}")),
        trusting("remote: dev, local: db, traits: [team]"),
    )

    assert ask(snapshot, visitor("dev", team="web"), target=host(team="web")).allowed
    assert not ask(snapshot, visitor("dev", team="*"), target=host(team="web")).allowed


def test_a_lock_names_a_visitor_as_it_is_printed() -> None:
    everywhere = role("db", allow=rule("root", **{"*": "*"}))
    snapshot = policy(everywhere, trusting("remote: dev, local: db"), lock(user="remote-ann-root"))

    assert not ask(snapshot, visitor("dev")).allowed
