"""A second source that wants more than it was given: whatever it writes, it stays below its ceiling."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from teleport.access.decide import AccessRequest, decide
from teleport.access.judge import judge
from teleport.access.snapshot import Declared, Snapshot, compile_snapshot
from teleport.access.target import Target
from teleport.core.errors import Invalid
from teleport.core.identity import Identity
from teleport.gitops.ceiling import Ceiling
from teleport.gitops.ceiling_check import within_ceilings
from teleport.gitops.review import Proposed
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from teleport.resources.load import load
from teleport.resources.model import Origin
from tests.auth.cluster import Cluster

TEAM = Ceiling(
    owns={"role": ("b-*",), "user": ("*@b.example",), "node": ("b-*",), "token": ("b-*",), "lock": ("b-*",)},
    assign_roles=("support", "b-shared-*"),
    traits={"logins": ("app", "b-*"), "team": ("b",)},
    logins=("app", "b-*"),
    node_labels={"team": ("b",)},
    rules=(("session", ("list", "read")),),
    token_roles=("Node",),
    host_labels={"team": ("b",)},
)
OTHERS = """\
kind: role
version: v7
metadata: {name: support}
spec: {options: {port_forwarding: no}, allow: {logins: ["{{internal.logins}}"], node_labels: {env: dev}}}
---
kind: role
version: v7
metadata: {name: admins}
spec: {allow: {logins: [root], node_labels: {"*": "*"}}}
---
kind: user
version: v2
metadata: {name: root@a.example}
spec: {roles: [editor, admins]}
"""
MODEST = """\
kind: role
version: v7
metadata: {name: b-dev}
spec:
  options: {port_forwarding: no, max_session_ttl: 8h, require_session_mfa: yes}
  allow:
    logins: [app, "b-{{internal.logins}}"]
    node_labels: {team: b, env: [dev, prod]}
    node_labels_expression: labels["env"] != "prod" || contains(user.spec.traits["team"], "b")
    request: {roles: [support, b-dev]}
    review_requests: {roles: ['b-shared-*']}
    rules: [{resources: [session], verbs: [list, read], where: 'contains(session.participants, user.metadata.name)'}]
  deny: {logins: [root], rules: [{resources: ["*"], verbs: ["*"]}]}
---
kind: user
version: v2
metadata: {name: ann@b.example}
spec: {roles: [b-dev, support], traits: {logins: [app], team: [b]}}
---
kind: node
version: v2
metadata: {name: b-web, labels: {team: b, teleport.dev/keep: "true"}}
---
kind: token
version: v2
metadata: {name: b-join-secret}
spec: {roles: [node], join_method: github, github: {allow: [{repository: b/app}]}}
---
kind: lock
version: v2
metadata: {name: b-lost}
spec: {target: {user: ann@b.example}}
"""


def parsed(text: str, source: str) -> tuple[AnyResource, ...]:
    loaded = load(text.encode(), file="team.yaml", source=source)
    assert not loaded.problems, loaded.problems
    return loaded.resources


def refused(text: str, *, others: str = OTHERS, ceiling: Ceiling = TEAM, before: str = "") -> list[str]:
    """What the check says about a source that declares this."""
    foreign = {(one.kind, one.name): one for one in parsed(others, "ops")}
    was = {(one.kind, one.name): one for one in parsed(before, "team-b")} if before else {}
    own = {(one.kind, one.name): one for one in parsed(text, "team-b")}
    proposed = Proposed("team-b", foreign | was, foreign | own, now=0)
    verdict = within_ceilings({"team-b": ceiling}.get)(proposed)
    assert all(one.guard == "ceiling" for one in verdict.violations)
    return [str(one.problem) for one in verdict.violations]


def role(allow: str = "", *, name: str = "b-x", options: str = "port_forwarding: no", version: str = "v7") -> str:
    return (
        f"kind: role\nversion: {version}\nmetadata: {{name: {name}}}\n"
        f"spec: {{options: {{{options}}}, allow: {{{allow}}}}}\n"
    )


def user(spec: str, name: str = "eve@b.example") -> str:
    return f"kind: user\nversion: v2\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


def other(kind: str, spec: str, name: str = "b-x", more: str = "", version: str = "v2") -> str:
    return f"kind: {kind}\nversion: {version}\n{more}metadata: {{name: {name}}}\nspec: {{{spec}}}\n"


def test_what_a_team_needs_it_may_declare() -> None:
    assert refused(MODEST) == []


@pytest.mark.parametrize(
    ("attack", "because"),
    [
        # whom it makes of its people
        (user("roles: [editor]"), "holds the role editor"),
        (user("roles: [admins]"), "holds the role admins"),
        (user("roles: [auditor]"), "holds the role auditor"),
        (user("roles: [access]"), "holds the role access"),
        (user("roles: [support], traits: {logins: [root]}"), "has the trait logins: root"),
        (user("roles: [support], traits: {logins: ['b-*', '*']}"), "has the trait logins: *"),
        (user("roles: [support], traits: {unknown: [x]}"), "has the trait unknown: x"),
        (user("roles: [], github_identities: [{connector_id: gh, username: root}]"), "sets github_identities"),
        (user("roles: [], trusted_device_ids: [abc]"), "sets trusted_device_ids"),
        (user("roles: [b-x]", name="root@c.example"), "has a name that the source team-b may not own"),
        # logins
        (role("logins: [root]"), "allows the login root"),
        (role('logins: ["{{internal.logins}}"]'), "allows the login {{internal.logins}}"),
        (role('logins: ["{{internal.logins}}p"]'), "allows the login {{internal.logins}}p"),
        (role("""logins: ['{{regexp.replace(internal.x, "^(.*)$", "b-$1")}}']"""), "allows the login"),
        # hosts
        (role("logins: [app], node_labels: {'*': '*'}"), "selects hosts beyond"),
        (role("logins: [app], node_labels: {'*': '*', team: b}"), "selects hosts beyond"),
        (role("logins: [app], node_labels: {env: dev}"), "selects hosts beyond"),
        (role("logins: [app], node_labels: {team: [b, a]}"), "selects hosts beyond"),
        (role("logins: [app], node_labels: {team: '*'}"), "selects hosts beyond"),
        (role("logins: [app], node_labels: {team: '^b$'}"), "selects hosts beyond"),
        (role("logins: [app], node_labels: {team: '^(b|a)$'}"), "selects hosts beyond"),
        (role("logins: [app], node_labels: {team: '{{internal.team}}'}"), "selects hosts beyond"),
        (role("logins: [app], node_labels: {'{{internal.key}}': b}"), "selects hosts beyond"),
        (role("""logins: [app], node_labels_expression: 'labels["team"] == "b"'"""), "selects hosts beyond"),
        (role("logins: [app]", version="v3"), "selects hosts beyond"),
        (role("logins: [app], node_labels: {team: b}", version="v3"), "selects targets of the kind app"),
        # everything else a role can give
        (role("app_labels: {team: b}"), "selects targets of the kind app"),
        (role("cluster_labels: {team: b}"), "selects targets of the kind cluster"),
        (role("kubernetes_groups: ['system:masters']"), "sets kubernetes_groups"),
        (role("db_users: ['*']"), "sets db_users"),
        (role("host_sudoers: ['ALL=(ALL) NOPASSWD: ALL']"), "sets host_sudoers"),
        (role("host_groups: [docker]"), "sets host_groups"),
        (role("aws_role_arns: ['arn:aws:iam::1:role/admin']"), "sets aws_role_arns"),
        (role("impersonate: {users: ['*'], roles: ['*']}"), "sets impersonate"),
        (role("impersonate: {users: [ann@b.example], roles: [b-x]}"), "sets impersonate"),
        (role("rules: [{resources: [user], verbs: [update]}]"), "may update user"),
        (role("rules: [{resources: ['*'], verbs: [list]}]"), "may list *"),
        (role("rules: [{resources: [session], verbs: ['*']}]"), "may * session"),
        # what its holders may come to have
        (role("request: {roles: [editor]}"), "names the role editor"),
        (role("request: {roles: ['*']}"), "names the role *"),
        (role("request: {roles: ['s*']}"), "names the role s*"),
        (role("request: {roles: ['^support$']}"), "names the role ^support$"),
        (role("request: {roles: ['{{internal.wish}}']}"), "names the role {{internal.wish}}"),
        (role("request: {search_as_roles: [admins]}"), "names the role admins"),
        (role("request: {claims_to_roles: [{claim: team, value: b, roles: [editor]}]}"), "names the role editor"),
        (role("request: {claims_to_roles: [{claim: t, value: '^(.*)$', roles: [$1]}]}"), "names the role $1"),
        (role("review_requests: {roles: ['*']}"), "names the role *"),
        (role("review_requests: {preview_as_roles: [admins]}"), "names the role admins"),
        (role("join_sessions: [{name: x, roles: [support], kinds: [ssh], modes: [peer]}]"), "joins sessions of"),
        (role("join_sessions: [{name: x, roles: [b-x], kinds: [ssh], modes: [peer]}]"), "joins sessions of"),
        # options, of which the laxest role decides
        (role(options=""), "permits port forwarding"),
        (role(options="port_forwarding: yes"), "permits port forwarding"),
        (role(options="port_forwarding: no, ssh_port_forwarding: {remote: {enabled: yes}}"), "permits port forwarding"),
        (role(options="port_forwarding: no, forward_agent: yes"), "has the option forward_agent"),
        (role(options="port_forwarding: no, permit_x11_forwarding: yes"), "has the option permit_x11_forwarding"),
        (role(options="port_forwarding: no, lock: best_effort"), "has the option lock"),
        (role(options="port_forwarding: no, record_session: {desktop: no}"), "has the option record_session"),
        (role(options="port_forwarding: no, create_host_user_mode: keep"), "has the option create_host_user_mode"),
        (role(options="port_forwarding: no, cert_extensions: [{name: login@forge, value: root}]"), "cert_extensions"),
        # names that others go by
        (role(name="editor"), "has a name that the source team-b may not own"),
        (role(name="admin"), "has a name that the source team-b may not own"),
        # hosts, and who joins as one
        (other("node", "hostname: db-1"), "speaks of the host db-1"),
        (other("node", "", name="db-1"), "has a name that the source team-b may not own"),
        (other("node", "addr: '10.0.0.1:22'", more="sub_kind: openssh\n"), "is of the variety openssh"),
        (other("node", "cmd_labels: {team: {command: [id], result: a}}"), "sets cmd_labels"),
        ("kind: node\nversion: v2\nmetadata: {name: b-web, labels: {team: a}}\n", "gives a host the label team: a"),
        ("kind: node\nversion: v2\nmetadata: {name: b-web, labels: {env: dev}}\n", "gives a host the label env: dev"),
        (other("token", "roles: [Proxy]"), "lets a service join as Proxy"),
        (other("token", "roles: [node, auth]"), "lets a service join as auth"),
        (other("token", "roles: [node], bot_name: deploy"), "sets bot_name"),
        (other("token", "roles: [node], policy_sources: [ops]"), "sets policy_sources"),
        (other("token", "roles: [operator], policy_sources: [ops]"), "lets a service join as operator"),
        (other("token", "roles: [node], suggested_labels: {team: a}"), "gives a host the label team: a"),
        # shutting others out
        (other("lock", "target: {user: root@a.example}"), "may shut out others"),
        (other("lock", "target: {role: b-dev}"), "may shut out others"),
        (other("lock", "target: {login: root}"), "may shut out others"),
        (other("cluster_auth_preference", "", name="cluster-auth-preference"), "is of a kind"),
    ],
)  # fmt: skip
def test_more_than_the_ceiling_is_refused(attack: str, because: str) -> None:
    found = refused(attack)

    assert any(because in one for one in found), found


@pytest.mark.parametrize("written", ["^b-.{{internal.x}}$", "^(b|c){{internal.x}}$"])
def test_a_template_in_an_expression_is_not_the_expression_that_it_looks_like(written: str) -> None:
    bound = replace(TEAM, node_labels={"team": ("^b-.*$", "^(b|c)*$")}, logins=("app",))

    assert refused(role(f"logins: [app], node_labels: {{team: '{written}'}}"), ceiling=bound) != []
    assert refused(role("logins: [app], node_labels: {team: '^b-.*$'}"), ceiling=bound) == []


def test_tests_and_invariants_may_be_owned_for_they_bind_their_own_source_alone() -> None:
    spec = "given: {roles: [support], traits: {logins: [app]}}, expect: [{can: app, hosts: any}]"
    promise = other("access_test", spec, version="v1")

    (without,) = refused(promise)
    assert "access_test/b-x is of a kind that the source team-b may not own" in without
    assert refused(promise, ceiling=replace(TEAM, owns={"access_test": ("b-*",)})) == []


def test_a_role_that_somebody_else_names_already_cannot_be_made_by_a_source_with_a_ceiling() -> None:
    """It expired, or was removed by force: whoever makes it anew would decide for those who meant the old one."""
    others = OTHERS + "---\n" + user("roles: [b-gone]", name="boss@a.example")

    assert refused(role(name="b-gone"), others=others) == [
        "team.yaml:3:18: role/b-gone is named by user/boss@a.example of the source ops already, which means another"
        " (give it another name)"
    ]
    assert refused(role(name="b-gone"), others=others, before=role(name="b-gone")) == []


def test_no_pattern_means_a_preset_neither_to_own_nor_to_assign_only_its_very_name_does() -> None:
    wide = replace(TEAM, owns={"role": ("*",), "user": ("*",)}, assign_roles=("*",))
    named = replace(wide, owns={"role": ("*", "editor"), "user": ("*",)}, assign_roles=("*", "editor"))

    attack = (
        role(name="editor") + "---\n" + user("roles: [auditor, admins]") + "---\n" + role("request: {roles: ['*']}")
    )
    found = refused(attack, ceiling=wide)
    permitted = refused(role(name="editor") + "---\n" + user("roles: [editor]"), ceiling=named)

    assert len(found) == 3
    assert permitted == []


def test_a_ceiling_that_says_nothing_permits_nothing() -> None:
    refs = [one.ref for one in parsed(MODEST, "team-b")]

    found = refused(MODEST, ceiling=Ceiling())

    assert all(any("is of a kind that the source" in line for line in found) for _ in refs)
    assert sum("is of a kind" in line for line in found) == len(refs)


def test_every_option_and_field_of_a_role_that_nobody_thought_about_is_refused() -> None:
    """Each field of `allow` that is set to something is either covered by the ceiling above or refused."""
    samples = {
        "kubernetes_users": "[x]", "kubernetes_resources": "[{kind: pod, namespace: a, name: b, verbs: ['*']}]",
        "db_names": "[x]", "db_roles": "[x]", "db_permissions": "[{permissions: [SELECT]}]",
        "windows_desktop_logins": "[x]", "desktop_groups": "[x]", "azure_identities": "[x]",
        "gcp_service_accounts": "[x]", "mcp": "{tools: ['*']}", "github_permissions": "[{orgs: [x]}]",
        "spiffe": "[{path: /x}]", "account_assignments": "[{account: a, permission_set: p}]",
    }  # fmt: skip

    for field, value in samples.items():
        assert any(f"sets {field}," in line for line in refused(role(f"{field}: {value}"))), field


def test_a_token_may_say_where_its_secret_is() -> None:
    secret = "secret: {file: /run/secrets/teleport/b}"

    assert refused(other("token", f"roles: [Node], {secret}", name="b-fleet")) == []
    assert refused(other("token", f"roles: [Proxy], {secret}", name="b-fleet")) != []


def test_a_token_is_never_shown_by_its_name() -> None:
    found = refused(other("token", "roles: [Proxy]", name="x-secret-name"))

    assert found
    assert not any("secret" in line for line in found)


async def test_the_cluster_refuses_it_whole_and_the_last_good_state_stays(tmp_path: Path) -> None:
    checks = [within_ceilings({"team-b": TEAM}.get)]
    async with Cluster.open(tmp_path, checks=checks) as cluster:
        await cluster.declare(*OTHERS.split("---\n"), source="ops")
        await cluster.declare(MODEST, source="team-b")

        with pytest.raises(Invalid, match=r"refused by the guard ceiling: user/eve@b\.example holds the role editor"):
            await cluster.declare(MODEST, user("roles: [editor]"), source="team-b")

        assert "eve@b.example" not in cluster.auth.policy.current.users
        assert "ann@b.example" in cluster.auth.policy.current.users


async def test_what_was_in_force_before_a_ceiling_was_lowered_stays_and_every_write_of_the_source_is_refused(
    tmp_path: Path,
) -> None:
    ceilings = {"team-b": TEAM}
    async with Cluster.open(tmp_path, checks=[within_ceilings(lambda name: ceilings.get(name))]) as cluster:
        await cluster.declare(*OTHERS.split("---\n"), source="ops")
        await cluster.declare(MODEST, source="team-b")
        ceilings["team-b"] = replace(TEAM, logins=("app",))

        with pytest.raises(Invalid, match="allows the login b-"):
            await cluster.declare(MODEST, source="team-b")
        await cluster.declare(OTHERS, source="ops")

        assert "b-dev" in cluster.auth.policy.current.roles


async def test_what_is_made_through_the_api_has_the_ceiling_of_the_source_api(tmp_path: Path) -> None:
    checks = [within_ceilings({"api": Ceiling(owns={"user": ("*",)}, assign_roles=("support",))}.get)]
    async with Cluster.open(tmp_path, checks=checks) as cluster:
        await cluster.declare(*OTHERS.split("---\n"), source="ops")

        await cluster.apply(user("roles: [support]"))
        with pytest.raises(Invalid, match="holds the role editor"):
            await cluster.apply(user("roles: [editor]", name="mallory"))

        assert "eve@b.example" in cluster.auth.policy.current.users


_WORDS = st.sampled_from(["a", "b", "*", "b*", "^b$", "{{internal.team}}", "b{{internal.team}}"])
_LOGINS = st.sampled_from(["app", "root", "b-x", "b-{{internal.logins}}", "{{internal.logins}}", "{{internal.team}}-x"])
_KEYS = st.sampled_from(["env", "*", "{{internal.team}}"])
_ROLES = st.fixed_dictionaries(
    {
        "logins": st.lists(_LOGINS, min_size=1, max_size=2),
        "team": st.lists(_WORDS, max_size=2),
        "labels": st.dictionaries(_KEYS, st.lists(_WORDS, min_size=1, max_size=1), max_size=1),
        "expression": st.sampled_from(["", 'labels["env"] == "b"']),
    }
)
_TRAITS = st.fixed_dictionaries(
    {"logins": st.sampled_from([["root"], ["*"], []]), "team": st.sampled_from([["a"], ["b", "a"], ["*"], ["team"]])}
)
_BEYOND = [("root", "b"), ("root", "a"), ("a-x", "b"), ("app", "a"), ("b-x", "a"), ("b-x", "ba"), ("b-root", "*")]
"""Logins, and teams of hosts: none of these is within the ceiling."""


@settings(max_examples=100)
@given(_ROLES, _TRAITS)
def test_whoever_holds_what_a_source_declares_reaches_nothing_beyond_its_ceiling(
    parts: dict[str, Any], traits: dict[str, list[str]]
) -> None:
    """Also people of other sources, whose traits are anybody's."""
    labels = ({"team": parts["team"]} if parts["team"] else {}) | parts["labels"]
    labels = {key: ["*"] if key == "*" else values for key, values in labels.items()}
    allow = {"logins": parts["logins"], "node_labels": labels, "node_labels_expression": parts["expression"]}
    spec = {"allow": allow, "options": {"port_forwarding": False}}
    one = from_dict({"kind": "role", "version": "v7", "metadata": {"name": "b-x"}, "spec": spec})
    one = one.with_origin(Origin(source="team-b"))
    person = made_user("eve", traits)
    assume(not judge([one, person]).problems)
    after = {("role", "b-x"): one, ("user", "eve"): person}

    refusals = within_ceilings({"team-b": TEAM}.get)(Proposed("team-b", {}, after, now=0)).violations

    snapshot = compile_snapshot(Declared((one, person)))
    assert refusals or not any(reaches(snapshot, login, team) for login, team in _BEYOND)


def made_user(name: str, traits: dict[str, list[str]]) -> AnyResource:
    spec = {"roles": ["b-x"], "traits": traits}
    return from_dict({"kind": "user", "version": "v2", "metadata": {"name": name}, "spec": spec})


def reaches(snapshot: Snapshot, login: str, team: str) -> bool:
    identity, host = (
        Identity("user", "eve", "", "", mfa_verified=True),
        Target("node", "h", "h", {"team": team, "env": "b"}),
    )
    return decide(snapshot, AccessRequest(identity, host, login), now=0).allowed
