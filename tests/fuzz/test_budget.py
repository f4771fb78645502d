"""What is said to have been spent was spent, and what fails is said."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fuzz.budget import Spent, on_properties, on_target, table
from tests.fuzz.targets.hello import HELLO


def broken(data: bytes) -> None:
    assert b"SSH" not in data


@pytest.mark.parametrize("guided", [True, False])
def test_as_many_inputs_are_tried_as_are_said(monkeypatch: pytest.MonkeyPatch, guided: bool) -> None:
    if guided:
        pytest.importorskip("atheris")
    else:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    spent = on_target(HELLO, 500)

    assert spent.failed == ""
    assert (spent.tool, spent.executions) == ("atheris" if guided else "mutation", 500)


def test_an_input_that_does_not_hold_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    spent = on_target(replace(HELLO, check=broken), 500)

    assert "SSH" in spent.failed
    assert f"FAILED: {HELLO.about}" in table([spent])


def test_examples_of_property_tests_are_counted() -> None:
    spent = on_properties("moment", str(Path(__file__).parents[1] / "api" / "test_ndjson.py"))

    assert spent.failed == ""
    assert spent.target.startswith("1 property test")
    assert spent.executions >= 50


def test_the_table_is_as_it_is_published() -> None:
    assert table([Spent("a", "b", 12345, "c")]).splitlines()[2] == "| a | b | 12,345 | c |"
