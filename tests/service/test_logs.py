"""The program's own log: its two forms, its level, and what cannot reach a terminal through it."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from teleport.core.errors import BadInput
from teleport.service.logs import prepare_logging
from teleport.service.sections import Log


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """The log of the tests themselves."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level


def logged(path: Path, log: Log, *, debug: bool = False) -> list[str]:
    prepare_logging(log.model_copy(update={"output": str(path)}), debug=debug)()
    logger = logging.getLogger("teleport.proxy")
    logger.debug("details")
    logger.warning("agent %s is gone", "db-\x1b[31m1")
    try:
        raise ValueError("wrong")
    except ValueError:
        logger.exception("it failed")
    logging.getLogger("asyncssh").info("chatter")
    return path.read_text().splitlines()


def test_a_line_has_time_level_and_place_and_drives_no_terminal(tmp_path: Path) -> None:
    line = logged(tmp_path / "log", Log())[0]

    assert line[4] == "-"
    assert " WARNING teleport.proxy: agent db-" in line
    assert "\x1b" not in line


def test_as_json_each_record_is_one_object_with_its_exception(tmp_path: Path) -> None:
    records = [json.loads(line) for line in logged(tmp_path / "log", Log(format="json"))]

    assert [(one["level"], one["component"], one["message"]) for one in records] == [
        ("WARNING", "proxy", "agent db-\x1b[31m1 is gone"),
        ("ERROR", "proxy", "it failed"),
    ]
    assert "ValueError: wrong" in records[1]["exception"]


@pytest.mark.parametrize(("log", "debug", "count"), [(Log(severity="ERROR"), False, 1), (Log(format="json"), True, 4)])
def test_severity_and_debug_say_how_much_is_logged(tmp_path: Path, log: Log, debug: bool, count: int) -> None:
    json_log = log.model_copy(update={"format": "json"})

    assert len(logged(tmp_path / "log", json_log, debug=debug)) == count


def test_a_log_that_cannot_be_written_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    prepare_logging(Log(output=str(tmp_path / "log")), debug=False)()

    with pytest.raises(BadInput, match="cannot be written: No such file or directory"):
        prepare_logging(Log(output=str(tmp_path / "no" / "log")), debug=False)

    logging.getLogger("teleport").warning("still here")
    assert "still here" in (tmp_path / "log").read_text()
