"""A few rounds of the campaign that `make faults` runs at length: each service killed under load, and what is then."""

from pathlib import Path

import pytest

from tests.e2e.world import missing
from tests.faults.campaign import Campaign


async def test_whoever_is_killed_nothing_that_was_acknowledged_is_lost_and_nobody_has_more_or_less_than_the_policy_says(
    tmp_path: Path,
) -> None:
    if reason := missing("ssh"):
        pytest.skip(reason)

    report = await Campaign(tmp_path, seed=1, sessions=10, programs=2).run(3, victims=("auth", "web-1", "proxy"))

    assert report.faults == [], report.text()
    assert report.kills == {"auth": 1, "web-1": 1, "proxy": 1}
    assert report.ended_by_policy + report.ended_by_kill > 10
