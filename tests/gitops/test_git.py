"""A repository as a source: which commits are obeyed, which are refused by name, and what survives a restart."""

import json
import random
import re
import shutil
import threading
import time
from pathlib import Path

import pytest

from teleport.core.errors import Conflict, Unavailable
from teleport.gitops.address import GitAddress
from teleport.gitops.git import GitSettings, GitSource
from teleport.gitops.mirror import GitCredentials
from teleport.gitops.signatures import Verification
from teleport.resources.load import Loaded
from teleport.resources.model import Origin
from teleport.resources.role import Role
from tests.builders import FakeClock
from tests.gitops.repositories import Key, Upstream, key, role

LONG_AGO = 1_500_000_000


class Place:
    """A cluster's side: where the source keeps what it knows, and what the database remembers."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.data, self.upstream, self.database = folder / "data", upstream, ""
        self.clock = FakeClock(time.time())
        self.signers = folder / "allowed_signers"
        self.revoked = folder / "revoked"
        self.verification: Verification | None = None
        self.source = self.start()

    def start(self, path: str = "p") -> GitSource:
        """A new process."""
        settings = GitSettings(GitAddress(self.upstream.url, "main", path), GitCredentials(), self.verification)
        self.source = GitSource(self.data, settings, name="ops", clock=self.clock, remembered=self._remembered)
        return self.source

    def verify(self, *allowed: str, required: int = 1, revoked: Key | None = None) -> None:
        self.signers.write_text("".join(allowed))
        if revoked is not None:
            self.revoked.write_text(revoked.public + "\n")
        self.verification = Verification(self.signers, required, self.revoked if revoked is not None else None)
        self.start()

    async def _remembered(self) -> str:
        return self.database

    async def apply(self) -> Loaded:
        """Load, and let it come into force if nothing is wrong with it."""
        loaded = await self.source.load()
        if not loaded.problems:
            self.database = loaded.commit
            await self.source.applied(loaded.commit)
        return loaded

    async def refusal(self) -> str:
        """Why the head is not obeyed."""
        (problem,) = (await self.apply()).problems
        return f"{problem.file}: {problem.message}"


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    made = Upstream(tmp_path / "upstream")
    made.commit({"p/a.yaml": role("a"), "p/b/b.yaml": role("b"), "other.yaml": "no"})
    return made


@pytest.fixture
def place(tmp_path: Path, upstream: Upstream) -> Place:
    return Place(tmp_path, upstream)


@pytest.fixture
def ann(tmp_path: Path) -> Key:
    return key(tmp_path, "ann")


@pytest.fixture
def bob(tmp_path: Path) -> Key:
    return key(tmp_path, "bob")


async def test_each_resource_names_the_commit_that_changed_its_file_last(place: Place, upstream: Upstream) -> None:
    first = upstream.head
    second = upstream.commit({"p/a.yaml": role("a", "ann")})

    loaded = await place.apply()

    assert loaded.problems == ()
    assert loaded.commit == second
    assert {one.name: (one.origin.file, one.origin.commit) for one in loaded.resources} == {
        "a": ("a.yaml", second), "b": ("b/b.yaml", first),
    }  # fmt: skip


async def test_a_new_commit_moves_the_origin_of_what_it_changed_alone(place: Place, upstream: Upstream) -> None:
    first = upstream.head
    await place.apply()
    second = upstream.commit({"p/b/b.yaml": role("b", "ann")})

    loaded = await place.apply()

    assert {one.name: one.origin.commit for one in loaded.resources} == {"a": first, "b": second}


async def test_a_commit_is_read_once(place: Place, upstream: Upstream) -> None:
    first = await place.apply()
    again = await place.apply()
    upstream.commit({"p/a.yaml": role("a", "ann")})

    later = await place.apply()

    assert again is first
    assert later is not first


async def test_reading_a_big_repository_holds_nobody_else_up(
    place: Place, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, original = set(), Role.with_origin

    def noted(one: Role, origin: Origin, uid: str = "") -> Role:
        threads.add(threading.current_thread())
        return original(one, origin, uid)

    monkeypatch.setattr(Role, "with_origin", noted)
    await place.apply()

    assert threads
    assert threading.main_thread() not in threads


async def test_blobs_are_fetched_only_where_they_are_policy(place: Place, upstream: Upstream) -> None:
    upstream.git("config", "uploadpack.allowFilter", "true")
    noise = random.Random(1).randbytes(100_000).hex()
    upstream.commit({"p/big.bin": noise, "big.yaml": noise[::-1], "p/a.yaml": role("a", "ann")})

    loaded = await place.apply()

    fetched = sum(path.stat().st_size for path in (place.data / "mirror.git/objects").rglob("*") if path.is_file())
    assert {one.name for one in loaded.resources} == {"a", "b"}
    assert fetched < 50_000


async def test_a_repository_that_disappears_is_unavailable_and_comes_back(place: Place, upstream: Upstream) -> None:
    await place.apply()
    upstream.folder.rename(upstream.folder.with_name("gone"))

    with pytest.raises(Unavailable, match="cannot be fetched"):
        await place.apply()

    upstream.folder.with_name("gone").rename(upstream.folder)
    assert (await place.apply()).problems == ()


@pytest.mark.parametrize("left", ["refs/teleport/head.lock", "packed-refs.lock", "config.lock", "HEAD.lock"])
async def test_what_a_git_that_was_killed_leaves_behind_is_in_nobodys_way(
    place: Place, upstream: Upstream, left: str
) -> None:
    await place.apply()
    (place.data / "mirror.git" / left).write_text("")
    upstream.commit({"p/a.yaml": role("a", "ann")})
    place.start()

    assert (await place.apply()).commit == upstream.head


async def test_the_copy_may_be_lost_or_half_made(place: Place, upstream: Upstream) -> None:
    await place.apply()
    (place.data / "mirror.git/config").unlink()
    upstream.commit({"p/a.yaml": role("a", "ann")})
    place.start()
    half = await place.apply()
    shutil.rmtree(place.data / "mirror.git")
    place.start()

    assert half.commit == upstream.head
    assert (await place.apply()).problems == ()


async def test_a_branch_that_does_not_exist_is_unavailable(place: Place, upstream: Upstream) -> None:
    upstream.git("branch", "-m", "trunk")

    with pytest.raises(Unavailable, match="refs/heads/main"):
        await place.apply()


async def test_a_folder_that_the_commit_lacks_is_named(place: Place) -> None:
    place.start(path="nowhere")

    assert "nowhere is no folder of commit" in await place.refusal()


# -- no way back


async def test_an_older_commit_is_refused_also_after_a_restart(place: Place, upstream: Upstream) -> None:
    old = upstream.head
    new = upstream.commit({"p/a.yaml": role("a", "ann")})
    await place.apply()
    upstream.git("reset", "-q", "--hard", old)

    before = await place.refusal()
    place.start()
    after = await place.refusal()

    assert before == after
    assert before.startswith(f"commit {old}: does not contain {new}")


async def test_a_rewritten_branch_is_refused(place: Place, upstream: Upstream) -> None:
    await place.apply()
    upstream.git("commit", "-q", "--amend", "--allow-empty", "-m", "rewritten")

    assert await place.refusal() == f"commit {upstream.head}: does not contain {place.database}, " + (
        "which was applied before: the branch went back or was rewritten"
    )


@pytest.mark.parametrize("lost", ["database", "mark", "mirror"])
async def test_what_was_applied_is_remembered_in_two_places(place: Place, upstream: Upstream, lost: str) -> None:
    old = upstream.head
    upstream.commit({"p/a.yaml": role("a", "ann")})
    await place.apply()
    upstream.git("reset", "-q", "--hard", old)
    if lost == "database":
        place.database = old
    elif lost == "mark":
        (place.data / "mark.json").unlink()
    else:
        shutil.rmtree(place.data / "mirror.git")
        upstream.git("reflog", "expire", "--expire=now", "--all")
        upstream.git("gc", "-q", "--prune=now")
    place.start()

    assert "does not contain" in await place.refusal()


async def test_a_mark_that_cannot_be_understood_is_no_fresh_start(place: Place) -> None:
    await place.apply()
    (place.data / "mark.json").write_text("{}")

    with pytest.raises(Unavailable, match=r"mark\.json cannot be read"):
        await place.apply()


async def test_a_way_back_is_open_once_an_administrator_accepts_that_very_commit(
    place: Place, upstream: Upstream
) -> None:
    old = upstream.head
    new = upstream.commit({"p/a.yaml": role("a", "ann")})
    await place.apply()
    upstream.git("reset", "-q", "--hard", old)
    await place.refusal()
    for wrong in (new, old[:6], ""):
        with pytest.raises(Conflict):
            await place.source.accept(wrong)

    accepted = await place.source.accept(old[:8])

    place.start()
    assert accepted == old
    assert (await place.apply()).problems == ()
    upstream.git("reset", "-q", "--hard", new)
    assert (await place.apply()).problems == ()
    upstream.git("reset", "-q", "--hard", old)
    assert "does not contain" in await place.refusal()


async def test_nothing_can_be_accepted_while_nothing_is_refused(place: Place, upstream: Upstream) -> None:
    await place.apply()

    with pytest.raises(Conflict, match="refuses no commit"):
        await place.source.accept(upstream.head)


# -- signatures


async def test_a_commit_of_an_allowed_signer_is_obeyed(place: Place, upstream: Upstream, ann: Key) -> None:
    place.verify(ann.allowed())
    upstream.commit(by=ann)

    assert (await place.apply()).problems == ()


async def test_an_unsigned_commit_is_refused_by_name_and_one_above_it_does_not_help(
    place: Place, upstream: Upstream, ann: Key
) -> None:
    place.verify(ann.allowed())
    upstream.commit(by=ann)
    await place.apply()
    unsigned = upstream.commit({"p/a.yaml": role("a", "evil")})
    alone = await place.refusal()
    upstream.commit(by=ann)

    below = await place.refusal()

    assert alone == below == f"commit {unsigned}: is not signed with an SSH key"


async def test_a_stranger_a_revoked_and_an_expired_key_are_refused(
    place: Place, upstream: Upstream, ann: Key, bob: Key
) -> None:
    upstream.commit(by=ann)
    found = []
    for allowed, revoked in (
        (bob.allowed(), None), (ann.allowed(), ann), (ann.allowed('valid-before="20200101"'), None),
        (ann.allowed('namespaces="file"'), None), ("", None),
    ):  # fmt: skip
        place.verify(allowed, revoked=revoked)
        found.append(await place.refusal())

    assert all("is not signed by an allowed signer" in one for one in found), found
    assert [re.sub("SHA256:[^ ]+", "K", one).rpartition(": ")[2] for one in found] == [
        "the key K is in no line of the file of allowed signers",
        "the key K is that of ann, and revoked",
        "the key K is that of ann",
        "the key K is that of ann",
        "the key K is in no line of the file of allowed signers",
    ]


async def test_a_back_dated_commit_of_an_expired_key_is_refused(place: Place, upstream: Upstream, ann: Key) -> None:
    place.verify(ann.allowed('valid-before="20200101"'))
    upstream.commit(by=ann, when=LONG_AGO)

    assert "was valid when it was signed and when it was first seen" in await place.refusal()


async def test_a_key_that_expires_after_a_commit_was_first_seen_does_not_spoil_it(
    place: Place, upstream: Upstream, ann: Key, bob: Key
) -> None:
    soon = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + 3600)).rstrip("Z")
    place.verify(ann.allowed(f'valid-before="{soon}"'), bob.allowed(), required=2)
    commit = upstream.commit(by=ann)
    waiting = await place.refusal()
    place.clock.advance(90_000)
    upstream.approve(commit, by=bob)
    place.start()

    assert "needs the approval of another allowed signer" in waiting
    assert (await place.apply()).problems == ()


async def test_a_commit_that_claims_the_future_of_a_key_is_refused(place: Place, upstream: Upstream, ann: Key) -> None:
    place.verify(ann.allowed('valid-after="20200101"'))
    upstream.commit(by=ann, when=LONG_AGO)

    assert "is not signed by an allowed signer" in await place.refusal()


async def test_two_people_must_agree_and_neither_a_person_nor_a_key_counts_twice(
    tmp_path: Path, place: Place, upstream: Upstream, ann: Key, bob: Key
) -> None:
    second = key(tmp_path / "upstream/..", "ann2")
    alias = Key("alias", ann.path)
    place.verify(ann.allowed(), f"ann {second.public}\n", alias.allowed(), bob.allowed(), required=2)
    commit = upstream.commit(by=ann)
    upstream.approve(commit, by=ann, name=f"approve/{commit}/1")
    upstream.approve(commit, by=second, name=f"approve/{commit}/2")
    upstream.git("tag", f"approve/{commit}/3", commit)
    alone = await place.refusal()
    upstream.approve(commit, by=bob, name=f"approve/{commit}/4")

    assert "needs the approval of another allowed signer; a tag is there that does not count: " in alone
    assert "ann has signed already" in alone
    assert (await place.apply()).problems == ()


async def test_an_approval_of_another_commit_or_a_tag_of_another_name_is_none(
    place: Place, upstream: Upstream, ann: Key, bob: Key
) -> None:
    place.verify(ann.allowed(), bob.allowed(), required=2)
    first = upstream.commit(by=ann)
    upstream.approve(first, by=bob)
    commit = upstream.commit(by=ann)
    upstream.git("update-ref", f"refs/tags/approve/{commit}/1", f"refs/tags/approve/{first}")
    upstream.approve(commit, by=bob, name="v1.0")
    upstream.git("update-ref", f"refs/tags/approve/{commit}/2", "refs/tags/v1.0")

    waiting = await place.refusal()

    assert "needs the approval" in waiting
    assert "does not count: it is not signed for this commit" in waiting


async def test_an_approval_by_a_key_that_does_not_count_says_whose_it_is(
    place: Place, upstream: Upstream, ann: Key, bob: Key
) -> None:
    place.verify(ann.allowed(), bob.allowed(), required=2, revoked=bob)
    upstream.approve(upstream.commit(by=ann), by=bob)

    assert "is that of bob, and revoked" in await place.refusal()


async def test_a_merge_counts_by_its_own_signature(place: Place, upstream: Upstream, ann: Key) -> None:
    place.verify(ann.allowed())
    upstream.commit(by=ann)
    await place.apply()
    upstream.git("checkout", "-q", "-b", "feature")
    upstream.commit({"p/a.yaml": role("a", "ann")})
    upstream.git("checkout", "-q", "main")
    signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={ann.path}")
    upstream.git(*signing, "merge", "-q", "--no-ff", "-S", "-m", "m", "feature")

    signed = await place.apply()
    upstream.git("checkout", "-q", "feature")
    upstream.commit({"p/b/b.yaml": role("b", "ann")})
    upstream.git("checkout", "-q", "main")
    upstream.git("merge", "-q", "--no-ff", "-m", "m", "feature")

    assert signed.problems == ()
    assert {one.name: one.origin.commit for one in signed.resources}["a"] == signed.commit
    assert "is not signed" in await place.refusal()


async def test_an_accepted_way_back_must_be_signed_all_the_same(place: Place, upstream: Upstream, ann: Key) -> None:
    place.verify(ann.allowed())
    upstream.commit(by=ann)
    await place.apply()
    upstream.git("commit", "-q", "--amend", "--allow-empty", "-m", "rewritten")
    await place.refusal()
    await place.source.accept(upstream.head)

    assert "is not signed with an SSH key" in await place.refusal()


async def test_without_the_file_of_signers_nothing_new_comes_into_force(
    place: Place, upstream: Upstream, ann: Key
) -> None:
    place.verify(ann.allowed())
    upstream.commit(by=ann)
    place.signers.unlink()

    with pytest.raises(Unavailable, match="whose signatures count"):
        await place.apply()


async def test_what_is_in_force_is_not_asked_again_for_its_signature(
    place: Place, upstream: Upstream, ann: Key
) -> None:
    place.verify(ann.allowed())
    upstream.commit(by=ann)
    await place.apply()
    place.verify("")

    assert (await place.apply()).problems == ()
    assert json.loads((place.data / "mark.json").read_text())["applied"] == upstream.head


async def test_which_head_contains_a_commit_is_known_by_the_beginning_of_its_name_too(
    upstream: Upstream, place: Place
) -> None:
    first = (await place.apply()).commit
    upstream.commit({"p/b.yaml": role("b")})
    second = (await place.apply()).commit

    assert await place.source.within(first[:10], second) == first
    assert await place.source.within(second, first) == ""
    assert await place.source.within("0" * 40, second) == ""
    assert await place.source.within(first, "") == ""
    assert await place.source.within("--help", second) == ""
