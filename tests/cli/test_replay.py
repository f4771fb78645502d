"""Replaying: what came when, pauses as asked for, and files that nobody of ours wrote."""

from pathlib import Path

import pytest

from teleport.cli.replay import Moment, moments, play, to_events
from teleport.core.errors import BadInput


def recording(folder: Path, timing: str, output: bytes = b"Script started\nhello world") -> Path:
    (folder / "timing").write_text(timing)
    (folder / "output").write_bytes(output)
    return folder


def pauses(what: list[Moment], *, speed: float = 1.0, skip_idle: bool = False) -> list[float]:
    slept: list[float] = []
    play(what, lambda _: None, slept.append, speed=speed, skip_idle=skip_idle, restore=False)
    return slept


def test_the_moments_are_those_of_the_timing_with_their_bytes(tmp_path: Path) -> None:
    timing = "H 0.0 START_TIME x\nO 0.5 6\nS 1.0 SIGWINCH ROWS=40 COLS=120\nO 0.25 5\n"

    found = list(moments(recording(tmp_path, timing)))

    assert found == [Moment(0.5, b"hello "), Moment(1.0, rows=40, columns=120), Moment(0.25, b"world")]


@pytest.mark.parametrize("line", ["O", "O x 1", "O 1 x", "Q 1 2", "S 1 SIGWINCH ROWS=1", "\x00"])
def test_a_timing_that_nobody_of_ours_wrote_is_told_with_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadInput, match=r"timing:2: not a line of a timing file"):
        list(moments(recording(tmp_path, f"O 0.1 1\n{line}\n")))


def test_pauses_are_kept_shortened_or_skipped() -> None:
    what = [Moment(0.5, b"a"), Moment(60.0, b"b")]

    assert pauses(what) == [0.5, 60.0]
    assert pauses(what, speed=2.0) == [0.25, 30.0]
    assert pauses(what, skip_idle=True) == [0.5, 1.0]


def test_the_terminal_is_put_in_order_also_when_the_replay_is_interrupted() -> None:
    written: list[bytes] = []

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play([Moment(1.0, b"a")], written.append, interrupt, speed=1, skip_idle=False, restore=True)

    assert written == [b"\x1b[0m\x1b[?25h\x1b[?1049l"]


def test_as_data_each_moment_has_the_seconds_since_the_beginning() -> None:
    what = [Moment(0.5, b"a"), Moment(1.0, rows=4, columns=8), Moment(0.25, b"\xff")]

    assert list(to_events(what)) == [
        {"at": 0.5, "output": "a"}, {"at": 1.5, "rows": 4, "columns": 8}, {"at": 1.75, "output": "�"},
    ]  # fmt: skip
