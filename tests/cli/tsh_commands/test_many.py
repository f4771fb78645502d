"""`tsh ssh` on many hosts: what selects them, and what is made of what they print."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.cli.tsh_commands.many import _reason, split
from teleport.cli.tsh_commands.many_output import KEPT, Files, Kept, Lines, Progress, Result, summary
from teleport.core.errors import BadInput

HOSTILE = b"\x1b]0;owned\x07\x9b31m"


class Screen(io.TextIOWrapper):
    """A terminal, or a file, that remembers what was written."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    @property
    def shown(self) -> bytes:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue()


def lines(stream: Screen, *, host: str = "db-1", width: int = 4) -> Lines:
    return Lines(host, 0, stream, Progress(1, Screen(terminal=False)), width=width)


@pytest.mark.parametrize(
    ("destination", "parts"),
    [
        ("env=prod", ("", "env=prod")),
        ("root@env=prod,team=web", ("root", "env=prod,team=web")),
        ("owner=ops@acme", ("", "owner=ops@acme")),
        ("root@owner=ops@acme", ("root", "owner=ops@acme")),
        ("a@b@env=prod", ("a@b", "env=prod")),
    ],
)
def test_a_login_ends_before_the_first_label(destination: str, parts: tuple[str, str]) -> None:
    assert split(destination) == parts


def test_on_a_terminal_hosts_are_coloured_and_what_they_print_drives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Screen(terminal=True)

    lines(screen, host="db\x1b[2J-1").add(b"one\r\n\ttwo" + HOSTILE + b"\n")

    assert screen.shown == (
        b"\x1b[36mdb\\x1b[2J-1\x1b[0m | one\n"
        b"\x1b[36mdb\\x1b[2J-1\x1b[0m | \ttwo\\x1b]0;owned\\x07\xef\xbf\xbd31m\n"
    )  # fmt: skip


def test_in_a_file_lines_are_as_they_came() -> None:
    screen = Screen(terminal=False)

    lines(screen, width=6).add(b"one" + HOSTILE + b"\r\n")

    assert screen.shown == b"db-1   | one" + HOSTILE + b"\r\n"


@given(st.lists(st.binary(max_size=20)))
def test_lines_are_whole_however_they_were_cut(chunks: list[bytes]) -> None:
    screen = Screen(terminal=False)
    printed = lines(screen)

    for chunk in chunks:
        printed.add(chunk)
    printed.end()

    said = b"".join(chunks)
    expected = said.split(b"\n") if not said.endswith(b"\n") else said.split(b"\n")[:-1]
    assert screen.shown == b"".join(b"db-1 | " + line + b"\n" for line in expected if said)


def test_a_line_without_end_is_printed_in_pieces() -> None:
    screen = Screen(terminal=False)
    printed = lines(screen)

    for _ in range(10):
        printed.add(b"x" * 50_000)

    assert len(screen.shown) > 400_000


def test_progress_is_one_line_on_a_terminal_that_output_takes_the_place_of() -> None:
    screen, quiet = Screen(terminal=True), Screen(terminal=False)
    for stream in (screen, quiet):
        progress = Progress(2, stream)
        progress.started()
        progress.ended("failed")
        progress.clear()
        progress.clear()

    assert screen.shown == (
        b"\r\x1b[K0/2 done, 1 running\r\x1b[K1/2 done, 0 running, 1 failed\r\x1b[K"
    )  # fmt: skip
    assert quiet.shown == b""


def test_a_result_holds_only_so_much_and_says_so() -> None:
    result = Result("db-1", "uid")
    for _ in range(3):
        result.stdout.add(b"x" * (KEPT // 2))

    assert len(result.stdout.data) == KEPT
    assert result.to_dict()["truncated"] is True
    assert "truncated" not in Result("db-1", "uid").to_dict()


def test_the_summary_lists_failures_first_and_neutralises_what_hosts_said() -> None:
    good, bad = Result("a", "1", "succeeded", 0, 1.0), Result("b", "2", "unreached", 255, 2.0, "no\x1b[2J")
    left = Result("c", "3")

    rows = summary([good, bad, left]).splitlines()[1:]

    assert [row.split()[:3] for row in rows] == [
        ["b", "unreached", "255"],
        ["c", "interrupted", "-"],
        ["a", "succeeded", "0"],
    ]
    assert "no\\x1b[2J" in rows[0]


def test_files_are_private_and_replace_no_link(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "logs", tmp_path / "precious"
    elsewhere.write_text("kept")
    with Files(folder).open("db-1") as files:
        files["stdout"].write(b"x")
    (folder / "web-1.stdout").symlink_to(elsewhere)

    with pytest.raises(BadInput, match=r"web-1\.stdout cannot be written"), Files(folder).open("web-1"):
        pass

    assert elsewhere.read_text() == "kept"
    assert (folder / "db-1.stdout").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"error: ann may not\r\nhint: ask\r\nann@db-1: Permission denied (publickey).\r\n", "ann may not"),
        (b"tsh: error: node x not found\nConnection closed by UNKNOWN port 65535\n", "node x not found"),
        (b"Connection reset\n\n", "Connection reset"),
        (b"", "ssh could not begin a session"),
    ],
)
def test_of_all_that_ssh_says_the_reason_is_told(said: bytes, reason: str) -> None:
    assert _reason(said) == reason


def test_what_is_kept_is_bounded_in_one_piece_too() -> None:
    kept = Kept()
    kept.add(b"x" * (KEPT + 1))

    assert (len(kept.data), kept.cut) == (KEPT, True)
