"""A role is edited under many live sessions: all end at that moment, and of each it is written down why.

With TELEPORT_FULL set, two hundred of them.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from tests.e2e.visitors import Keys, crowd, leave
from tests.e2e.world import LOGIN, ROLE, World, user, wait_until

SESSIONS = 200 if os.environ.get("TELEPORT_FULL") else 20
WITHIN = 5.0
"""Seconds; what a quiet machine needs is for `bench` to say."""
OTHER = ROLE.replace("name: dev", "name: other")


def test_every_session_of_an_edited_role_ends_with_its_reason_and_its_recording_is_sealed(world: World) -> None:
    world.write("roles/other.yaml", OTHER)
    world.write("users/bob.yaml", user("bob", roles="other"))
    ann, bob = (Keys.of(world.person(name).enrol().login()) for name in ("ann", "bob"))

    pids, took = asyncio.run(edited(world, ann, bob))

    print(f"{SESSIONS} sessions had ended {took:.2f} s after the edit")
    assert took < WITHIN
    ends = wait_until(lambda: all_ended(world), what="the end of every session in the log")
    assert len({one["sid"] for one in ends}) == SESSIONS
    assert {one["reason"] for one in ends} == {f"access withdrawn: role/dev no longer allows {LOGIN} on db-1"}
    assert not any(one.get("recording_error") for one in ends)
    for one in ends:
        folder = world.data / "recordings" / one["sid"]
        wait_until((folder / "meta.json").exists, what=f"the sealed recording of {one['sid']}")
        assert b"are you there" in (folder / "output").read_bytes()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="the end of every program")


def all_ended(world: World) -> list[dict[str, Any]]:
    """The ends of ann's sessions once there are as many as sessions."""
    found = [one for one in world.events("session.end") if one["user"] == "ann"]
    return found if len(found) >= SESSIONS else []


async def edited(world: World, ann: Keys, bob: Keys) -> tuple[list[int], float]:
    """The programs that ran, and the seconds from the edit to the end of the last session."""
    visitors, (bystander,) = await crowd(ann, SESSIONS), await crowd(bob, 1)
    await asyncio.gather(*(one.answers() for one in visitors))

    began = time.monotonic()
    world.write("roles/dev.yaml", ROLE.replace('"{{internal.logins}}"', "nobody-at-all"))
    ended = await asyncio.gather(*(one.gone() for one in visitors))

    assert await bystander.answers() < WITHIN
    await leave([*visitors, bystander])
    return [one.pid for one in visitors], max(ended) - began
