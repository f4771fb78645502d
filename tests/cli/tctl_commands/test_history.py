"""Because of which commit: what `explain`, `since`, `who --at` and `policy history` print, by a clone alone."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from teleport.api import history as h
from teleport.api import models as m
from teleport.api import routes as r
from teleport.cli.history import session
from teleport.core.errors import AccessDenied, TeleportError
from tests.cli.programs import Ended, tctl
from tests.gitops.history.branches import ANN, DEV, HOST, branch, commits_of, role, user
from tests.gitops.repositories import Upstream, key

ASKED = ("--user", "ann", "--login", "root", "--node", "db-1")


@pytest.fixture
def commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Four commits that give, take, break and give again; the current folder is that of the policy."""
    repository = branch(
        tmp_path / "repository", {"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}, {"d.yaml": role(logins="web")},
        {"d.yaml": "]"}, {"d.yaml": DEV}, path="policies",
    )  # fmt: skip
    repository.ask("read-tree", "-u", "--reset", "main")
    monkeypatch.chdir(tmp_path / "repository/policies")
    return commits_of(repository)


def found(ended: Ended) -> Any:
    return json.loads(ended.output)


def without_names(text: str, commits: list[str]) -> str:
    """Commits are told apart by their numbers."""
    for number, commit in enumerate(commits):
        text = text.replace(commit, f"#{number}").replace(commit[:12], f"#{number}")
    return text


def test_since_names_the_commit_that_gave_it_last_and_when_it_was_so_before(commits: list[str]) -> None:
    result = tctl("access", "since", *ASKED)

    assert (result.status, result.errors) == (0, "")
    assert without_names(result.output, commits) == (
        "allowed since commit #3, 2023-11-17T22:13:20.000Z: ann may log in as root on db-1\n"
        "  change 3\n"
        "  by Ann <ann@example.com>, not signed\n"
        "  role/dev allows root on every resource\n"
        "\n"
        "It was allowed before:\n"
        "  from commit #0, 2023-11-14T22:13:20.000Z to commit #1, 2023-11-15T22:13:20.000Z"
        " (role/dev allows web, not root)\n"
        "\n"
        "Never in force by itself, because it does not hold:\n"
        "  commit #2: d.yaml:1:1: a value is expected here (the one before may lack a closing bracket)\n"
    )


def test_since_for_programs_has_every_span_and_exits_with_3_where_it_is_denied(commits: list[str]) -> None:
    allowed = found(tctl("access", "since", *ASKED, "-o", "json"))
    denied = tctl("access", "since", "--user", "ann", "--login", "web", "--node", "db-1", "-o", "json")

    spans = [(one["since"]["id"], one["until"] and one["until"]["id"], one["over"]) for one in allowed["spans"]]
    assert spans == [(commits[0], commits[1], True), (commits[3], None, False)]
    assert allowed["now"]["place"]["commit"] == commits[3]
    assert [one["commit"] for one in allowed["skipped"]] == [commits[2]]
    assert (denied.status, found(denied)["now"]["allowed"]) == (3, False)
    assert [(one["since"]["id"], one["until"]["id"]) for one in found(denied)["spans"]] == [(commits[1], commits[3])]


def test_what_never_was_is_said_so(commits: list[str]) -> None:
    result = tctl("access", "since", "--user", "ann", "--login", "nobody", "--node", "db-1")

    assert result.status == 3
    assert "  it never was allowed\n" in result.output


def test_a_history_that_is_cut_off_says_that_it_may_be_earlier(commits: list[str]) -> None:
    result = tctl("access", "since", *ASKED, "--limit", "1")

    assert "--limit reads more" in result.output
    assert "or earlier" not in result.output.partition("It was allowed before")[0]
    assert found(tctl("access", "since", *ASKED, "--limit", "1", "-o", "json"))["complete"] is False


def test_history_tells_who_changed_which_fields(commits: list[str]) -> None:
    result = tctl("policy", "history", "role/dev")
    rows = found(tctl("policy", "history", "role/dev", "-o", "json"))["changes"]

    assert result.status == 0
    assert without_names(result.output, commits).startswith(
        "updated by commit #3, 2023-11-17T22:13:20.000Z\n"
        "  change 3\n"
        "  by Ann <ann@example.com>, not signed\n"
        "  at d.yaml:1\n"
        "    spec.allow.logins: - web, + root\n"
    )
    assert [(one["action"], commits.index(one["commit"]["id"])) for one in rows] == [
        ("updated", 3), ("updated", 1), ("created", 0),
    ]  # fmt: skip
    assert rows[0]["fields"] == [{"path": "spec.allow.logins", "old": ["web"], "new": ["root"]}]


def test_what_never_was_declared_has_no_history(commits: list[str]) -> None:
    result = tctl("policy", "history", "role/dve")

    assert (result.status, result.output) == (1, "")
    assert "tctl: error: role/dve was never declared in this history" in result.errors


@pytest.mark.parametrize(("at", "logins"), [("main~3", ["root"]), ("2023-11-16", ["web"]), ("main~1", ["web"])])
def test_who_reached_a_host_at_a_commit_or_a_day(commits: list[str], at: str, logins: list[str]) -> None:
    rows = found(tctl("access", "who", "--node", "db-1", "--at", at, "-o", "json"))["people"]

    assert rows == [{"user": "ann", "logins": logins, "role": "dev", "partner": ""}]


def test_who_at_a_commit_is_a_table_below_the_commit(commits: list[str]) -> None:
    result = tctl("access", "who", "--node", "db-1", "--at", "main~3")

    assert without_names(result.output, commits) == (
        "On db-1, by commit #0, 2023-11-14T22:13:20.000Z:\nUser  Logins  Role\nann   root    dev\n"
    )


def test_a_decision_is_explained_down_to_the_line_and_its_author(commits: list[str]) -> None:
    result = tctl("access", "explain", *ASKED)

    assert result.status == 0
    assert without_names(result.output, commits) == (
        "allowed: ann may log in as root on db-1\n"
        "  role/dev allows root on every resource\n"
        "  at d.yaml:6:14\n"
        "  commit #3, 2023-11-17T22:13:20.000Z\n"
        "    change 3\n"
        "    by Ann <ann@example.com>, not signed\n"
        "  the roles of ann are given at a.yaml:4:8\n"
        "  commit #0, 2023-11-14T22:13:20.000Z\n"
        "    change 0\n"
        "    by Ann <ann@example.com>, not signed\n"
        "\n"
        "  1 | kind: role\n"
        "  2 | version: v7\n"
        "  3 | metadata: {name: dev}\n"
        "  4 | spec:\n"
        "  5 |   allow:\n"
        "> 6 |     logins: [root]\n"
        '  7 |     node_labels: {"*": "*"}\n'
        "  8 |   deny: {}\n"
    )


def test_a_decision_of_the_past_is_explained_by_the_commit_of_then(commits: list[str]) -> None:
    result = tctl(
        "access", "explain", "--user", "ann", "--login", "web", "--node", "db-1", "--at", "main~1", "-o", "json"
    )
    denied = tctl("access", "explain", *ASKED, "--at", "main~1")

    assert found(result)["rule"]["commit"]["id"] == commits[1]
    assert (denied.status, "role/dev allows web, not root" in denied.output) == (3, True)


def test_an_inventory_names_hosts_that_are_not_declared(commits: list[str], tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(HOST.replace("db-1", "web-1"))
    asked = ("access", "since", "--user", "ann", "--login", "root", "--node", "web-1")

    assert tctl(*asked).status == 2
    assert tctl(*asked, "--inventory", str(tmp_path / "fleet.yaml")).status == 0


@pytest.mark.parametrize("where", ["repository:policies", "repository/policies", "repository/.git:policies"])
def test_the_repository_may_be_named_from_anywhere(
    commits: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.chdir(tmp_path)

    assert tctl("access", "since", *ASKED, "--repository", where).status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("access", "explain"), "what shall be explained?"),
        (("access", "explain", "--user", "ann"), "what shall be explained?"),
        (("access", "explain", "--session", "5a", "--user", "ann"), "what shall be explained?"),
        (("access", "since", *ASKED, "--repository", "nowhere"), "nowhere is not a folder"),
        (("access", "since", *ASKED, "--repository", "/"), "HEAD is no commit of the repository at /"),
        (("access", "since", *ASKED, "--repository", ".", "--live"), "--repository and --live exclude each other"),
        (("access", "since", *ASKED, "--live", "--inventory", "x"), "the cluster knows its hosts"),
        (("access", "who", "--node", "db-1"), "by which policy?"),
        (("access", "who", "--at", "main"), "which host?"),
        (("access", "who", "--at", "main", "--policies", ".", "--node", "db-1"), "--policies is a folder as it is now"),
        (("access", "who", "--at", "rubbish", "--node", "db-1"), "'rubbish' is neither a commit nor a time"),
        (("access", "who", "--at", "main", "--node", "db-2"), "no host db-2 is known"),
        (("policy", "history", "dev"), "unknown kind dev"),
    ],
)
def test_a_question_that_makes_no_sense_exits_with_2(
    commits: list[str], arguments: tuple[str, ...], message: str
) -> None:
    result = tctl(*arguments)

    assert (result.status, result.output) == (2, "")
    assert f"tctl: error: {message}" in result.errors


def test_signers_are_verified_against_a_list_that_is_given(tmp_path: Path) -> None:
    ann, upstream = key(tmp_path, "ann@example.com"), Upstream(tmp_path / "signed")
    upstream.commit({"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}, by=ann)
    upstream.commit({"d.yaml": role(logins="web")}, by=key(tmp_path, "mallory@example.com"))
    (tmp_path / "allowed").write_text(ann.allowed())
    asked = ("policy", "history", "role/dev", "--repository", str(upstream.folder))

    unknown = tctl(*asked).output
    known = tctl(*asked, "--allowed-signers", str(tmp_path / "allowed")).output

    assert re.findall("com>, (.*)", unknown) == ["signed, but nobody says here who may sign"] * 2
    assert re.findall("com>, (.*)", known) == ["signed, but by no allowed signer", "signed by ann@example.com"]


def test_what_a_commit_says_of_itself_does_not_drive_the_terminal(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "hostile")
    upstream.write("a.yaml", user(roles=""))
    upstream.git("add", "-A")
    upstream.git("-c", "user.name=\x1b[31mred", "commit", "-q", "-m", "\x1b]0;title\x07")

    result = tctl("policy", "history", "user/ann", "--repository", str(upstream.folder))

    assert result.status == 0
    assert "\x1b" not in result.output
    assert "\\x1b]0;title\\x07" in result.output


# -- sessions: what the audit log of a cluster says, here without one

STARTED: dict[str, Any] = {
    "event": "session.start", "sid": "4f1c0000-0000-4000-8000-000000000000", "user": "ann", "login": "root",
    "server_hostname": "db-1", "time": "2023-11-15T00:00:00.000Z", "addr.remote": "192.0.2.1", "role": "dev",
    "source": "folder", "file": "d.yaml", "line": 6, "column": 14,
}  # fmt: skip
ENDED = {"event": "session.end", "sid": STARTED["sid"], "reason": "access withdrawn: because"}


class Log:
    """A cluster that answers about events, and tells of rules what it is told to."""

    def __init__(self, *events: dict[str, Any], rule: h.RuleText | TeleportError | None = None) -> None:
        self.events, self.rule = events, rule

    def __call__(self, _target: object, route: Any, request: Any) -> Any:
        if route is r.EVENTS:
            matching = [
                one for one in self.events
                if one["event"] == request.event and one["sid"].startswith(request.session)
            ]  # fmt: skip
            return m.EventPage(events=tuple(matching))
        assert route is r.RULE_TEXT
        if isinstance(self.rule, TeleportError):
            raise self.rule
        assert self.rule is not None
        return self.rule


def test_a_session_by_a_folder_is_explained_by_the_clone_as_it_was_before(
    commits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ask", Log(STARTED, ENDED))

    result = tctl("access", "explain", "--session", "4f1c", "--repository", ".")

    assert (result.status, result.errors) == (0, "")
    assert without_names(result.output, commits).startswith(
        "allowed: ann logged in as root on db-1\n"
        f"  session {STARTED['sid']}, 2023-11-15T00:00:00.000Z, from 192.0.2.1\n"
        "  role/dev, at d.yaml:6:14 of the source folder\n"
        "  commit #0, 2023-11-14T22:13:20.000Z\n"
        "    change 0\n"
        "    by Ann <ann@example.com>, not signed\n"
        "  (as this repository had it then)\n"
        "  ended: access withdrawn: because\n"
        "\n"
        "  1 | kind: role\n"
    )
    assert "> 6 |     logins: [root]\n" in result.output


def test_a_session_in_another_cluster_is_explained_by_why_its_user_was_let_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = {**STARTED, "event": "session.connect", "server_hostname": "db-1.leaf.example"}
    cut = {**ENDED, "event": "client.disconnect"}
    monkeypatch.setattr(session, "ask", Log(gone, cut))

    output = tctl("access", "explain", "--session", "4f1c").output

    assert output.startswith("allowed: ann was let through to log in as root on db-1.leaf.example\n")
    assert "  role/dev, at d.yaml:6:14 of the source folder\n" in output
    assert "  the rest is in the log of the host's own cluster, by the same id\n" in output
    assert "  ended: access withdrawn: because\n" in output


EMERGENCY: dict[str, Any] = {
    "event": "policy.break_glass", "sid": "", "id": "e1", "success": True, "user": "bob", "name": "role/dev",
    "time": "2023-11-14T23:50:00.000Z", "expires": "2023-11-15T00:50:00.000Z", "reason": "all is down",
    "fields": ["spec.allow.logins"], "changes": [{"path": "spec.allow.logins", "old": ["web"], "new": ["web", "root"]}],
    "source": "git", "file": "d.yaml", "line": 1, "commit": "c" * 40,
}  # fmt: skip
CHANGED = {**STARTED, "source": "break-glass", "line": 0, "column": 0}


def test_a_session_by_an_emergency_names_who_changed_what_over_which_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    beneath = h.RuleText(commit=h.CommitNote(id="c" * 40), first_line=1, text="kind: role")
    monkeypatch.setattr(session, "ask", Log(CHANGED, EMERGENCY, rule=beneath))

    output = tctl("access", "explain", "--session", "4f1c").output

    assert (
        "  role/dev is changed for an emergency by bob until 2023-11-15T00:50:00.000Z: all is down\n"
        "    spec.allow.logins: + root\n"
        "  role/dev, declared otherwise at d.yaml:1 of the source git\n"
        f"  commit {'c' * 40}\n"
    ) in output
    assert output.endswith("\n  1 | kind: role\n")


@pytest.mark.parametrize(
    "others",
    [
        [{**EMERGENCY, "success": False}],
        [{**EMERGENCY, "time": "2023-11-15T00:00:01.000Z"}],
        [{**EMERGENCY, "expires": "2023-11-14T23:59:59.000Z"}],
        [{**EMERGENCY, "name": "role/other"}],
        [EMERGENCY, {"event": "policy.break_glass.end", "sid": "", "id": "e1", "time": "2023-11-14T23:59:00.000Z"}],
    ],
    ids=["refused", "later", "expired", "of something else", "ended"],
)
def test_an_emergency_that_was_not_in_force_then_has_no_part_in_the_story(
    monkeypatch: pytest.MonkeyPatch, others: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(session, "ask", Log(STARTED, *others))

    output = tctl("access", "explain", "--session", "4f1c").output

    assert "emergency" not in output
    assert "  role/dev, at d.yaml:6:14 of the source folder\n" in output


@pytest.mark.parametrize(
    ("event", "rule", "said"),
    [
        (STARTED, None, "  (that source has no commits; if its folder is kept in git, name it by --repository)\n"),
        ({**STARTED, "source": "preset", "file": "preset/access"}, None, "  (every cluster has this role)\n"),
        (
            {**STARTED, "source": "git", "commit": "c" * 40},
            AccessDenied("cy may not"),
            f"  commit {'c' * 40}\n  (cy may not)\n",
        ),
    ],
)
def test_what_cannot_be_told_of_a_rule_is_said(
    monkeypatch: pytest.MonkeyPatch, event: dict[str, Any], rule: Any, said: str
) -> None:
    monkeypatch.setattr(session, "ask", Log(event, rule=rule))

    result = tctl("access", "explain", "--session", "4f1c")

    assert (result.status, said in result.output) == (0, True)


def test_a_refusal_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {
        **STARTED,
        "event": "session.rejected",
        "source": "",
        "file": "",
        "reason": "role/freeze denies env=prod",
    }
    monkeypatch.setattr(session, "ask", Log(refused))

    output = tctl("access", "explain", "--session", "4f1c").output

    assert output.startswith("denied: ann asked to log in as root on db-1\n")
    assert "  role/freeze denies env=prod\n" in output


def test_a_session_that_is_not_there_or_not_the_only_one_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ask", Log(STARTED, {**STARTED, "sid": "4f1d0000-0000-4000-8000-000000000000"}))

    unknown = tctl("access", "explain", "--session", "5a")
    several = tctl("access", "explain", "--session", "4f1")

    assert (unknown.status, several.status) == (1, 2)
    assert "no session 5a is in the audit log, as far as you may read it" in unknown.errors
    assert "several sessions begin with 4f1" in several.errors


def test_a_shallow_clone_tells_how_far_back_it_knows(
    commits: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{tmp_path}/repository", str(shallow)], check=True)
    monkeypatch.chdir(shallow / "policies")

    since, told, explained = (
        without_names(tctl(*words).output, commits)
        for words in (("access", "since", *ASKED), ("policy", "history", "role/dev"), ("access", "explain", *ASKED))
    )

    assert since.startswith("allowed since commit #3, 2023-11-17T22:13:20.000Z or earlier: ann may")
    assert told.startswith("there already at commit #3")
    assert all("`git fetch --unshallow`" in one for one in (since, told))
    assert "(this clone begins with that commit; an earlier one may have written it)" in explained
