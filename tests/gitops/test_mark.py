"""How far a source has come survives, whole, or is missed loudly."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teleport.core.errors import Unavailable
from teleport.gitops.mark import Mark, MarkFile


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.builds(Mark, st.text(), st.text(), st.dictionaries(st.text(), st.floats(allow_nan=False))))
def test_what_is_written_is_read_again(tmp_path: Path, mark: Mark) -> None:
    file = MarkFile(tmp_path / "sources" / "mark.json")

    file.write(mark)

    assert file.read() == mark
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_where_there_is_none_nothing_was_applied_yet(tmp_path: Path) -> None:
    assert MarkFile(tmp_path / "mark.json").read() == Mark()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"applied": "", "accepted": "", "seen": []}', "\xff"])
def test_one_that_is_damaged_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "mark.json").write_bytes(text.encode("latin-1"))

    with pytest.raises(Unavailable, match="cannot be read"):
        MarkFile(tmp_path / "mark.json").read()


def test_one_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(Unavailable, match="cannot be written"):
        MarkFile(tmp_path / "file" / "mark.json").write(Mark())


def test_what_was_seen_first_keeps_its_time_as_long_as_it_is_asked_for() -> None:
    seen = Mark().noticing(["a", "b"], 1.0).noticing(["b", "c"], 2.0).seen

    assert seen == {"b": 1.0, "c": 2.0}
