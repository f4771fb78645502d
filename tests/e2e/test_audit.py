"""The audit log as administrators use it: searched by many, verified against what was kept elsewhere."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import LOGIN, Person, World, user, wait_until


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    return world.person("ann").enrol().login()


def search(world: World, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.tctl_json("audit", "search", *arguments, "-o", "json")
    return found


def test_a_search_gives_what_matches_everything_asked(world: World, ann: Person) -> None:
    assert ann.ssh(f"{LOGIN}@db-1", "true").status == 0
    end = world.wait_event("session.end", user="ann")

    found = search(world, "--type", "session.end", "--user", "ann", "--session", end["sid"])

    assert [one["uid"] for one in found] == [end["uid"]]


def test_since_takes_a_time_or_a_span_back_from_now(world: World, ann: Person) -> None:
    everything = search(world)
    middle = everything[len(everything) // 2]

    assert search(world, "--since", "24h") == search(world, "--since", "7d")
    assert [one["uid"] for one in search(world, "--since", middle["time"])][:1] != [everything[0]["uid"]]
    assert all(one["time"] >= middle["time"] for one in search(world, "--since", middle["time"]))
    nonsense = world.tctl("audit", "search", "--since", "yesterday")
    assert nonsense.status == 2
    assert "'yesterday' is neither a time nor a span of time" in nonsense.errors


def test_a_limit_gives_the_newest(world: World, ann: Person) -> None:
    assert [one["seq"] for one in search(world, "--limit", "2")] == [one["seq"] for one in search(world)][-2:]


def test_the_table_neutralises_what_a_hostile_client_wrote(world: World) -> None:
    hostile = world.person("ann").tsh(
        "login", "--proxy", world.proxy, "--ca-pin", world.pin, "--user", "x\x1b[2Jy", "--password-stdin", "--mfa-code",
        "123456", stdin="wrong\n",
    )  # fmt: skip
    assert hostile.status == 1

    shown = world.tctl("audit", "search", "--type", "user.login").output

    assert "\x1b" not in shown
    assert "x\\x1b[2Jy" in shown


def test_who_holds_the_preset_role_access_sees_only_what_concerns_them(world: World, ann: Person) -> None:
    world.write("users/bob.yaml", user("bob", roles="access"))
    wait_until(lambda: any(one["name"] == "bob" and one["roles"] == ["access"] for one in users(world)))
    bob = world.person("bob").enrol().login()

    result = bob.run("tctl", "audit", "search", "-o", "json")

    assert result.status == 0, result.errors
    assert {one["user"] for one in json.loads(result.output)} == {"bob"}
    whole = bob.run("tctl", "audit", "verify")
    assert whole.status == 3
    assert "bob may read only some events" in whole.errors


def users(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.tctl_json("users", "ls", "-o", "json")
    return found


def test_an_untouched_log_verifies(world: World) -> None:
    result = world.tctl("audit", "verify")

    assert result.status == 0
    assert result.output.startswith("The log is whole")


@pytest.fixture
def log(world: World) -> Iterator[Path]:
    """Today's file of the log, as it was again afterwards."""
    directory = world.data / "audit"
    path = max(directory.glob("????-??-??.jsonl"))
    kept = world.root / "kept"
    shutil.copytree(directory, kept)
    yield path
    shutil.copytree(kept, directory, dirs_exist_ok=True)
    shutil.rmtree(kept)


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], object], *, chained: bool) -> None:
    """Change the events of a file; `chained` computes the hashes anew, as a careful forger would."""
    events = [json.loads(line) for line in path.read_text().splitlines()]
    change(events)
    head, lines = events[0]["prev"], []
    for number, event in enumerate(events, start=1):
        if chained:
            event |= {"seq": number, "prev": head}
        lines.append(json.dumps(event, separators=(",", ":")).encode() + b"\n")
        head = hashlib.sha256(lines[-1]).hexdigest()
    path.write_bytes(b"".join(lines))


FORGERIES: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "rewritten": lambda events: events[2].update(user="mallory"),
    "removed": lambda events: events.pop(2),
    "inserted": lambda events: events.insert(2, dict(events[1])),
    "cut off": lambda events: events.pop(),
    "cut off at the beginning": lambda events: events.pop(0),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_log_that_was_changed_does_not_verify(world: World, log: Path, what: str) -> None:
    world.tctl("audit", "verify")
    rewrite(log, FORGERIES[what], chained=False)

    result = world.tctl("audit", "verify")

    assert result.status == 1, what
    assert result.output.startswith("fault: ")


def test_only_a_checkpoint_kept_elsewhere_catches_who_rewrote_everything_while_the_cluster_was_down(
    new_world: Callable[..., World],
) -> None:
    world = new_world()
    kept = world.root / "checkpoint"
    kept.write_text(world.tctl("audit", "checkpoint").output)
    world.stop()
    rewrite(max((world.data / "audit").glob("????-??-??.jsonl")), FORGERIES["removed"], chained=True)
    (world.data / "audit/checkpoints.jsonl").unlink()
    world.start()

    alone = world.tctl("audit", "verify")
    held = world.tctl("audit", "verify", "--checkpoint", str(kept))

    assert alone.status == 0
    assert held.status == 1
    assert "signed" in held.output or "the end is missing" in held.output


def test_a_forged_checkpoint_is_told_from_a_real_one(world: World) -> None:
    body = json.loads(world.tctl("audit", "checkpoint").output)
    forged = world.root / "forged"
    forged.write_text(json.dumps({**body, "hash": "0" * 64}) + "\n")

    result = world.tctl("audit", "verify", "--checkpoint", str(forged))

    assert result.status == 1
    assert "has a wrong signature" in result.output


def test_what_is_no_checkpoint_is_refused_before_anything_is_asked(world: World) -> None:
    path = world.root / "nothing"
    path.write_text("hello\n")

    result = world.tctl("audit", "verify", "--checkpoint", str(path))

    assert result.status == 2
