"""SEMANTICS, "Admin rules": deny over all roles first, independent verbs, specificity, conditions."""

from typing import Any

import pytest

from teleport.access.rules import may
from teleport.access.snapshot import Snapshot
from teleport.core.identity import Identity
from teleport.resources.kinds import AnyResource
from tests.access.builders import NOW, ann_with, from_yaml, identity, lock, policy, role, user


def admin(*rules: dict[str, Any], name: str = "admin", deny: Any = ()) -> Any:
    return role(name, allow={"rules": list(rules)}, deny={"rules": list(deny)})


def grant(resources: str, verbs: str, where: str = "") -> dict[str, Any]:
    return {"resources": resources.split(), "verbs": verbs.split(), **({"where": where} if where else {})}


def asked(snapshot: Snapshot, verb: str, noun: str, subject: AnyResource | None = None, **more: Any) -> Any:
    who = more.pop("who", identity())
    return may(snapshot, who, verb, noun, now=NOW, subject=subject, **more)


@pytest.mark.parametrize(
    ("granted", "verb", "noun", "allowed"),
    [
        pytest.param(grant("role", "read"), "read", "role", True, id="what is granted"),
        pytest.param(grant("role", "read"), "list", "role", False, id="read does not imply list"),
        pytest.param(grant("role", "list"), "read", "role", False, id="nor list read"),
        pytest.param(grant("role", "update"), "create", "role", False, id="nor update create"),
        pytest.param(grant("token", "read"), "readnosecrets", "token", True, id="read covers readnosecrets"),
        pytest.param(grant("token", "readnosecrets"), "read", "token", False, id="not the reverse"),
        pytest.param(grant("role", "*"), "delete", "role", True, id="every verb"),
        pytest.param(grant("*", "read"), "read", "user", True, id="every kind"),
        pytest.param(grant("role", "read"), "read", "user", False, id="another kind"),
        pytest.param(grant("role user", "read"), "read", "user", True, id="several kinds"),
        pytest.param(grant("cluster_config", "read"), "read", "session_recording_config", True, id="the noun for all settings"),
        pytest.param(grant("provision_token", "read"), "read", "token", True, id="the other noun for tokens"),
        pytest.param(grant("server", "read"), "read", "node", True, id="the other noun for hosts"),
        pytest.param(grant("ssh_session", "read"), "read", "session", False, id="live sessions are no recordings"),
    ],
)  # fmt: skip
def test_a_rule_grants_verbs_on_kinds(granted: dict[str, Any], verb: str, noun: str, allowed: bool) -> None:
    assert asked(ann_with(admin(granted)), verb, noun).allowed is allowed


@pytest.mark.parametrize(
    ("denied", "verb", "allowed"),
    [
        pytest.param(grant("role", "delete"), "delete", False, id="what is denied"),
        pytest.param(grant("role", "delete"), "read", True, id="another verb"),
        pytest.param(grant("user", "delete"), "delete", True, id="another kind"),
        pytest.param(grant("*", "*"), "read", False, id="everything"),
        pytest.param(grant("role", "read"), "readnosecrets", False, id="read denies readnosecrets"),
    ],
)
@pytest.mark.parametrize("order", ["allow first", "deny first"])
def test_deny_over_all_roles_comes_first(denied: dict[str, Any], verb: str, allowed: bool, order: str) -> None:
    roles = [admin(grant("role", "*")), admin(name="no", deny=[denied])]

    decision = asked(ann_with(*(roles if order == "allow first" else reversed(roles))), verb, "role")

    assert decision.allowed is allowed
    assert decision.role == ("admin" if allowed else "no")


MINE = 'equals(resource.metadata.labels["owner"], user.metadata.name)'


@pytest.mark.parametrize(("owner", "allowed"), [("ann", True), ("bob", False)])
def test_a_condition_limits_what_is_allowed(owner: str, allowed: bool) -> None:
    snapshot = ann_with(admin(grant("role", "update", MINE)))
    subject = role("x").model_copy(
        update={"metadata": role("x").metadata.model_copy(update={"labels": {"owner": owner}})}
    )

    assert asked(snapshot, "update", "role", subject).allowed is allowed


@pytest.mark.parametrize(("name", "allowed"), [("prod-x", False), ("dev-x", True)])
def test_a_condition_limits_what_is_denied(name: str, allowed: bool) -> None:
    keep_off = grant("role", "*", 'has_prefix(resource.metadata.name, "prod-")')
    snapshot = ann_with(admin(grant("role", "*")), admin(name="no", deny=[keep_off]))

    assert asked(snapshot, "delete", "role", role(name)).allowed is allowed


def test_without_a_resource_the_question_is_whether_there_is_some() -> None:
    conditional = ann_with(admin(grant("role", "read", MINE)))
    nearly_all = ann_with(admin(grant("role", "read")), admin(name="no", deny=[grant("role", "read", MINE)]))

    assert asked(conditional, "read", "role").allowed
    assert asked(nearly_all, "read", "role").allowed


@pytest.mark.parametrize(("participants", "allowed"), [(("ann", "bob"), True), (("bob",), False), ((), False)])
def test_a_condition_on_a_session(participants: tuple[str, ...], allowed: bool) -> None:
    snapshot = ann_with(admin(grant("session", "read", "contains(session.participants, user.metadata.name)")))

    decision = asked(snapshot, "read", "session", attributes={"session.participants": participants})

    assert decision.allowed is allowed


@pytest.mark.parametrize("side", ["allow", "deny"])
def test_a_failing_condition_is_a_denial(side: str) -> None:
    failing = grant("session", "read", 'has_prefix(session.login, "r")')
    rules = {"allow": admin(failing, grant("session", "read")), "deny": admin(grant("session", "read"), deny=[failing])}

    decision = asked(ann_with(rules[side]), "read", "session", attributes={"session.login": ("not", "a text")})

    assert not decision.allowed
    assert decision.defect.startswith("AttributeError")


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        pytest.param(["{resources: ['*'], verbs: [read]}", "{resources: [role], verbs: [read]}"], 1, id="the kind before every kind"),
        pytest.param(["{resources: [role], verbs: ['*']}", "{resources: [role], verbs: [read]}"], 1, id="the verb before every verb"),
        pytest.param(["{resources: [role], verbs: [read]}", "{resources: [role], verbs: [read], where: 'equals(\"a\", \"a\")'}"], 1, id="a condition before none"),
        pytest.param(["{resources: [role, user], verbs: [read]}", "{resources: [role], verbs: [read]}"], 1, id="one kind before several"),
        pytest.param(["{resources: [role], verbs: [read]}", "{resources: [role], verbs: [read, list]}"], 0, id="otherwise the first"),
    ],
)  # fmt: skip
def test_more_specific_rules_are_tried_first(rules: list[str], line: int) -> None:
    text = "kind: role\nversion: v7\nmetadata: {name: admin}\nspec:\n  allow:\n    rules:\n"
    found = from_yaml(text + "".join(f"    - {one}\n" for one in rules), file="admin.yaml")

    decision = asked(policy(*found, user("ann", ["admin"])), "read", "role", role("x"))

    assert (decision.file, decision.line) == ("admin.yaml", 7 + line)


def test_nobody_without_a_rule_may_anything_and_is_told_so() -> None:
    decision = asked(ann_with(role("dev")), "read", "role")

    assert decision.reasons == ("no role of ann allows read on role",)


def test_a_certificate_narrows_what_rules_allow_and_never_what_they_deny() -> None:
    roles = [admin(grant("role", "*")), admin(grant("user", "*"), name="people", deny=[grant("role", "delete")])]
    scoped = identity(requested_roles=("admin",))
    snapshot = ann_with(*roles)

    assert asked(snapshot, "read", "role", who=scoped).allowed
    assert not asked(snapshot, "read", "user", who=scoped).allowed
    assert not asked(snapshot, "delete", "role", who=scoped).allowed


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        pytest.param(identity(reissuable=False), "for one session only", id="a certificate for one session"),
        pytest.param(identity("bob"), "user bob does not exist", id="a deleted user"),
        pytest.param(Identity("host", "db-1", "u", "example"), "only users have sessions", id="a host"),
    ],
)
def test_who_may_not_administer_whatever_the_rules(who: Identity, reason: str) -> None:
    decision = asked(ann_with(admin(grant("*", "*"))), "read", "role", who=who)

    assert not decision.allowed
    assert reason in decision.because


def test_a_locked_user_may_not_administer() -> None:
    snapshot = policy(admin(grant("*", "*")), user("ann", ["admin"]), lock("stop", user="ann"))

    assert asked(snapshot, "read", "role").reasons == ("lock/stop on user ann",)


def local(*roles: str) -> Identity:
    return Identity("admin", "root", "", "example", requested_roles=roles or None, local_uid=0)


def test_the_local_administrator_may_everything() -> None:
    assert asked(policy(unreadable=["lock/x"]), "delete", "role", who=local()).allowed


def test_somebody_mapped_to_roles_may_what_those_roles_allow() -> None:
    snapshot = ann_with(admin(grant("role", "read")))

    assert asked(snapshot, "read", "role", who=local("admin")).allowed
    assert not asked(snapshot, "delete", "role", who=local("admin")).allowed
    assert not asked(snapshot, "read", "role", who=local("gone")).allowed


@pytest.mark.parametrize("ref", ["lock/x", "role/admin", "cluster_auth_preference/x"])
def test_somebody_mapped_to_roles_is_denied_by_what_cannot_be_read(ref: str) -> None:
    snapshot = policy(admin(grant("role", "read"), name="other"), unreadable=[ref])

    assert not asked(snapshot, "read", "role", who=local("other", "admin")).allowed


@pytest.mark.parametrize(("who", "allowed"), [("ann", True), ("bob", False)])
def test_the_preset_role_access_reads_only_its_own_events(who: str, allowed: bool) -> None:
    snapshot = policy(user("ann", ["access"]))

    assert asked(snapshot, "list", "event", attributes={"event.user": who}).allowed is allowed


@pytest.mark.parametrize(
    ("granted", "denied", "allowed"),
    [
        pytest.param(grant("*", "*"), [], False, id="a star was written without thinking of it"),
        pytest.param(grant("*", "break_glass"), [], True, id="by name"),
        pytest.param(grant("role", "* break_glass"), [], True, id="by name, beside the star"),
        pytest.param(grant("user", "break_glass"), [], False, id="another kind"),
        pytest.param(grant("role", "break_glass"), [grant("*", "*")], False, id="a denied star includes it"),
    ],
)  # fmt: skip
def test_an_emergency_is_allowed_by_name_alone(granted: dict[str, Any], denied: Any, allowed: bool) -> None:
    assert asked(ann_with(admin(granted, deny=denied)), "break_glass", "role").allowed is allowed
