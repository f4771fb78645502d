"""What is told of commits: what they claim, and whose signature they have."""

from pathlib import Path

import pytest

from teleport.gitops.history.commits import LocalObjects, Notes, note_of
from teleport.gitops.revision import Repository
from teleport.gitops.signatures import Verification, Verifier
from tests.gitops.repositories import Upstream, key

RAW = b"tree 1\nauthor %s 1700000000 +0200\ncommitter c <c@x> 1700000001 +0000\n\n%s"


@pytest.mark.parametrize(
    ("author", "message", "told"),
    [
        (b"Ann <ann@example.com>", b"open prod\n\nbecause\n", ("Ann <ann@example.com>", "open prod")),
        (b"\xff <>", b"", ("\ufffd <>", "")),
        (b"A <a@b> 5 +0000", b"x", ("A <a@b> 5 +0000", "x")),
        (b"A <a@b>", b"\n\nauthor B <b@c> 9 +0000", ("A <a@b>", "author B <b@c> 9 +0000")),
        (b"A <a@b>", b"x" * 5000, ("A <a@b>", "x" * 300)),
    ],
)
def test_author_and_subject_are_what_the_commit_says(author: bytes, message: bytes, told: tuple[str, str]) -> None:
    note = note_of("c1", RAW % (author, message))

    assert (note.author, note.subject, note.authored, note.signature) == (*told, 1_700_000_000.0, "unsigned")


def test_what_is_no_commit_is_told_as_its_name_alone() -> None:
    assert note_of("c1", b"").author == ""


async def test_the_signer_is_who_the_list_names_and_nobody_else(tmp_path: Path) -> None:
    ann, mallory = key(tmp_path, "ann@example.com"), key(tmp_path, "mallory@example.com")
    upstream = Upstream(tmp_path / "repository")
    commits = [upstream.commit({"x": str(number)}, by=by) for number, by in enumerate((ann, mallory, None))]
    (tmp_path / "allowed").write_text(ann.allowed())
    repository = Repository(upstream.folder)
    verifier = Verifier(LocalObjects(repository), Verification(tmp_path / "allowed"))

    judged = await Notes(repository, verifier).of(commits)
    unjudged = await Notes(repository, None).of(commits)

    assert [(one.signature, one.signer) for one in judged.values()] == [
        ("verified", "ann@example.com"), ("refused", ""), ("unsigned", ""),
    ]  # fmt: skip
    assert [one.signature for one in unjudged.values()] == ["unchecked", "unchecked", "unsigned"]


async def test_a_signature_counts_by_the_time_that_it_claims(tmp_path: Path) -> None:
    ann, upstream = key(tmp_path, "ann@example.com"), Upstream(tmp_path / "repository")
    old, new = (upstream.commit({"x": str(when)}, by=ann, when=when) for when in (1_600_000_000, 1_700_000_000))
    (tmp_path / "allowed").write_text(ann.allowed('valid-before="20220101"'))
    repository = Repository(upstream.folder)

    found = await Notes(repository, Verifier(LocalObjects(repository), Verification(tmp_path / "allowed"))).of(
        [old, new]
    )

    assert [one.signature for one in found.values()] == ["verified", "refused"]


async def test_no_program_that_the_repository_configures_is_run(tmp_path: Path) -> None:
    ann, upstream = key(tmp_path, "ann@example.com"), Upstream(tmp_path / "repository")
    commit = upstream.commit({"x": "1"}, by=ann)
    (tmp_path / "allowed").write_text(ann.allowed())
    script, trap = tmp_path / "evil.sh", tmp_path / "trap"
    script.write_text(f"#!/bin/sh\ntouch {trap}\nexit 0\n")
    script.chmod(0o755)
    for name in ("gpg.program", "gpg.ssh.program", "gpg.ssh.defaultKeyCommand", "core.pager", "diff.external"):
        upstream.git("config", name, str(script))
    repository = Repository(upstream.folder)

    found = await Notes(repository, Verifier(LocalObjects(repository), Verification(tmp_path / "allowed"))).of([commit])

    assert found[commit].signature == "verified"
    assert not trap.exists()
