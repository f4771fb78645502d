"""What is told: each transition once, nothing that names people, hosts or files unless it is configured."""

import json
from typing import Any

import pytest

from teleport.core.errors import Problem
from teleport.gitops.loop import SourceState
from teleport.service.forge import described, posted
from teleport.service.notices import Notice, Told, of_event, of_state, word_of
from teleport.service.notifications import CommitStatus

C1, C2 = "1" * 40, "2" * 40
PROBLEM = Problem("users/ann.yaml", 4, 3, "unknown role dev on db-1")


def state(kind: str, reason: str, **fields: Any) -> SourceState:
    return SourceState("git", "git", "git+https://git.example.com/acme", state=kind, reason=reason, **fields)  # type: ignore[arg-type]


def ready(commit: str = C1) -> SourceState:
    return state("Ready", "Applied", applied_commit=commit, attempted_commit=commit, objects=27, revision=12)


def stalled(commit: str = C2, reason: str = "Invalid") -> SourceState:
    return state(
        "Stalled", reason, applied_commit=C1, attempted_commit=commit, problems=(PROBLEM,), message=str(PROBLEM)
    )


def words_of(*states: SourceState, told: Told | None = None) -> list[str]:
    """What is told of a source that comes through these states."""
    found, told = [], told or Told()
    for one in states:
        told, notices, _ = of_state(told, one)
        found += [notice.word for notice in notices]
    return found


def shown_of(*states: SourceState) -> list[tuple[str, str]]:
    """What the forge shows, in order."""
    found: list[tuple[str, str]] = []
    told = Told()
    for one in states:
        told, _, shown = of_state(told, one)
        found += [shown] if shown else []
    return found


def unreachable() -> SourceState:
    return state("Reconciling", "Unreachable", applied_commit=C1, attempted_commit=C2)


def test_a_source_that_stalls_is_told_once_however_often_it_is_looked_at_and_though_it_was_away_meanwhile() -> None:
    assert words_of(ready(), stalled(), stalled(), unreachable(), stalled()) == ["stalled"]


def test_another_commit_that_is_refused_is_told_and_so_is_another_reason() -> None:
    assert words_of(stalled(), stalled("3" * 40), stalled("3" * 40, "Guarded")) == ["stalled"] * 3


def test_a_source_is_told_to_have_recovered_only_if_it_was_told_to_be_stalled() -> None:
    assert words_of(ready(), ready(C2), stalled(), ready(C2), ready(C2)) == ["stalled", "recovered"]


def test_what_was_told_before_a_restart_is_not_told_again() -> None:
    told, _, _ = of_state(Told(), stalled())

    assert words_of(stalled(), told=told) == []
    assert words_of(ready(), told=told) == ["recovered"]


def test_the_forge_shows_a_commit_as_pending_then_as_what_became_of_it() -> None:
    applying = state("Reconciling", "Applying", applied_commit=C1, attempted_commit=C2)
    failed = state("Reconciling", "Failed", applied_commit=C1, attempted_commit=C2)

    assert shown_of(ready(), ready(), applying, failed, failed, unreachable(), stalled(), ready(C2)) == [
        (C1, "success"), (C2, "pending"), (C2, "error"), (C2, "failure"), (C2, "success"),
    ]  # fmt: skip


def test_a_source_without_commits_shows_nothing_at_a_forge() -> None:
    assert shown_of(state("Ready", "Applied"), state("Stalled", "Invalid", problems=(PROBLEM,))) == []


def body(notice: Notice, *, details: bool) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(notice.body(id_="i", time="t", cluster="acme", details=details))
    return found


def test_a_message_names_no_person_host_or_file_unless_it_is_configured() -> None:
    _, (notice,), _ = of_state(Told(), stalled())

    without, with_details = body(notice, details=False), body(notice, details=True)

    assert not [word for word in ("ann", "db-1", "example.com", "yaml") if word in json.dumps(without)]
    assert without["text"] == (
        "acme: source git is stalled at commit 222222222222: Invalid, 1 problem; the last good state stays in force"
    )
    assert (without["problems"], without["commit"], without["applied_commit"]) == (1, C2, C1)
    assert with_details["details"]["problems"] == [str(PROBLEM)]


@pytest.mark.parametrize(
    ("event", "word"),
    [
        ("policy.applied", "applied"), ("policy.drift", "drift"), ("policy.break_glass", "break_glass"),
        ("policy.break_glass.ended", "break_glass"), ("policy.override_used", "override"),
        ("policy.rollback_accepted", "rollback"), ("policy.appliedly", None), ("session.start", None),
        ("user.login", None), ("policy.", None),
    ],
)  # fmt: skip
def test_events_about_the_policy_are_told_by_their_type_whoever_writes_them(event: str, word: str | None) -> None:
    assert word_of(event) == word


def test_an_event_that_this_program_does_not_know_names_nobody_either() -> None:
    event = {"event": "policy.break_glass", "code": "X", "user": "ann", "name": "role/db-1", "reason": "ann is ill",
             "source": "git", "revision": 7, "uid": "u1"}  # fmt: skip
    notice = of_event(event)

    assert notice is not None
    assert notice.id == "u1"
    assert "ann" not in json.dumps(body(notice, details=False))
    assert body(notice, details=True)["details"]["user"] == "ann"


def test_what_drifted_is_counted_and_named_only_where_that_is_configured() -> None:
    notice = of_event({"event": "policy.drift", "source": "git", "updated": ["user/ann", "node/db-1"], "deleted": []})

    assert notice is not None
    without, with_details = body(notice, details=False), body(notice, details=True)
    assert not [word for word in ("ann", "db-1") if word in json.dumps(without)]
    assert (without["updated"], without["deleted"]) == (2, 0)
    assert with_details["details"]["updated"] == ["user/ann", "node/db-1"]


def test_an_emergency_change_that_was_refused_does_not_read_like_one_that_was_made() -> None:
    made, refused = (of_event({"event": "policy.break_glass", "success": success}) for success in (True, False))

    assert made is not None
    assert refused is not None
    assert made.text.startswith("somebody changed a declared resource for an emergency")
    assert "refused" not in made.text
    assert "was tried and refused" in refused.text


def test_a_refusal_is_told_by_the_transition_alone() -> None:
    assert of_event({"event": "policy.stalled", "source": "git", "problems": ["x"]}) is None


# -- forges


def forge(**fields: Any) -> CommitStatus:
    return CommitStatus.model_validate({"repository": "acme/policy", "token_file": "/t", **fields})


def request(one: CommitStatus) -> tuple[str, dict[str, Any], dict[str, str]]:
    url, data, headers = posted(one, "TOKEN", commit=C1, state="failure", description="d", context="teleport/acme")
    return url, json.loads(data), dict(headers)


def test_github_is_posted_what_it_documents() -> None:
    url, data, headers = request(forge(target_url="https://wiki.example.com"))

    assert url == f"https://api.github.com/repos/acme/policy/statuses/{C1}"
    assert data == {"state": "failure", "description": "d", "context": "teleport/acme",
                    "target_url": "https://wiki.example.com"}  # fmt: skip
    assert headers["Authorization"] == "Bearer TOKEN"
    assert headers["Accept"] == "application/vnd.github+json"


def test_gitlab_and_gitea_are_posted_what_they_document() -> None:
    gitlab = request(forge(forge="gitlab", api_url="https://gitlab.example.com/api/v4/", repository="acme/sub/policy"))
    gitea = request(forge(forge="gitea", api_url="https://git.example.com/api/v1"))

    assert gitlab[0] == f"https://gitlab.example.com/api/v4/projects/acme%2Fsub%2Fpolicy/statuses/{C1}"
    assert gitlab[1] == {"state": "failed", "description": "d", "name": "teleport/acme"}
    assert gitlab[2] == {"PRIVATE-TOKEN": "TOKEN"}
    assert gitea[0] == f"https://git.example.com/api/v1/repos/acme/policy/statuses/{C1}"
    assert (gitea[1]["state"], gitea[2]) == ("failure", {"Authorization": "token TOKEN"})


@pytest.mark.parametrize("fields", [
    {"repository": "policy"}, {"repository": "acme/../x"}, {"repository": "a/b?c"}, {"forge": "gitlab"},
    {"api_url": "http://api.example.com"}, {"token_file": "relative"},
])  # fmt: skip
def test_a_forge_that_cannot_be_meant_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        forge(**fields)


def test_a_description_is_one_line_that_a_forge_takes_and_names_problems_only_if_configured() -> None:
    one = stalled()
    one.message = "users/ann.yaml:4:3:\n" + "x" * 500

    plain, detailed = (described(one, "failure", details=details) for details in (False, True))

    assert plain == "Refused (Invalid): 1 problem; see tctl policy status"
    assert detailed.startswith("Refused (Invalid): users/ann.yaml:4:3: xxx")
    assert (len(detailed), detailed[-1]) == (140, "…")
    assert described(ready(), "success", details=False) == "In force: 27 objects at revision 12"
