"""Attacks on who looks: names, labels and messages that would drive the terminal they are shown on."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.core.errors import AccessDenied, BadInput, Problem
from teleport.core.output import complain, printable, table, to_json
from teleport.service.logs import prepare_logging
from teleport.service.sections import Log

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x00\u202etxt.exe\u2028"
CONTROLS = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029", *"\u202a\u202b\u202c\u202d\u202e"}


def harmless(text: str, *, lines: bool = True) -> bool:
    return not set(text) & (CONTROLS - ({"\n"} if lines else set()))


@given(st.text(st.sampled_from(sorted(CONTROLS)) | st.characters(), max_size=40))
def test_whatever_a_name_is_nothing_of_it_drives_a_terminal(name: str) -> None:
    assert harmless(printable(name), lines=False)
    assert harmless(table(("NAME", "LABELS"), [(name, f"env={name}")]))
    assert table(("NAME",), [(name,)]).count("\n") == 2


@given(st.text(st.sampled_from(sorted(CONTROLS)) | st.characters(), max_size=40))
def test_json_for_programs_shows_controls_escaped_and_means_the_same(name: str) -> None:
    shown = to_json({"hostname": name})

    assert harmless(shown)
    assert json.loads(shown) == {"hostname": name}


def test_an_error_that_quotes_a_stranger_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    complain("tsh", AccessDenied(f"no {EVIL}", hint=f"ask {EVIL}"))

    said = capsys.readouterr().err
    assert harmless(said)
    assert "owned" in said


def test_a_problem_of_a_hostile_file_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    complain("tctl", BadInput(str(Problem(f"roles/{EVIL}.yaml", 1, 2, f"unknown field {EVIL}"))))

    assert harmless(capsys.readouterr().err)


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_shows_what_strangers_sent_without_obeying_it(tmp_path: Path, form: str) -> None:
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    path = tmp_path / "log"
    try:
        prepare_logging(Log.model_validate({"output": str(path), "format": form}), debug=False)()
        logging.getLogger("teleport.test").warning("a connection from %s", EVIL)
        logging.getLogger("teleport.test").warning("second")
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = before[1]
        root.setLevel(before[0])

    written = path.read_text()
    assert harmless(written)
    assert "owned" in written
    assert len(written.splitlines()) == 2
