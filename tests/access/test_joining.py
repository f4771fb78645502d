"""Who may take part in live sessions: by `join_sessions`, or because they are their own; deny comes first."""

from typing import Any

import pytest

from teleport.access.decide import Decision
from teleport.access.joining import LiveSession, decide_join, may_see
from teleport.access.snapshot import Snapshot
from teleport.core.identity import Identity
from teleport.core.joining import Wish, wish_in
from teleport.resources.kinds import AnyResource
from tests.access.builders import NOW, host, identity, lock, policy, role, rule, setting, user

SID = "0a3c9d6e-0000-4000-8000-000000000001"
DBA = role("dba", allow=rule("root", env="prod"))
BOB = user("bob", ["dba"])
"""Whose session it is."""


def join(*roles: str, kinds: Any = ("ssh",), modes: Any = ("observer",)) -> dict[str, Any]:
    """An entry of `join_sessions`."""
    return {"name": "look", "roles": list(roles), "kinds": list(kinds), "modes": list(modes)}


def watcher(*entries: dict[str, Any], **more: Any) -> AnyResource:
    """A role whose holders join, and reach nothing."""
    return role("watch", allow={"join_sessions": list(entries)}, **more)


WATCH = watcher(join("dba"))


def session(owner: str = "bob", **labels: str) -> LiveSession:
    return LiveSession(SID, owner, "", "root", host(**{"env": "prod", **labels}))


def ask(
    snapshot: Snapshot, what: LiveSession | None = None, *, who: Identity | None = None, mode: str = "observer"
) -> Decision:
    return decide_join(snapshot, who or identity(), what or session(), mode, now=NOW)


def sees(snapshot: Snapshot, *, who: Identity | None = None) -> bool:
    return may_see(snapshot, who or identity(), session(), now=NOW)


def ann_and_bob(*roles: AnyResource, others: tuple[AnyResource, ...] = ()) -> Snapshot:
    """bob works as dba; ann has these roles."""
    return policy(DBA, BOB, *roles, *others, user("ann", [one.name for one in roles]))


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [
        pytest.param(join("dba"), True, id="the owner's role by name"),
        pytest.param(join("d*"), True, id="by a pattern"),
        pytest.param(join("dev", "^db.$"), True, id="one of several"),
        pytest.param(join("dev"), False, id="another role"),
        pytest.param(join("dba", kinds=["*"]), True, id="every kind of session"),
        pytest.param(join("dba", kinds=["k8s", "db"]), False, id="other kinds of session"),
        pytest.param(join("dba", modes=["*"]), True, id="every way to join"),
        pytest.param(join("dba", modes=["peer", "moderator"]), False, id="other ways to join"),
        pytest.param(join("{{internal.looks_at}}"), False, id="a trait that ann has not"),
    ],
)
def test_a_session_is_joined_by_whom_a_role_lets_join_those_of_its_owners_roles(
    entry: dict[str, Any], allowed: bool
) -> None:
    assert ask(ann_and_bob(watcher(entry))).allowed is allowed


def test_a_login_on_the_host_lets_nobody_join_what_others_do_there() -> None:
    decision = ask(ann_and_bob(role("also", allow=rule("root", env="prod"))))

    assert not decision.allowed
    assert decision.hidden


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_with_roles_from_before_join_sessions_alone_a_login_is_enough(version: str) -> None:
    old = role("old", version=version, allow=rule("root", env="prod"))

    assert ask(ann_and_bob(old)).allowed
    assert not ask(ann_and_bob(old, role("new", version="v5"))).allowed
    assert not ask(ann_and_bob(role("old", version=version, allow=rule("root", env="dev")))).allowed


def test_ones_own_session_may_be_joined_by_whoever_could_begin_it() -> None:
    snapshot = ann_and_bob(DBA)

    own = ask(snapshot, session("ann"))
    narrowed = ask(snapshot, session("ann"), who=identity(requested_roles=("other",)))

    assert own.allowed
    assert not narrowed.allowed


def test_another_incarnation_of_the_owner_has_neither_the_session_nor_its_joiners() -> None:
    snapshot = ann_and_bob(WATCH, DBA)
    before = LiveSession(SID, "bob", "uid-of-an-earlier-bob", "root", host(env="prod"))
    own = LiveSession(SID, "ann", "uid-of-an-earlier-ann", "root", host(env="prod"))

    assert not ask(snapshot, before).allowed
    assert not ask(snapshot, own).allowed


def test_denied_roles_may_be_those_of_a_visitor_whose_roles_are_not_known() -> None:
    """Who logs in as a visitor does could join the visitor's session, by the rule of old versions."""
    old = role("old", version="v4", allow=rule("root", env="prod"))
    no = role("no", deny={"join_sessions": [join("visitor")]})

    assert ask(ann_and_bob(old), session("remote-eve-root")).allowed
    decision = ask(ann_and_bob(old, no), session("remote-eve-root"))

    assert not decision.allowed
    assert "denies joining sessions of remote-eve-root" in decision.because


@pytest.mark.parametrize(
    ("deny", "because"),
    [
        pytest.param({"node_labels": {"env": "prod"}}, "role/no denies env=prod", id="the host's labels"),
        pytest.param(
            {"join_sessions": [join("*", modes=["*"], kinds=["*"])]}, "role/no denies joining sessions of bob (look)",
            id="joining",
        ),
        pytest.param(
            {"rules": [{"resources": ["ssh_session"], "verbs": ["read"]}]}, "role/no denies read on session_tracker",
            id="a rule on live sessions",
        ),
        pytest.param(
            {"rules": [{"resources": ["session_tracker"], "verbs": ["*"],
                        "where": "!contains(ssh_session.participants, user.metadata.name)"}]},
            "role/no denies list on session_tracker", id="a rule on sessions of others",
        ),
    ],
)  # fmt: skip
def test_deny_beats_every_right_to_join(deny: dict[str, Any], because: str) -> None:
    decision = ask(ann_and_bob(WATCH, role("no", deny=deny)))

    assert not decision.allowed
    assert decision.because == because


def test_who_may_log_in_as_nobody_may_still_look_on() -> None:
    assert ask(ann_and_bob(WATCH, role("no", deny={"logins": ["*"]}))).allowed


@pytest.mark.parametrize("target", [{"user": "ann"}, {"login": "root"}, {"server_id": "uid-db-1"}, {"role": "watch"}])
def test_a_lock_shuts_sessions_of_others_too(target: dict[str, str]) -> None:
    decision = ask(ann_and_bob(WATCH, others=(lock(message="stolen", **target),)))

    assert not decision.allowed
    assert "lock/stop" in decision.because


def test_a_second_factor_is_demanded_as_for_sessions_and_what_it_is_for_is_seen() -> None:
    strict = setting("cluster_auth_preference", require_session_mfa="yes")
    by_role = watcher(join("dba"), options={"require_session_mfa": "yes"})
    for snapshot in (ann_and_bob(WATCH, others=(strict,)), ann_and_bob(by_role)):
        asked, shown = ask(snapshot), ask(snapshot, who=identity(mfa_verified=True, reissuable=False))

        assert not asked.allowed
        assert not asked.hidden
        assert asked.needs == {"mfa": "required"}
        assert shown.allowed


@pytest.mark.parametrize(
    "who",
    [
        identity(allowed_resources=("web-1",)),
        identity(requested_roles=("other",)),
        Identity(kind="user", name="ann", uid="an-earlier-ann", cluster="example"),
        Identity(kind="host", name="ann", uid="", cluster="example"),
        identity("nobody"),
    ],
)
def test_who_is_not_meant_joins_nothing(who: Identity) -> None:
    assert not ask(ann_and_bob(WATCH), who=who).allowed


def test_what_could_be_joined_in_another_way_is_seen_and_the_rest_does_not_exist() -> None:
    peer = watcher(join("dba", modes=["peer"]))
    listing = role("list", allow={"rules": [{"resources": ["session_tracker"], "verbs": ["list"]}]})

    refused = ask(ann_and_bob(peer))

    assert (refused.allowed, refused.hidden) == (False, False)
    assert [sees(ann_and_bob(one)) for one in (WATCH, peer, listing)] == [True, True, True]
    assert not sees(ann_and_bob(role("else", allow=rule("root", env="prod"))))
    assert sees(ann_and_bob(WATCH), who=identity("bob"))


def test_a_denied_list_hides_also_what_may_be_joined() -> None:
    no = role("no", deny={"rules": [{"resources": ["ssh_session"], "verbs": ["list"]}]})

    assert not sees(ann_and_bob(WATCH, no))
    assert ask(ann_and_bob(WATCH, no)).hidden


def test_an_expression_that_fails_denies() -> None:
    broken = LiveSession(SID, "bob", "", "root", host(env="prod"), participants=None)  # type: ignore[arg-type]

    decision = ask(ann_and_bob(WATCH), broken)

    assert not decision.allowed
    assert decision.hidden
    assert decision.defect
    assert not may_see(ann_and_bob(WATCH), identity(), broken, now=NOW)


@pytest.mark.parametrize(
    ("login", "wish"),
    [
        (f"observer:{SID}", Wish("observer", SID)),
        (f"peer:{SID}", Wish("peer", SID)),
        ("root", None),
        (f"root:{SID}", None),
        (f"observer:{SID}\n", None),
        (f"observer:{SID.upper()}", None),
        ("observer:../../etc", None),
        ("observer:", None),
        ("", None),
    ],
)
def test_a_user_name_asks_for_a_session_in_exactly_one_spelling(login: str, wish: Wish | None) -> None:
    assert wish_in(login) == wish
    assert wish is None or wish.login == login
