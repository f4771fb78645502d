"""SEMANTICS, "Matching": what a role allows, greedy deny, the order of one check; and 8, where we differ on purpose."""

from typing import Any

import pytest

from teleport.access.decide import AccessRequest, Decision, Target, decide
from teleport.core.identity import Identity
from teleport.resources.role import Role
from tests.access.builders import (
    FUTURE,
    NOW,
    PAST,
    ann_with,
    ask,
    from_yaml,
    host,
    identity,
    lock,
    policy,
    resource,
    role,
    rule,
    setting,
    user,
)

ROOT_IN_DEV = role("dev", allow=rule("root", env="dev"))
DEV_ON_PROD = role("prod", allow=rule("dev", env="prod"))


def test_a_decision_has_no_truth_value() -> None:
    decision = ask(ann_with(ROOT_IN_DEV))

    with pytest.raises(TypeError, match=r"ask \.allowed"):
        bool(decision)


@pytest.mark.parametrize(
    ("login", "env", "allowed"),
    [
        pytest.param("root", "dev", True, id="labels and login of one role"),
        pytest.param("dev", "prod", True, id="labels and login of another"),
        pytest.param("root", "prod", False, id="never a cross product over roles"),
        pytest.param("dev", "dev", False, id="in neither direction"),
        pytest.param("nobody", "dev", False, id="a login that no role names"),
        pytest.param("", "dev", False, id="no login"),
        pytest.param("*", "dev", False, id="a star is no login"),
        pytest.param("root", "test", False, id="labels that no role selects"),
    ],
)
def test_a_role_allows_when_its_labels_and_its_login_match(login: str, env: str, allowed: bool) -> None:
    assert ask(ann_with(ROOT_IN_DEV, DEV_ON_PROD), login, host(env=env)).allowed is allowed


ANYWHERE = role("any", allow=rule("root", "dev", **{"env": "*"}))


@pytest.mark.parametrize(
    ("deny", "login", "env", "allowed"),
    [
        pytest.param({"logins": ["root"]}, "root", "dev", False, id="a login that is denied"),
        pytest.param({"logins": ["root"]}, "dev", "dev", True, id="and not another"),
        pytest.param({"logins": ["*"]}, "dev", "dev", False, id="a star denies every login"),
        pytest.param({"node_labels": {"env": "prod"}}, "root", "prod", False, id="labels that are denied"),
        pytest.param({"node_labels": {"env": "prod"}}, "root", "dev", True, id="and not others"),
        pytest.param({"node_labels": {"*": "*"}}, "root", "dev", False, id="star to star denies everything"),
        pytest.param({"node_labels_expression": 'labels.env == "prod"'}, "dev", "prod", False, id="an expression that holds"),
        pytest.param({"node_labels": {}}, "root", "dev", True, id="an empty selector denies nothing"),
        pytest.param({"logins": ["root"], "node_labels": {"env": "prod"}}, "root", "dev", False, id="greedy: the login everywhere"),
        pytest.param({"logins": ["root"], "node_labels": {"env": "prod"}}, "dev", "prod", False, id="greedy: everything on the labels"),
        pytest.param({"logins": ["root"], "node_labels": {"env": "prod"}}, "dev", "dev", True, id="greedy: what neither names"),
        pytest.param({"logins": ["{{internal.banned}}"]}, "root", "dev", False, id="a login from a trait"),
        pytest.param({"logins": ["{{internal.star}}"]}, "root", "dev", True, id="a star from a trait denies only a login *"),
        pytest.param({"db_labels": {"env": "dev"}, "db_users": ["root"]}, "root", "dev", True, id="what is said of databases"),
    ],
)  # fmt: skip
def test_deny_is_greedy(deny: dict[str, Any], login: str, env: str, allowed: bool) -> None:
    snapshot = ann_with(ANYWHERE, role("no", deny=deny), banned=["root"], star=["*"])

    assert ask(snapshot, login, host(env=env)).allowed is allowed


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["allow first", "deny first"])
def test_deny_in_one_role_beats_allow_in_another_in_any_order(order: tuple[int, int]) -> None:
    roles = [ANYWHERE, role("freeze", deny={"node_labels": {"env": "prod"}})]

    decision = ask(ann_with(*(roles[index] for index in order)), target=host(env="prod"))

    assert not decision.allowed
    assert decision.reasons == ("role/freeze denies env=prod",)


def test_deny_within_the_allowing_role_itself_counts() -> None:
    snapshot = ann_with(role("x", allow=rule("root", env="*"), deny={"node_labels": {"env": "prod"}}))

    assert not ask(snapshot, target=host(env="prod")).allowed


YAML = """\
kind: role
version: v7
metadata: {name: ops}
spec:
  allow:
    logins:
      - dev
      - root
    node_labels:
      env: ["*"]
---
kind: role
version: v7
metadata: {name: freeze}
spec:
  options:
    require_session_mfa: yes
  allow:
    logins: [careful]
    node_labels: {"*": "*"}
  deny:
    logins: [toor]
    node_labels:
      env: prod
    node_labels_expression: labels["team"] == "core"
---
kind: lock
version: v2
metadata: {name: fire}
spec:
  target:
    login: locked
  message: on fire
---
kind: user
version: v2
metadata: {name: ann}
spec: {roles: [ops, freeze]}
"""


@pytest.mark.parametrize(
    ("login", "labels", "reason", "found", "line"),
    [
        pytest.param("root", {"env": "dev"}, "role/ops allows root on env=dev", "ops", 8, id="the login entry that allows"),
        pytest.param("toor", {"env": "dev"}, "role/freeze denies login toor", "freeze", 22, id="the login that is denied"),
        pytest.param("root", {"env": "prod"}, "role/freeze denies env=prod", "freeze", 23, id="the labels that are denied"),
        pytest.param("root", {"env": "dev", "team": "core"}, "role/freeze denies what its label expression matches", "freeze", 25, id="the expression that denies"),
        pytest.param("careful", {"env": "dev"}, "role/freeze requires a second factor for each session", "freeze", 17, id="the option that demands"),
        pytest.param("locked", {"env": "dev"}, "lock/fire on login locked: on fire", None, 31, id="the lock"),
        pytest.param("nobody", {"env": "dev"}, "role/ops allows dev, root, not nobody", None, None, id="no rule at all"),
    ],
)  # fmt: skip
def test_an_answer_names_the_role_and_the_line_that_decided(
    login: str, labels: dict[str, str], reason: str, found: str | None, line: int | None
) -> None:
    snapshot = policy(*from_yaml(YAML, file="roles.yaml"))

    decision = ask(snapshot, login, Target("node", "db-1", "u", labels)).to_dict()

    assert reason in decision["reasons"]
    assert decision["role"] == found
    assert decision["origin"] == (None if line is None else {"file": "roles.yaml", "line": line})


def test_a_denial_says_of_each_role_what_was_missing() -> None:
    snapshot = ann_with(ROOT_IN_DEV, DEV_ON_PROD)

    decision = ask(snapshot, "root", host("db-1", env="prod"))

    assert decision.reasons == (
        "role/dev allows env=dev, which does not match db-1",
        "role/prod allows dev, not root",
    )


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        pytest.param(user("ann", []), "ann has no roles", id="no roles"),
        pytest.param(user("ann", ["gone"]), "role/gone does not exist", id="a role that does not exist"),
    ],
)
def test_a_user_without_roles_reaches_nothing(made: Any, reason: str) -> None:
    decision = ask(policy(made))

    assert not decision.allowed
    assert reason in decision.reasons


def test_a_role_that_does_not_exist_takes_nothing_from_the_others() -> None:
    snapshot = policy(ROOT_IN_DEV, user("ann", ["gone", "dev"]))

    assert ask(snapshot, target=host(env="dev")).allowed


# -- the order of one check


def stages() -> dict[str, Any]:
    """Each obstacle of one check in its order: what puts it there, and what the answer says."""
    return {
        "restriction": "the certificate is restricted to other resources",
        "lock": "lock/stop on user ann",
        "cluster mfa": "this cluster requires a second factor for each session",
        "deny": "role/no denies every login",
        "no allow": "role/dev allows env=dev, which does not match db-1",
    }


@pytest.mark.parametrize("first", range(5), ids=list(stages()))
def test_of_several_obstacles_the_first_in_order_answers(first: int) -> None:
    names = list(stages())[first:]
    snapshot = policy(
        ROOT_IN_DEV,
        *([lock(user="ann")] if "lock" in names else []),
        *([setting("cluster_auth_preference", require_session_mfa=True)] if "cluster mfa" in names else []),
        role("no", deny={"logins": ["*"]} if "deny" in names else {}),
        user("ann", ["dev", "no"]),
    )
    who = identity(allowed_resources=("other",) if "restriction" in names else None)

    decision = ask(snapshot, "root", host("db-1", env="prod"), who=who)

    assert not decision.allowed
    assert decision.reasons[0] == stages()[names[0]]


def test_without_any_obstacle_it_is_allowed() -> None:
    assert ask(ann_with(ROOT_IN_DEV), "root", host(env="dev")).allowed


@pytest.mark.parametrize("restriction", ["db-1", "uid-db-1"], ids=["by name", "by uid"])
def test_a_restricted_certificate_opens_what_it_names(restriction: str) -> None:
    snapshot = ann_with(ROOT_IN_DEV)

    assert ask(snapshot, target=host("db-1", env="dev"), who=identity(allowed_resources=(restriction,))).allowed
    assert not ask(snapshot, target=host("db-2", env="dev"), who=identity(allowed_resources=(restriction,))).allowed


def test_a_certificate_restricted_to_nothing_opens_nothing() -> None:
    assert not ask(ann_with(ROOT_IN_DEV), target=host(env="dev"), who=identity(allowed_resources=())).allowed


def test_a_second_factor_satisfies_the_cluster_and_the_roles() -> None:
    snapshot = policy(
        setting("cluster_auth_preference", require_session_mfa=True),
        role("dev", allow=rule("root", env="dev"), options={"require_session_mfa": True}),
        user(),
    )

    without, shown = (ask(snapshot, target=host(env="dev"), who=identity(mfa_verified=mfa)) for mfa in (False, True))

    assert (without.allowed, without.to_dict()["conditions"]) == (False, {"mfa": "required"})
    assert (shown.allowed, shown.to_dict()["conditions"]["mfa"]) == (True, "verified")


def test_a_hardware_key_that_the_cluster_demands_nobody_can_show() -> None:
    snapshot = policy(setting("cluster_auth_preference", require_session_mfa="hardware_key"), ROOT_IN_DEV, user())

    decision = ask(snapshot, target=host(env="dev"), who=identity(mfa_verified=True))

    assert (decision.allowed, decision.needs, decision.role) == (False, {"mfa": "hardware_key"}, None)


@pytest.mark.parametrize("mode", ["required", "required-for-humans"])
def test_a_trusted_device_that_the_cluster_demands_nobody_can_show(mode: str) -> None:
    snapshot = policy(setting("cluster_auth_preference", device_trust={"mode": mode}), ROOT_IN_DEV, user())

    decision = ask(snapshot, target=host(env="dev"))

    assert (decision.allowed, decision.needs) == (False, {"device_trust": "required"})


def test_an_error_while_evaluating_is_a_denial_and_is_kept_for_the_log() -> None:
    class Broken(dict[str, str]):
        def get(self, *_: Any) -> Any:
            raise RuntimeError("no labels today")

    decision = ask(ann_with(ROOT_IN_DEV), target=Target("node", "db-1", "u", Broken()))

    assert not decision.allowed
    assert decision.reasons == ("the policy could not be evaluated; access is denied until it can",)
    assert decision.defect == "RuntimeError: no labels today"


def test_a_kind_of_target_that_no_role_knows_is_a_denial() -> None:
    assert not ask(ann_with(ROOT_IN_DEV), target=Target("toaster", "x")).allowed


# -- other kinds of target


DB = role(
    "db",
    allow={"db_labels": {"env": "*"}, "db_users": ["app", "{{internal.db}}"], "db_names": ["*"]},
    deny={"db_names": ["secret"]},
)


@pytest.mark.parametrize(
    ("db_user", "db_name", "env", "allowed"),
    [
        pytest.param("app", "orders", "prod", True, id="a user that is named, and every database"),
        pytest.param("ann", "orders", "prod", True, id="a user from a trait"),
        pytest.param("root", "orders", "prod", False, id="a user that is not named"),
        pytest.param("app", "secret", "prod", False, id="a database that is denied"),
        pytest.param("app", "orders", "", False, id="labels that do not match"),
        pytest.param("*", "orders", "prod", True, id="a star from a trait is a user called *"),
    ],
)
def test_database_users_and_names_must_match_in_one_role(db_user: str, db_name: str, env: str, allowed: bool) -> None:
    snapshot = ann_with(DB, role("no", allow={"db_users": ["root"]}), db=["ann", "*"])
    target = Target("db", "pg", "u", {"env": env} if env else {})

    decision = decide(snapshot, AccessRequest(identity(), target, db_user=db_user, db_name=db_name), now=NOW)

    assert decision.allowed is allowed, decision.reasons


def test_database_users_are_never_combined_over_roles() -> None:
    one = role("one", allow={"db_labels": {"env": "*"}, "db_users": ["app"], "db_names": ["orders"]})
    two = role("two", allow={"db_labels": {"env": "*"}, "db_users": ["root"], "db_names": ["stock"]})
    request = AccessRequest(identity(), Target("db", "pg", "u", {"env": "x"}), db_user="root", db_name="orders")

    assert not decide(ann_with(one, two), request, now=NOW).allowed


def test_a_desktop_is_opened_by_its_own_logins() -> None:
    snapshot = ann_with(
        role("win", allow={"windows_desktop_labels": {"*": "*"}, "windows_desktop_logins": ["Domain User"]})
    )
    target = Target("windows_desktop", "pc-1")

    assert decide(snapshot, AccessRequest(identity(), target, "Domain User"), now=NOW).allowed
    assert not decide(snapshot, AccessRequest(identity(), target, "root"), now=NOW).allowed


def test_an_application_is_opened_by_labels_alone() -> None:
    snapshot = ann_with(role("web", allow={"app_labels": {"env": "dev"}}))

    answers = [
        decide(snapshot, AccessRequest(identity(), Target("app", "wiki", "u", {"env": env})), now=NOW).allowed
        for env in ("dev", "prod")
    ]

    assert answers == [True, False]


# -- 8: where we differ on purpose


@pytest.mark.parametrize("value", ["*", "^.*$", "p*", "pro?", "[p]rod"])
def test_a_trait_value_is_data_never_a_pattern(value: str) -> None:
    snapshot = ann_with(role("dev", allow=rule("root", env="{{external.env}}")), env=[value])

    assert not ask(snapshot, target=host(env="prod")).allowed
    assert ask(snapshot, target=host(env=value)).allowed


def test_live_roles_not_those_of_the_certificate_decide() -> None:
    scoped = identity(requested_roles=("dev", "admin"))

    before = ask(policy(ROOT_IN_DEV, user("ann", ["dev"])), target=host(env="dev"), who=scoped)
    after = ask(policy(ROOT_IN_DEV, user("ann", [])), target=host(env="dev"), who=scoped)

    assert (before.allowed, after.allowed) == (True, False)


def test_a_certificate_narrows_what_allows_and_never_what_denies() -> None:
    snapshot = ann_with(ROOT_IN_DEV, DEV_ON_PROD, role("no", deny={"node_labels": {"team": "core"}}))
    scoped = identity(requested_roles=("dev",))

    assert ask(snapshot, "root", host(env="dev"), who=scoped).allowed
    assert not ask(snapshot, "dev", host(env="prod"), who=scoped).allowed
    assert not ask(snapshot, "root", host(env="dev", team="core"), who=scoped).allowed


def test_a_certificate_for_roles_that_are_gone_says_so() -> None:
    decision = ask(ann_with(ROOT_IN_DEV), who=identity(requested_roles=("former",)))

    assert decision.reasons == ("the certificate is restricted to roles that the user no longer has",)


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        pytest.param(identity("bob"), "user bob does not exist", id="a deleted user"),
        pytest.param(Identity("user", "ann", "earlier", "example"), "deleted and created again", id="another incarnation"),
        pytest.param(Identity("host", "ann", "", "example"), "only users have sessions", id="a host"),
        pytest.param(Identity("admin", "ann", "", "example"), "only users have sessions", id="a local administrator"),
    ],
)  # fmt: skip
def test_a_certificate_proves_who_somebody_is_and_the_policy_whether_that_one_still_is(
    who: Identity, reason: str
) -> None:
    decision = ask(ann_with(ROOT_IN_DEV), target=host(env="dev"), who=who)

    assert not decision.allowed
    assert reason in decision.because


@pytest.mark.parametrize(("expires", "allowed"), [(PAST, False), (FUTURE, True)], ids=["expired", "not yet"])
def test_a_user_who_was_made_at_a_login_expires(expires: str, allowed: bool) -> None:
    guest = resource("user", "ann", {"roles": ["dev"], "expires": expires}, version="v2")

    assert ask(policy(ROOT_IN_DEV, guest), target=host(env="dev")).allowed is allowed


@pytest.mark.parametrize(
    ("ref", "allowed"),
    [
        pytest.param("lock/x", False, id="a lock could concern anybody"),
        pytest.param("cluster_auth_preference/cluster-auth-preference", False, id="so could a setting"),
        pytest.param("marvel/x", False, id="and a kind that this version never heard of"),
        pytest.param("node/x", False, id="a declared host could be any host"),
        pytest.param("role/dev", False, id="a role of this user"),
        pytest.param("user/ann", False, id="this user"),
        pytest.param("role/other", True, id="a role of somebody else"),
        pytest.param("user/bob", True, id="another user"),
        pytest.param("token/t", True, id="a token"),
    ],
)
def test_newer_than_known_fails_closed(ref: str, allowed: bool) -> None:
    declared = [one for one in (ROOT_IN_DEV, user()) if one.ref != ref]

    decision = ask(policy(*declared, unreadable=[ref]), target=host(env="dev"))

    assert decision.allowed is allowed


def test_a_preset_role_that_is_declared_anew_and_cannot_be_read_does_not_fall_back_to_the_preset() -> None:
    snapshot = policy(user("ann", ["access"], logins=["root"]), unreadable=["role/access"])

    assert not ask(snapshot).allowed


@pytest.mark.parametrize(
    ("labels", "hidden"),
    [
        pytest.param({"env": "dev"}, False, id="selected, only the login is wrong"),
        pytest.param({"env": "other"}, True, id="selected by no role"),
        pytest.param({}, True, id="without labels"),
    ],
)
def test_what_no_selector_of_the_callers_roles_could_match_stays_hidden(labels: dict[str, str], hidden: bool) -> None:
    decision = ask(ann_with(ROOT_IN_DEV), "nobody", Target("node", "db-1", "u", labels))

    assert not decision.allowed
    assert decision.hidden is hidden


@pytest.mark.parametrize(
    "obstacle",
    [
        [lock(user="ann")],
        [setting("cluster_auth_preference", require_session_mfa=True)],
        [role("no", deny={"logins": ["*"]}), user("ann", ["dev", "no"])],
    ],
    ids=["lock", "cluster mfa", "deny"],
)
def test_no_obstacle_gives_away_that_a_hidden_host_exists(obstacle: list[Any]) -> None:
    snapshot = policy(ROOT_IN_DEV, user(), *obstacle)

    assert ask(snapshot, target=host(env="prod")).hidden
    assert not ask(snapshot, target=host(env="dev")).hidden


def test_a_role_within_the_scope_hides_what_only_others_select() -> None:
    decision = ask(ann_with(ROOT_IN_DEV, DEV_ON_PROD), "dev", host(env="prod"), who=identity(requested_roles=("dev",)))

    assert decision.hidden


# -- what programs read


def test_what_programs_read_of_an_allowed_check() -> None:
    found = ask(ann_with(ROOT_IN_DEV), target=host(env="dev")).to_dict()

    assert list(found) == ["allowed", "reasons", "role", "origin", "conditions"]
    assert (found["allowed"], found["role"], found["origin"]) == (True, "dev", None)
    assert found["conditions"]["mfa"] == "no"


@pytest.mark.parametrize(("allowing", "first"), [(["a", "b"], "a"), (["b", "a"], "b")])
def test_of_several_roles_that_allow_the_first_in_the_users_order_is_named(allowing: list[str], first: str) -> None:
    roles: list[Role] = [role(name, allow=rule("root", env="*")) for name in ("a", "b")]

    decision: Decision = ask(policy(*roles, user("ann", allowing)), target=host(env="dev"))

    assert decision.role == first


def test_a_role_that_only_denies_is_told_as_allowing_no_host() -> None:
    snapshot = ann_with(role("freeze", deny=rule(env="prod")))

    assert ask(snapshot, "root", host(env="dev")).reasons == ("role/freeze allows no host",)
