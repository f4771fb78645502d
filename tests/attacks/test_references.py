"""Attacks by whoever may write policy, on what its references to secrets lead to; and on secrets written out."""

import os
from pathlib import Path
from typing import Any

import pytest

from teleport.api import models as m
from teleport.audit.events import Actor
from teleport.auth.policy import Applied
from teleport.cli.offline import review
from teleport.core.errors import AccessDenied, Invalid
from teleport.gitops.folder import FolderSource
from teleport.gitops.loop import Loop
from teleport.resources.load import Loader
from tests.attacks.test_joining import join
from tests.auth.cluster import Cluster
from tests.builders import FakeClock

SECRET = "correct-horse-battery-staple"
PLAIN = "kind: token\nversion: v2\nmetadata: {name: hunter2hunter2hunter2}\nspec: {roles: [Node]}\n"


def token(name: str = "fleet", **secret: str) -> str:
    ((where, place),) = secret.items()
    return (
        f"kind: token\nversion: v2\nmetadata: {{name: {name}}}\n"
        f"spec:\n  roles: [Node]\n  secret: {{{where}: {place}}}\n"
    )


def kept(cluster: Cluster, text: str = SECRET, name: str = "fleet") -> Path:
    """A file in the folder for secrets."""
    path = cluster.directory / "secrets" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + "\n")
    return path


async def declared(cluster: Cluster, text: str, source: str = "git") -> Applied:
    loaded = Loader(source=source).load([("tokens.yaml", text.encode())])
    assert not loaded.problems, loaded.problems
    return await cluster.auth.writer.replace(source, loaded.resources, Actor(f"source:{source}", 2))


async def test_a_secret_written_out_comes_in_by_no_door_of_a_source(cluster: Cluster) -> None:
    with pytest.raises(Invalid, match="is a secret, which does not belong in a source of policy") as told:
        await declared(cluster, PLAIN, source="namespace-shop")

    assert "hunter2" not in str(told.value)
    with pytest.raises(AccessDenied, match="not valid"):
        await join(cluster, "hunter2hunter2hunter2")


async def test_the_secret_opens_and_the_tokens_own_name_does_not(cluster: Cluster) -> None:
    await declared(cluster, token(file=str(kept(cluster))))

    joined = await join(cluster, SECRET)

    assert joined.host_id
    for guess in ("fleet", str(cluster.directory / "secrets/fleet"), SECRET[:-1], SECRET + " ", ""):
        with pytest.raises(AccessDenied, match="not valid"):
            await join(cluster, guess)


async def test_a_secret_that_is_changed_counts_from_then_on_and_the_old_one_no_longer(cluster: Cluster) -> None:
    path = kept(cluster)
    await declared(cluster, token(file=str(path)))
    path.write_text("another-secret-of-some-length")

    await join(cluster, "another-secret-of-some-length")

    with pytest.raises(AccessDenied):
        await join(cluster, SECRET)
    path.unlink()
    with pytest.raises(AccessDenied):
        await join(cluster, "another-secret-of-some-length")


@pytest.mark.parametrize(
    "place",
    [
        "/etc/hostname",
        "/etc/passwd",
        "/proc/self/environ",
        "/nowhere/at/all",
        "{data}/sealing.key",
        "{data}/secretsx/a",
    ],
)
async def test_a_file_elsewhere_is_refused_alike_whether_it_is_there_or_not(cluster: Cluster, place: str) -> None:
    place = place.format(data=cluster.directory)

    with pytest.raises(Invalid) as refusal:
        await declared(cluster, token(file=place))

    assert refusal.value.problems[0].message.endswith(f"the file {place} is in no folder for secrets")
    assert refusal.value.problems[0].line == 6


@pytest.mark.parametrize("variable", ["PATH", "HOME", "TELEPORT_SEALING_KEY", "TELEPORT_SECRET_", "XTELEPORT_SECRET_A"])
async def test_a_variable_that_is_not_meant_for_it_is_refused(cluster: Cluster, variable: str) -> None:
    with pytest.raises(Invalid, match="does not begin with TELEPORT_SECRET_"):
        await declared(cluster, token(env=variable))


async def test_a_variable_that_is_meant_for_it_opens(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEPORT_SECRET_FLEET", SECRET)

    await declared(cluster, token(env="TELEPORT_SECRET_FLEET"))

    assert (await join(cluster, SECRET)).host_id


async def test_a_link_out_of_the_folder_leads_nowhere(cluster: Cluster, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text(SECRET)
    path = kept(cluster, name="other").with_name("fleet")
    path.symlink_to(outside)

    applied = await declared(cluster, token(file=str(path)))

    assert "leads out of the folders for secrets" in str(applied.warnings[0])
    with pytest.raises(AccessDenied):
        await join(cluster, SECRET)


@pytest.mark.parametrize("what", ["pipe", "folder", "huge", "short", "binary", "lines", "missing", "loop"])
async def test_what_is_no_secret_opens_nothing_keeps_nobody_waiting_and_is_never_quoted(
    cluster: Cluster, what: str
) -> None:
    path = kept(cluster, "x")
    content = {"huge": SECRET * 1000, "short": "tooshort", "binary": "\x00ÿ" + SECRET, "lines": f"{SECRET}\n{SECRET}"}
    path.write_text(content.get(what, SECRET))
    if what in ("pipe", "folder", "missing", "loop"):
        path.unlink()
    {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir, "loop": lambda: path.symlink_to(path)}.get(what, int)()

    applied = await declared(cluster, token(file=str(path)))

    (warning,) = applied.warnings
    assert str(path) in warning.message
    assert SECRET not in str(warning)
    assert "tooshort" not in str(warning)
    for guess in (content.get(what, SECRET)[:1000], content.get(what, SECRET)[:1000].strip(), ""):
        with pytest.raises(AccessDenied):
            await join(cluster, guess)


async def test_whoever_may_read_policy_learns_where_the_secret_is_and_not_what_it_is(cluster: Cluster) -> None:
    await declared(cluster, token(file=str(kept(cluster))))

    shown = await cluster.call("resources", m.ResourceQuery(kind="token", secrets=True))

    assert SECRET not in shown.model_dump_json()
    assert all(SECRET not in path.read_text(errors="replace") for path in (cluster.directory / "audit").glob("*"))


@pytest.mark.parametrize(
    "spec",
    [
        "{file: secrets/x}", "{file: /a/../etc/shadow}", "{file: //etc/shadow}", "{file: /a/./b}", "{file: /a/}",
        '{file: "/a\\tb"}', "{env: path}", "{env: A=B}", "{env: A, file: /a}", "{}", "hunter2hunter2hunter2", "[a]",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_a_fault_with_its_place(spec: str) -> None:
    text = f"kind: token\nversion: v2\nmetadata: {{name: x}}\nspec: {{roles: [Node], secret: {spec}}}\n"

    (problem, *_) = Loader().load([("x.yaml", text.encode())]).problems

    assert (problem.line, problem.column > 20) == (4, True)


def test_a_secret_belongs_to_no_other_way_of_joining() -> None:
    text = token(file="/a").replace("roles:", "join_method: github\n  roles:")

    (problem,) = Loader().load([("x.yaml", text.encode())]).problems

    assert "the join method github has no secret" in problem.message


# Secrets written out


class Cautious:
    """A cluster that notes what it is asked to apply."""

    def __init__(self) -> None:
        self.applied: list[Any] = []

    async def owned_by(self, source: str) -> dict[Any, Any]:
        return {}

    async def apply(self, source: str, desired: Any, *, commit: str = "") -> tuple[int, int, tuple[()]]:
        self.applied += desired
        return 1, 1, ()

    async def faults(self, source: str, loaded: Any) -> tuple[()]:
        return ()

    async def stalled(self, source: str, problems: Any, *, commit: str = "") -> None:
        pass


async def test_a_source_that_holds_a_secret_is_not_obeyed_and_the_secret_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "token.yaml").write_text(PLAIN)
    cluster = Cautious()
    loop = Loop(FolderSource(tmp_path, name="folder"), cluster, clock=FakeClock(), interval=1, changed=lambda _: None)

    await loop.reconcile()

    assert (loop.state.state, cluster.applied) == ("Stalled", [])
    assert loop.state.message.startswith("token.yaml:3:18: the name of this token is a secret")
    assert "hunter2" not in repr(loop.state)
    assert "spec.secret: {file: /PATH}" in loop.state.problems[0].hint


def test_it_is_told_before_it_is_pushed_too(tmp_path: Path) -> None:
    (tmp_path / "token.yaml").write_text(PLAIN)

    (problem,) = review(tmp_path).problems

    assert "does not belong in a source of policy" in problem.message
    assert "hunter2" not in str(problem)


def test_the_secret_of_a_first_join_by_a_key_pair_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "token.yaml").write_text(
        "kind: token\nversion: v2\nmetadata: {name: machine}\nspec:\n  roles: [Bot]\n  bot_name: b\n"
        "  join_method: bound_keypair\n  bound_keypair: {onboarding: {registration_secret: hunter2}}\n"
    )

    (problem,) = review(tmp_path).problems

    assert str(problem).startswith("token.yaml:8:19: the registration_secret of this token is a secret")
    assert "initial_public_key" in problem.hint
    assert "hunter2" not in str(problem)


async def test_tokens_of_administrators_stay_as_they_are(cluster: Cluster) -> None:
    await cluster.apply(PLAIN)

    assert (await join(cluster, "hunter2hunter2hunter2")).host_id
