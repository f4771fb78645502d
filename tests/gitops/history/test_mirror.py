"""The past by a mirror that leaves blobs with the server, while the source goes on fetching."""

import asyncio
from pathlib import Path

from teleport.api import history as h
from teleport.gitops.address import GitAddress
from teleport.gitops.history.answers import History
from teleport.gitops.history.branch import Around, Branch
from teleport.gitops.history.commits import Notes
from teleport.gitops.mirror import Mirror
from teleport.gitops.revision import Commit, Repository
from tests.gitops.history.branches import ANN, DAY, DEV, HOST, START, branch, commits_of, role, user


async def test_what_was_left_with_the_server_is_fetched_for_the_question_also_while_others_fetch(
    tmp_path: Path,
) -> None:
    upstream = branch(
        tmp_path / "upstream", {"p/a.yaml": ANN, "p/d.yaml": DEV, "p/h.yaml": HOST, "big": "x" * 100_000},
        *({"p/z.yaml": user(f"u{number}")} for number in range(5)), {"p/d.yaml": role(logins="web")},
    )  # fmt: skip
    upstream.ask("config", "uploadpack.allowFilter", "true")
    mirror = Mirror(tmp_path / "mirror", GitAddress.parse(f"git+file://{upstream.folder}#main:p"))
    head, copy = await mirror.fetch(), Repository(tmp_path / "mirror")
    past = History(Branch(copy, Commit(head, "p"), "git", mirror), Notes(copy, None), Around())

    answer, *_ = await asyncio.gather(
        past.since(h.SinceQuestion(user="ann", login="root", node="db-1"), now=START + 99 * DAY),
        mirror.fetch(), mirror.fetch(),
    )  # fmt: skip

    (span,) = answer.spans
    assert span.since is not None
    assert span.until is not None
    assert (span.since.id, span.until.id) == (commits_of(upstream)[0], head)
    missing = copy.ask("rev-list", "--objects", "--all", "--missing=print").decode()
    assert missing.count("?") == 1  # what is no policy stays where it is
