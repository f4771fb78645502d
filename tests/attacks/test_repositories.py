"""Repositories and servers that are up to no good: nothing runs, nothing is left, nobody waits for ever."""

import asyncio
import os
import socket
import time
from pathlib import Path

import pytest

from teleport.core.errors import Problem, Unavailable
from teleport.gitops.address import GitAddress
from teleport.gitops.git import GitSettings, GitSource
from teleport.gitops.mirror import GitCredentials, Mirror
from teleport.gitops.program import Bounds
from teleport.resources.load import Loaded
from tests.builders import FakeClock
from tests.gitops.repositories import Upstream, role


async def nothing() -> str:
    return ""


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    made = Upstream(tmp_path / "upstream")
    made.commit({"p/a.yaml": role("a")})
    return made


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """Exists once a program of the attacker's has run."""
    return tmp_path / "evil"


async def load(upstream: Upstream, tmp_path: Path) -> Loaded:
    settings = GitSettings(GitAddress(upstream.url, "main", "p"), GitCredentials())
    return await GitSource(tmp_path / "data", settings, name="x", clock=FakeClock(), remembered=nothing).load()


def told(problems: tuple[Problem, ...]) -> list[str]:
    return [f"{one.file}: {one.message}" for one in problems]


def program(path: Path, evil: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ntouch {evil}\ncat\n")
    path.chmod(0o755)
    return path


async def test_links_submodules_and_pointers_are_refused_by_name(upstream: Upstream, tmp_path: Path) -> None:
    os.symlink("/etc/passwd", upstream.folder / "p/passwd.yaml")
    os.symlink("../../upstream/.git/config", upstream.folder / "p/out.yaml")
    upstream.write("p/big.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    upstream.write(".gitmodules", '[submodule "s"]\n\tpath = p/s\n\turl = ext::sh -c id\n')
    upstream.git("add", "-A")
    upstream.git("update-index", "--add", "--cacheinfo", f"160000,{upstream.head},p/s")
    upstream.git("commit", "-q", "-m", "m")

    loaded = await load(upstream, tmp_path)

    assert sorted(told(loaded.problems)) == [
        "big.yaml: a pointer to git LFS, not the file",
        "out.yaml: a link that leads out of the folder",
        "passwd.yaml: a link that leads out of the folder",
        "s: a submodule, which is not read",
    ]


async def test_names_that_are_no_text_are_told_as_text(upstream: Upstream, tmp_path: Path) -> None:
    (upstream.folder / os.fsdecode(b"p/\xff\x1b[31m.yaml")).write_text(role("b"))
    upstream.commit()

    loaded = await load(upstream, tmp_path)

    (problem,) = loaded.problems
    assert problem.message == "its name is not UTF-8"
    str(problem).encode()


async def test_names_like_options_are_names(upstream: Upstream, tmp_path: Path) -> None:
    upstream.commit({"p/--upload-pack=x.yaml": role("b"), "p/-rf.yaml": role("c")})

    loaded = await load(upstream, tmp_path)

    assert loaded.problems == ()
    assert {one.name for one in loaded.resources} == {"a", "b", "c"}


async def test_filters_hooks_and_settings_of_the_repository_run_nothing(
    upstream: Upstream, tmp_path: Path, evil: Path
) -> None:
    hook = program(tmp_path / "hook", evil)
    upstream.commit({".gitattributes": "* filter=evil diff=evil\n", "p/.gitattributes": "*.yaml filter=evil\n"})
    for name in ("filter.evil.smudge", "filter.evil.clean", "diff.evil.textconv", "core.fsmonitor", "core.sshCommand",
                 "core.gitProxy", "credential.helper", "uploadpack.packObjectsHook"):  # fmt: skip
        upstream.git("config", name, str(hook))
    for name in ("post-checkout", "reference-transaction", "post-merge", "pre-auto-gc", "post-rewrite"):
        program(upstream.folder / ".git/hooks" / name, evil)

    loaded = await load(upstream, tmp_path)

    assert loaded.problems == ()
    assert not evil.exists()


async def test_hooks_and_settings_of_the_user_run_nothing(
    upstream: Upstream, tmp_path: Path, evil: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = program(tmp_path / "home/hooks/reference-transaction", evil)
    (tmp_path / "home/.gitconfig").write_text(
        f'[core]\n\thooksPath = {hook.parent}\n\tfsmonitor = {hook}\n[protocol "ext"]\n\tallow = always\n'
        f'[url "ext::{hook} "]\n\tinsteadOf = file://\n'
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(hook))
    monkeypatch.setenv("GIT_EXEC_PATH", str(tmp_path / "home"))

    loaded = await load(upstream, tmp_path)

    assert loaded.problems == ()
    assert not evil.exists()


@pytest.mark.parametrize(
    "url", ["ext::sh -c 'touch EVIL'", "--upload-pack=touch EVIL", "fd::7", "ssh://-oProxyCommand=x/"]
)
async def test_a_url_that_passed_unchecked_still_runs_nothing(tmp_path: Path, evil: Path, url: str) -> None:
    mirror = Mirror(tmp_path / "m", GitAddress(url.replace("EVIL", str(evil))), bounds=Bounds(seconds=10))

    with pytest.raises(Unavailable):
        await mirror.fetch()

    assert not evil.exists()


async def test_a_repository_too_big_to_fetch_is_given_up_and_leaves_nothing(upstream: Upstream, tmp_path: Path) -> None:
    (upstream.folder / "p/huge.yaml").write_bytes(os.urandom(3_000_000))
    upstream.commit()
    mirror = Mirror(tmp_path / "m", GitAddress(upstream.url), bounds=Bounds(file=1_000_000))

    with pytest.raises(Unavailable, match="cannot be fetched"):
        await mirror.fetch()

    assert sum(path.stat().st_size for path in (tmp_path / "m").rglob("*") if path.is_file()) < 1_000_000


async def test_a_server_that_says_nothing_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = Mirror(
            tmp_path / "m", GitAddress(f"git://127.0.0.1:{silent.getsockname()[1]}/r"), bounds=Bounds(seconds=1)
        )
        began = time.monotonic()

        with pytest.raises(Unavailable, match="took longer than 1 seconds"):
            await mirror.fetch()

    assert time.monotonic() - began < 5


async def test_a_redirect_is_not_followed_and_the_token_is_in_no_argument(tmp_path: Path) -> None:
    asked: list[str] = []
    arguments: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    arguments.append((folder / "cmdline").read_bytes())
                except OSError:
                    continue
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    token = tmp_path / "token"
    token.write_text("s3cr3t-t0k3n\n")
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    mirror = Mirror(tmp_path / "m", GitAddress(f"http://127.0.0.1:{port}/r"), GitCredentials(token_file=str(token)))

    with pytest.raises(Unavailable, match="cannot be fetched"):
        await mirror.fetch()

    server.close()
    await server.wait_closed()
    assert "Authorization: Basic Z2l0OnMzY3IzdC10MGszbg==" in asked[0]
    assert len(asked) == 1
    assert any(b"git" in one for one in arguments)
    assert not any(b"s3cr3t" in one or b"Z2l0OnMz" in one for one in arguments)
    assert b"s3cr3t" not in b"".join(path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file())
