"""Two organisations under cuts, kills and withdrawals: no session is lost that should live, none kept that should not.

`make test` has two rounds of it, `make soak` ten minutes.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.e2e.world import LOGIN, make_login, missing, remove_login, wait_until
from tests.networks.lab import unavailable
from tests.networks.organisations import neighbours
from tests.networks.soak import Soak, soaking

_ABSENT = unavailable() or missing("ssh")
pytestmark = pytest.mark.skipif(bool(_ABSENT), reason=_ABSENT)
SECONDS = float(os.environ.get("TELEPORT_SOAK", "0"))
TOLD = 60.0
"""Seconds until everything about a session is at auth: a spool that met a dead auth tries again ever later."""


@pytest.fixture
def soak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak]:
    own_login = subprocess.run(["id", LOGIN], capture_output=True, check=False).returncode != 0
    make_login()
    with neighbours() as machines, soaking(tmp_path_factory.mktemp("soak"), machines) as soak:
        yield soak
    if own_login:
        remove_login()


def ends_are_missing(soak: Soak) -> set[str]:
    """Sessions with a beginning and no end, in either log."""
    return {
        str(one["sid"])
        for side in (soak.root, soak.leaf)
        for one in side.world.events("session.start")
        if one["sid"] not in {end["sid"] for end in side.world.events("session.end")}
    }


def test_sessions_live_as_long_as_they_should_and_no_longer(soak: Soak) -> None:
    troubles, withdrawals = soak.troubles(), soak.withdrawals()

    soak.round(troubles["cut of peer"], withdrawals["an edit of the role map"], hold=0.5)
    soak.round(troubles["kill of leaf auth"], None, hold=0.2)
    if SECONDS:
        seed = int(os.environ.get("TELEPORT_SEED", time.time()))
        sys.stderr.write(f"\nseed {seed}\n")
        soak.run(SECONDS, seed)
        sys.stderr.write(f"{soak.text()}\n")

    assert not soak.faults, "\n".join(soak.faults)
    for seat in soak.seats:
        seat.close()
    wait_until(lambda: not ends_are_missing(soak), timeout=TOLD, what="an end of every session")
