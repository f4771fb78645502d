"""Of several operators one works: the living one that comes first."""

from datetime import UTC, datetime
from typing import Any

import pytest

from teleport.service.operator.peers import outranked

NOW = datetime(2027, 1, 1, 12, 0, 0, tzinfo=UTC).timestamp()


def peer(priority: Any, seen: str = "2027-01-01T11:59:50+00:00", **more: Any) -> dict[str, Any]:
    return {"priority": priority, "lastseen": seen, **more}


@pytest.mark.parametrize(
    ("peers", "outranks"),
    [
        ({}, False),
        ({"me": peer(5)}, False),
        ({"me": peer(5), "other": peer(4)}, False),
        ({"me": peer(5), "other": peer(6)}, True),
        ({"other": peer(6, "2027-01-01T11:58:50+00:00")}, False),
        ({"other": peer(6, "2027-01-01T11:58:50+00:00", lifetime=600)}, True),
        ({"other": peer(6, "2027-01-01T11:59:50")}, True),
        ({"other": peer(6, "sometime")}, False),
        ({"other": peer("many")}, False),
        ({"other": "nonsense"}, False),
    ],
)
def test_who_lives_and_has_a_higher_number_comes_first(peers: dict[str, Any], outranks: bool) -> None:
    assert outranked(peers, 5, NOW) is outranks
