"""Reasons not to be ready, warnings and remarks: asked anew each time, told once."""

import logging

import pytest

from teleport.service.health import Health


def test_it_is_ready_when_no_check_has_a_reason_against_it() -> None:
    health, reasons = Health(), {"a": "", "b": "b is away"}
    health.require(lambda: reasons["a"])
    health.require(lambda: reasons["b"])

    first = health.reasons
    reasons["b"] = ""

    assert (first, health.reasons) == (("b is away",), ())


def test_warnings_and_remarks_make_nothing_less_ready() -> None:
    health = Health()
    health.warn("disk", "nearly full")
    health.remark(lambda: ["a source is stalled"])

    assert health.remarks == ("nearly full", "a source is stalled")
    assert health.reasons == ()


def test_a_warning_is_logged_and_told_when_it_comes_and_told_when_it_goes(caplog: pytest.LogCaptureFixture) -> None:
    health, told = Health(), list[tuple[str, ...]]()
    health.subscribe(told.append)

    with caplog.at_level(logging.WARNING):
        for text in ("full", "full", "fuller", "", ""):
            health.warn("disk", text)

    assert told == [(), ("full",), ("fuller",), ()]
    assert [record.getMessage() for record in caplog.records] == ["full", "fuller"]
