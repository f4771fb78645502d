"""`tsh scp`: what its paths mean, what it asks scp to do, and what it believes a host."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from click.shell_completion import ShellComplete

from teleport.cli import tsh as tsh_program
from teleport.cli.profile import Profile
from teleport.cli.tsh_commands.builtin_scp import Download, run_builtin
from teleport.cli.tsh_commands.scp import CopyCall, Remote, remote, scp
from teleport.core.errors import BadInput


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("file", "file"),
        ("./a:b", "./a:b"),
        ("/a:b", "/a:b"),
        (":b", ":b"),
        ("db-1:", Remote("ann", "db-1", "")),
        ("db-1:/srv/a:b", Remote("ann", "db-1", "/srv/a:b")),
        ("root@db-1:x", Remote("root", "db-1", "x")),
        ("a@b@db-1:x", Remote("a@b", "db-1", "x")),
    ],
)
def test_a_path_is_on_a_host_if_there_is_a_colon_before_any_slash(path: str, end: Remote | str) -> None:
    assert remote(path, "ann") == end


@pytest.mark.parametrize("path", ["@:x", "-oProxyCommand=id:x", "root@-x:y", "-l@db-1:x", "scp://db-1/x"])
def test_what_could_mean_something_else_is_refused(path: str) -> None:
    with pytest.raises(BadInput):
        remote(path, "ann")


def call(*ends: Remote | str, flags: Sequence[str] = ()) -> CopyCall:
    profile = Profile("proxy.example.com:3080", "ann", "acme", 0.0, ("ann",))
    return CopyCall(profile, "ann", "db-1", (), tuple(flags), ends=ends)


HERE, THERE, ELSEWHERE = "file", Remote("root", "db-1", "/srv"), Remote("ann", "db-2.acme", "x")


@pytest.mark.parametrize(
    ("ends", "words", "through_here"),
    [
        ((HERE, THERE), ["--", "file", "root@db-1.acme:/srv"], False),
        ((ELSEWHERE, HERE), ["--", "ann@db-2.acme:x", "file"], False),
        ((THERE, HERE, ELSEWHERE), ["--", "root@db-1.acme:/srv", "file", "ann@db-2.acme:x"], True),
    ],
)
def test_scp_is_given_full_names_and_goes_by_way_of_here_between_hosts(
    monkeypatch: pytest.MonkeyPatch, ends: tuple[Remote | str, ...], words: list[str], through_here: bool
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr("teleport.cli.tsh_commands.scp.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("teleport.cli.tsh_commands.scp.run_in_place", ran.append)

    call(*ends, flags=["-r"]).run()

    (given,) = ran
    assert given[0] == "scp"
    assert given[-len(words) :] == words
    assert ("-3" in given, "-r" in given, "StrictHostKeyChecking=yes" in given) == (through_here, True, True)


@pytest.mark.parametrize(
    ("ends", "flags"),
    [((HERE, THERE), ["-O"]), ((THERE, ELSEWHERE), []), ((THERE, Remote("root", "db-1", "y")), [])],
)
def test_without_scp_what_only_it_can_do_is_refused(ends: tuple[Remote | str, ...], flags: list[str]) -> None:
    with pytest.raises(BadInput, match="there is none"):
        run_builtin(call(*ends, flags=flags))


class LyingHost:
    """An SFTP client's view of a host that sends whatever names it likes."""

    def __init__(self, names: Mapping[bytes, Sequence[bytes]]) -> None:
        self._names = names

    async def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        return asyncssh.SFTPAttrs(permissions=0o040755 if path in self._names else 0o100644)

    async def readdir(self, path: bytes) -> list[asyncssh.SFTPName]:
        return [asyncssh.SFTPName(name) for name in self._names[path]]

    async def get(self, source: bytes, target: Path, *, preserve: bool) -> None:
        target.write_bytes(source)


def download(names: Mapping[bytes, Sequence[bytes]], *, recursive: bool = True) -> Download:
    host: Any = LyingHost(names)
    return Download(host, recursive=recursive, preserve=False)


async def test_a_folder_is_fetched_with_all_that_is_in_it(tmp_path: Path) -> None:
    names = {b"d": [b".", b"..", b"a", b"e"], b"d/e": [b".", b"..", b"caf\xe9"]}

    await download(names).fetch(b"d", tmp_path / "d")

    assert (tmp_path / "d/a").read_bytes() == b"d/a"
    assert (tmp_path / "d/e" / os.fsdecode(b"caf\xe9")).exists()


@pytest.mark.parametrize("name", [b"../evil", b"/evil", b"a/b", b"", b"a\0b"])
async def test_a_name_that_is_a_path_is_not_written_to(tmp_path: Path, name: bytes) -> None:
    with pytest.raises(BadInput, match="as the name of a file"):
        await download({b"d": [name]}).fetch(b"d", tmp_path / "d")

    assert [path.name for path in tmp_path.rglob("*")] == ["d"]


async def test_a_folder_is_not_fetched_unasked(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a folder"):
        await download({b"d": []}, recursive=False).fetch(b"d", tmp_path / "d")


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch) -> list[CopyCall]:
    """Somebody who is logged in, with an scp that every host refuses; what was tried again with a second factor."""
    again: list[CopyCall] = []
    profile = Profile("proxy.example.com:3080", "ann", "acme", 2**33, ("ann",))
    monkeypatch.setattr("teleport.cli.tsh_commands.scp.p.current", lambda: profile)
    monkeypatch.setattr("teleport.cli.tsh_commands.scp.keep_fresh", lambda present: present)
    monkeypatch.setattr("teleport.cli.tsh_commands.scp.CopyCall.run", lambda _: 255)
    monkeypatch.setattr("teleport.cli.tsh_commands.scp.with_second_factor", lambda call, _: again.append(call))
    return again


def test_a_copy_that_was_refused_is_tried_again_with_a_second_factor(logged_in: list[CopyCall]) -> None:
    status = scp.main(["a", "root@db-1:b"], standalone_mode=False)

    assert (status, [(call.login, call.host) for call in logged_in]) == (255, [("root", "db-1")])


def test_a_copy_between_hosts_is_not_since_a_factor_is_good_for_one_session(logged_in: list[CopyCall]) -> None:
    status = scp.main(["db-1:a", "db-2:b"], standalone_mode=False)

    assert (status, logged_in) == (255, [])


def test_a_shell_completes_options_and_local_files() -> None:
    complete = ShellComplete(tsh_program.cli, {}, "tsh", "_TSH_COMPLETE")

    options, files = complete.get_completions(["scp"], "--"), complete.get_completions(["scp"], "fi")

    assert {"--recursive", "--preserve", "--legacy", "--login"} <= {one.value for one in options}
    assert [one.type for one in files] == ["file"]
