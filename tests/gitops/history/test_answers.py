"""Answers about a branch: by commits and times, with what else there is, and never of what leads nowhere."""

from pathlib import Path

import pytest

from teleport.api import history as h
from teleport.core.errors import BadInput, NotFound
from teleport.gitops.history.answers import History
from teleport.gitops.history.branch import Around, Branch
from teleport.gitops.history.commits import Notes
from teleport.gitops.revision import Repository
from teleport.resources.kinds import AnyResource
from teleport.resources.load import load
from teleport.resources.node import Node
from tests.gitops.history.branches import ANN, DAY, DEV, HOST, START, Files, branch, commits_of, head, node, role, user

NOW = START + 100 * DAY
ASKED = h.SinceQuestion(user="ann", login="root", node="db-1")


def history(repository: Repository, around: Around | None = None, *, path: str = "", source: str = "") -> History:
    return History(Branch(repository, head(repository, path), source), Notes(repository, None), around or Around())


def resources(text: str) -> tuple[AnyResource, ...]:
    return load(text.encode(), file="x.yaml", source="other").resources


async def users_at(folder: Path, at: str, *commits: Files) -> list[str]:
    found = await history(branch(folder, *commits)).people(h.PeopleQuery(node="db-1", at=at), now=NOW)
    return [one.user for one in found.people]


@pytest.mark.parametrize(
    ("at", "users"),
    [
        ("", ["bob"]), ("main", ["bob"]), ("main~1", ["ann", "bob"]), ("main~2", ["ann"]),
        ("2023-11-14", ["ann"]), ("2023-11-15", ["ann", "bob"]), ("2023-11-15T22:13:19Z", ["ann"]),
        ("2023-11-15T22:13:20Z", ["ann", "bob"]), ("1d", ["bob"]), ("99d", ["ann", "bob"]), ("2376h", ["ann", "bob"]),
    ],
)  # fmt: skip
async def test_who_reached_a_host_is_known_of_any_commit_and_any_time(
    tmp_path: Path, at: str, users: list[str]
) -> None:
    base = {"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}

    assert await users_at(tmp_path, at, base, {"b.yaml": user("bob")}, {"a.yaml": None}) == users


@pytest.mark.parametrize("at", ["2023-11-13", "200d", "nonsense", "9999-99-99", "--all", "-1d", "99999999999999d", ""])
async def test_a_moment_before_everything_or_that_is_none_is_refused(tmp_path: Path, at: str) -> None:
    asked = h.PeopleQuery(node="db-1" if at else "db-9", at=at)

    with pytest.raises(BadInput):
        await history(branch(tmp_path, {"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST})).people(asked, now=NOW)


async def test_a_commit_that_does_not_hold_is_passed_over_and_named(tmp_path: Path) -> None:
    repository = branch(tmp_path, {"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}, {"d.yaml": "]"})
    good, broken = commits_of(repository)

    found = await history(repository).people(h.PeopleQuery(node="db-1"), now=NOW)

    assert (found.at.id, [one.commit for one in found.skipped]) == (good, [broken])
    assert "d.yaml:1:1" in found.skipped[0].problem


async def test_where_nothing_ever_held_the_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no commit up to .* has a policy that holds there: d.yaml:1:1"):
        await history(branch(tmp_path, {"d.yaml": "]"})).people(h.PeopleQuery(node="db-1"), now=NOW)


async def test_hosts_that_report_themselves_count_at_all_times_with_the_labels_they_have_now(tmp_path: Path) -> None:
    repository = branch(tmp_path, {"a.yaml": ANN, "d.yaml": role(labels="env: prod")})
    hosts = tuple(one for one in resources(node("db-1", "env: prod")) if isinstance(one, Node))

    found = await history(repository, Around(hosts=hosts)).since(ASKED, now=NOW)

    assert found.now.allowed
    with pytest.raises(BadInput, match="no host db-1 is known"):
        await history(repository).since(ASKED, now=NOW)


async def test_what_other_sources_declare_counts_at_all_times(tmp_path: Path) -> None:
    repository = branch(tmp_path, {"a.yaml": ANN, "h.yaml": HOST})

    alone = history(repository)
    beside = history(repository, Around(beside=resources(DEV)))

    assert (await beside.since(ASKED, now=NOW)).now.allowed
    with pytest.raises(BadInput):  # by itself it does not hold: nobody knows the role
        await alone.since(ASKED, now=NOW)


async def test_what_expired_since_the_last_commit_ends_a_span_without_a_commit(tmp_path: Path) -> None:
    guest = ANN.replace("{name: ann}", "{name: ann, expires: 2023-11-20T00:00:00Z}")
    repository = branch(tmp_path, {"a.yaml": guest, "d.yaml": DEV, "h.yaml": HOST})

    found = await history(repository).since(ASKED, now=NOW)

    (span,) = found.spans
    assert not found.now.allowed
    assert (span.over, span.until, span.ended_by) == (True, None, ("user ann expired at 2023-11-20T00:00:00Z",))


async def test_a_misspelt_user_is_no_denial(tmp_path: Path) -> None:
    repository = branch(tmp_path, {"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST})

    with pytest.raises(BadInput) as error:
        await history(repository).since(ASKED.model_copy(update={"user": "anne"}), now=NOW)

    assert error.value.hint == "did you mean ann?"


# -- texts


SECRETS = {".hidden.yaml": DEV, "notes.txt": "secret", "out.yaml": "->/etc/passwd", "up.yaml": "->../elsewhere.yaml"}


@pytest.mark.parametrize(
    "file",
    [*SECRETS, "../elsewhere.yaml", "/etc/passwd", "", ".", "p/a.yaml", "a.yaml\0", "..", "--help", ":a.yaml"],
)
async def test_only_policy_of_the_folder_is_told(tmp_path: Path, file: str) -> None:
    files = {f"p/{name}": text for name, text in {**SECRETS, "a.yaml": ANN}.items()}
    repository = branch(tmp_path, {**files, "elsewhere.yaml": "secret"})
    (commit,) = commits_of(repository)

    found, resource = await history(repository, path="p").text(h.RulePlace(file=file, line=1, commit=commit))

    assert (found.text, resource) == ("", None)


async def test_a_commit_that_does_not_lead_to_what_is_in_force_is_not_told(tmp_path: Path) -> None:
    repository = branch(tmp_path, {"a.yaml": ANN}, {"a.yaml": user("mallory")})
    repository.ask("branch", "aside", "main")
    repository.ask("update-ref", "refs/heads/main", "main~1")
    aside = repository.commit("aside").id

    found, _ = await history(repository).text(h.RulePlace(file="a.yaml", line=1, commit=aside))

    assert (found.commit, found.text) == (None, "")
    with pytest.raises(BadInput, match="is not in the history"):
        await history(repository).people(h.PeopleQuery(node="db-1", at="aside"), now=NOW)


async def test_a_link_is_followed_to_the_text_of_the_rule(tmp_path: Path) -> None:
    repository = branch(tmp_path, {"d.yaml": "->.real/d", ".real/d": DEV})

    found, resource = await history(repository).text(
        h.RulePlace(file="d.yaml", line=2, commit=commits_of(repository)[0])
    )

    assert (found.text, resource and resource.ref) == (DEV.rstrip("\n"), "role/dev")


async def test_a_place_without_a_commit_is_told_as_it_was_written_before_a_time(tmp_path: Path) -> None:
    repository = branch(tmp_path, {"d.yaml": DEV}, {"d.yaml": role(logins="web")}, {"x.yaml": ANN})
    place, first = h.RulePlace(file="d.yaml", line=6), commits_of(repository)[0]

    then = await history(repository).text_before(place, START + DAY / 2)
    before = await history(repository).text_before(place, START - DAY)

    assert then.commit is not None
    assert (then.commit.id, "logins: [root]" in then.text) == (first, True)
    assert (before.commit, before.text) == (None, "")
