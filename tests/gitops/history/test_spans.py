"""Since when somebody has been allowed: against asking every commit by itself."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teleport.access.decide import Decision
from teleport.access.judge import judge
from teleport.access.snapshot import compile_snapshot
from teleport.gitops.history.spans import Question, Tables, follow, spans_of
from teleport.gitops.history.steps import read_line
from teleport.gitops.history.walk import walk
from teleport.gitops.revision import Commit, Repository
from teleport.resources.kinds import AnyResource
from teleport.resources.load import Loader
from tests.gitops.history.branches import (
    ANN,
    DAY,
    DEV,
    HOST,
    START,
    Files,
    branch,
    commits_of,
    head,
    node,
    role,
    user,
)

QUESTION = Question("ann", "root", "db-1")


def decisions(repository: Repository, question: Question = QUESTION, *, limit: int = 1000) -> list[bool]:
    """The answer at each commit, oldest first."""
    line = read_line(repository, head(repository), limit)
    return [one.decision.allowed for one in follow(walk(repository, head(repository), line), question)]


def spans(repository: Repository, question: Question = QUESTION, *, limit: int = 1000) -> list[tuple[int, int | None]]:
    """From which commit to which, by their numbers."""
    numbers = {commit: number for number, commit in enumerate(commits_of(repository))}
    line = read_line(repository, head(repository), limit)
    found = spans_of(follow(walk(repository, head(repository), line), question))
    return [
        (numbers[one.since.step.commit], numbers[one.until.step.commit] if one.until is not None else None)
        for one in found
    ]


@pytest.mark.parametrize(
    ("commits", "expected"),
    [
        pytest.param([{"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}], [(0, None)], id="from the first commit on"),
        pytest.param([{"d.yaml": DEV, "h.yaml": HOST}, {"a.yaml": ANN}], [(1, None)], id="since the user is there"),
        pytest.param([{"a.yaml": ANN, "d.yaml": DEV}, {"h.yaml": HOST}], [(1, None)], id="since the host is there"),
        pytest.param(
            [{"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}, {"d.yaml": role(logins="web")}, {"d.yaml": DEV}],
            [(0, 1), (2, None)], id="withdrawn and given again",
        ),
        pytest.param(
            [{"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}, {"d.yaml": None, "e/d.yaml": DEV}], [(0, None)],
            id="a file that moves interrupts nothing",
        ),
        pytest.param(
            [{"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}, {"d.yaml": "kind: rôle\n"}, {"d.yaml": DEV}],
            [(0, None)], id="a broken commit interrupts nothing",
        ),
        pytest.param(
            [{"a.yaml": ANN, "d.yaml": role(logins="web"), "h.yaml": HOST}, {"d.yaml": DEV, "x.yaml": "]"},
             {"x.yaml": None}],
            [(2, None)], id="what a broken commit gives is in force with the one that mends it",
        ),
        pytest.param(
            [{"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}, {"d.yaml": None}, {"a.yaml": user(roles="")}], [(0, 2)],
            id="a role that somebody holds cannot go",
        ),
        pytest.param(
            [{"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}, dict.fromkeys(["a.yaml", "d.yaml", "h.yaml"])],
            [(0, None)], id="a branch that declares nothing is not obeyed",
        ),
        pytest.param(
            [{"a.yaml": ANN, "d.yaml": role(labels="env: prod"), "h.yaml": HOST}, {"h.yaml": node(labels="env: dev")},
             {"h2.yaml": node("db-2")}, {"h.yaml": HOST}],
            [(0, 1), (3, None)], id="labels of the host",
        ),
        pytest.param(
            [{"a.yaml": ANN, "d.yaml": "->e/real.yml", "e/real.yml": DEV, "h.yaml": HOST}], [],
            id="a link and what it leads to are one object twice",
        ),
        pytest.param(
            [{"a.yaml": ANN, "d.yaml": "->.real/d", ".real/d": DEV, "h.yaml": HOST}, {".real/d": role(logins="web")},
             {"d.yaml": DEV}],
            [(0, 1), (2, None)], id="what a link leads to counts",
        ),
    ],
)  # fmt: skip
def test_it_is_known_from_which_commit_to_which(
    tmp_path: Path, commits: list[Files], expected: list[tuple[int, int | None]]
) -> None:
    assert spans(branch(tmp_path, *commits)) == expected


def test_a_lock_counts_as_long_as_it_says_by_the_times_of_the_commits(tmp_path: Path) -> None:
    until = "2023-11-16T00:00:00Z"  # between the second and the third commit
    lock = f"kind: lock\nversion: v2\nmetadata: {{name: x}}\nspec: {{target: {{user: ann}}, expires: {until}}}\n"

    found = spans(
        branch(tmp_path, {"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}, {"l.yaml": lock}, {"z.yaml": user("bob")})
    )

    assert found == [(0, 1), (2, None)]


def test_of_a_long_history_the_end_is_read_and_its_beginning_counts_as_one_commit(tmp_path: Path) -> None:
    repository = branch(
        tmp_path, {"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}, *({"z.yaml": user(f"u{n}")} for n in range(9))
    )

    assert spans(repository, limit=3) == [(6, None)]


# -- against a walk that reads every commit whole

PIECES = {
    "a.yaml": [ANN, user(roles="dev, ops"), user(roles="ops"), user(roles=""), "kind: user\n", None],
    "d.yaml": [DEV, role(labels="env: prod"), role(logins="web"), role(deny="logins: [root]"), "]", None],
    "ops/o.yaml": [role("ops"), role("ops", deny="node_labels: {env: prod}"), role("dev"), None],
    "h.yaml": [HOST, node(labels="env: dev"), node("db-2"), HOST + "---\n" + node("db-2"), None],
    "l.yaml": ["kind: lock\nversion: v2\nmetadata: {name: x}\nspec: {target: {user: ann}}\n", None],
    "link.yaml": ["->.hidden/f", "->nowhere", None],
    ".hidden/f": [role("linked"), user("bob", "linked"), DEV, None],
    "README.md": ["text", None],
}
STEPS = st.dictionaries(st.sampled_from(sorted(PIECES)), st.integers(0, 5), min_size=1, max_size=4).map(
    lambda chosen: {name: PIECES[name][index % len(PIECES[name])] for name, index in chosen.items()}
)


def naive(repository: Repository) -> Iterator[Decision]:
    """Every commit read, loaded, judged and compiled by itself."""
    resources: tuple[AnyResource, ...] = ()
    for number, commit in enumerate(commits_of(repository)):
        files, problems = repository.read(Commit(commit))
        loaded = Loader().load(files)
        if loaded.resources and not problems and not loaded.problems and not judge(loaded.resources).problems:
            resources = loaded.resources
        yield QUESTION.decide(compile_snapshot(Tables(resources)), now=START + number * DAY)


@settings(max_examples=400 if os.environ.get("TELEPORT_FULL") else 8, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=12))
def test_following_a_branch_answers_as_reading_every_commit_does(steps: list[Files]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        repository = branch(Path(folder), *steps)
        until = head(repository)

        followed = {
            one.step.commit: one.decision
            for one in follow(walk(repository, until, read_line(repository, until, 1000)), QUESTION)
        }

        last: Decision | None = None
        for commit, wanted in zip(commits_of(repository), naive(repository), strict=True):
            last = followed.get(commit, last)  # a commit that changed nothing is no step
            assert last is None or (last.allowed, last.reasons, last.file) == (
                wanted.allowed,
                wanted.reasons,
                wanted.file,
            )
