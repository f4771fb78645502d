"""A moment of the campaign against a host's SSH server; `make fuzz` is the long one."""

from pathlib import Path

import pytest

from tests.fuzz.ssh import campaign


@pytest.mark.parametrize("seed", [1, 2])
async def test_packets_that_mean_harm_leave_no_trace_and_others_are_served(tmp_path: Path, seed: int) -> None:
    async with campaign(tmp_path, seed=seed) as running:
        for _ in range(4):
            await running.round()

        assert running.packets > 50
