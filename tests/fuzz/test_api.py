"""A few requests of every operation; `make fuzz` makes thousands."""

from pathlib import Path

import pytest
from schemathesis import GenerationMode

from teleport.api import routes as r
from tests.fuzz.api import ask_everything


@pytest.mark.parametrize(
    ("caller", "mode"),
    [("nobody", GenerationMode.NEGATIVE), ("a user", GenerationMode.POSITIVE), ("a host", GenerationMode.NEGATIVE),
     ("an administrator", GenerationMode.POSITIVE)],
)  # fmt: skip
def test_every_operation_answers_as_its_document_says_whatever_is_asked(
    tmp_path: Path, caller: str, mode: GenerationMode
) -> None:
    asked = ask_everything(tmp_path, caller, examples=1, modes=[mode])

    assert asked.requests > 20


def test_who_may_ask_is_answered(tmp_path: Path) -> None:
    asked = ask_everything(tmp_path, "an administrator", examples=1, routes=[r.ME, r.USERS, r.STATUS])

    assert asked.granted == asked.requests == 3
