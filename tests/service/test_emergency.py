"""What teleport.yaml permits of emergency changes, at the start and when it is read again."""

from pathlib import Path
from typing import Any

import pytest

from teleport.auth.emergency import EmergencyLimits
from teleport.service.config import Config
from teleport.service.emergency import permit_emergencies
from teleport.service.reload import merged
from teleport.service.site import Site
from tests.auth.cluster import Cluster
from tests.builders import FakeClock
from tests.service.support import config


def governed(tmp_path: Path, **policies: Any) -> Config:
    (tmp_path / "policies").mkdir(exist_ok=True)
    return config(tmp_path / "data", policies={"dir": str(tmp_path / "policies"), **policies})


@pytest.mark.parametrize(
    ("section", "limits"),
    [
        ({}, EmergencyLimits()),
        ({"break_glass": {"enabled": "no", "max_ttl": "2h"}}, EmergencyLimits()),
        ({"break_glass": {}}, EmergencyLimits(enabled=True, longest=3600.0)),
        ({"break_glass": {"max_ttl": "2h"}}, EmergencyLimits(enabled=True, longest=7200.0)),
    ],
)
async def test_nothing_is_permitted_that_the_file_does_not_say_and_it_is_read_again(
    tmp_path: Path, section: dict[str, Any], limits: EmergencyLimits
) -> None:
    before, after = governed(tmp_path), governed(tmp_path, **section)
    site = Site(before, FakeClock())
    async with Cluster.open(tmp_path / "data") as cluster:
        emergencies = cluster.auth.emergencies
        permit_emergencies(site, emergencies)
        at_the_start = emergencies.limits

        for prepare in site.prepares:
            prepare(merged(before, after))()

        assert (at_the_start, emergencies.limits) == (EmergencyLimits(), limits)
