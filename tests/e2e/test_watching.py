"""Live sessions: who sees them, and looking on at one with the real client, on a real terminal."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.world import BIN, LOGIN, Person, Terminal, World, user, wait_until

WATCH = """\
kind: role
version: v7
metadata: {name: watch}
spec:
  allow:
    join_sessions: [{name: look, roles: [dev], kinds: [ssh], modes: [observer]}]
"""


@pytest.fixture(scope="module")
def people(world: World) -> dict[str, Person]:
    """ann works on the host; bob may look on, and log in nowhere."""
    world.write("roles/watch.yaml", WATCH)
    world.write("users/bob.yaml", user("bob", roles="watch"))
    world.wait_event("user.update", name="bob")
    return {name: world.person(name).enrol().login() for name in ("ann", "bob")}


@contextmanager
def at_work(ann: Person) -> Iterator[Terminal]:
    with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1", rows=30, columns=100) as terminal:
        terminal.expect(r"\$ ")
        yield terminal


def listed(person: Person, *more: str) -> list[dict[str, Any]]:
    result = person.tsh("sessions", "ls", "-o", "json", *more)
    assert result.status == 0, result.errors
    found: list[dict[str, Any]] = json.loads(result.output)
    return found


def session_of(person: Person) -> str:
    """The one that the person sees."""
    sid: str = wait_until(lambda: listed(person), what="a live session")[0]["sid"]
    return sid


def test_a_live_session_is_seen_by_its_owner_and_by_who_may_look_on_until_it_ends(people: dict[str, Person]) -> None:
    with at_work(people["ann"]) as terminal:
        sid = session_of(people["ann"])

        (row,) = listed(people["bob"], "--node", "db-1")
        shown = people["bob"].tsh("sessions", "ls").output

        assert (row["sid"], row["user"], row["login"], row["server_hostname"]) == (sid, "ann", LOGIN, "db-1")
        assert (row["participants"], row["modes"]) == (["ann"], ["observer"])
        assert sid in shown
        assert listed(people["bob"], "--node", "web-1") == []
        terminal.type("exit\n")
        terminal.wait()
    wait_until(lambda: not listed(people["ann"]), timeout=5, what="the end of the session")


def test_an_observer_sees_the_screen_and_changes_nothing_and_both_know(world: World, people: dict[str, Person]) -> None:
    with at_work(people["ann"]) as ann:
        ann.type("echo before-$((1+1))\n")
        ann.expect("before-2")
        sid = session_of(people["bob"])

        with people["bob"].terminal("tsh", "join", sid[:8], rows=24, columns=80) as bob:
            bob.expect("you look on at ann's session .* 100x30")
            bob.expect("before-2")
            ann.expect("Teleport > bob joined as observer")
            wait_until(lambda: listed(people["ann"])[0]["participants"] == ["ann", "bob"])
            bob.type("echo from-bob\n")
            ann.type("echo after-$((2+2))\n")
            bob.expect("after-4")
            ann.resize(40, 132)
            bob.expect(r"\x1b\[8;40;132t")
            bob.type("\x03")
            assert bob.wait() == 0
        ann.expect("Teleport > bob left")
        ann.type("exit\n")
        ann.wait()
        assert "from-bob" not in ann.text

    (join,) = [event for event in world.events("session.join") if event["sid"] == sid]
    assert (join["user"], join["owner"], join["login"], join["mode"]) == ("bob", "ann", LOGIN, "observer")
    assert world.wait_event("session.leave", sid=sid)["user"] == "bob"
    assert world.wait_event("session.end", sid=sid)["participants"] == ["ann", "bob"]


def test_the_end_of_the_session_is_the_end_of_looking_on(people: dict[str, Person]) -> None:
    with at_work(people["ann"]) as ann:
        sid = session_of(people["ann"])
        with people["ann"].terminal("tsh", "join", sid) as again:
            again.expect("you look on")

            ann.type("exit\n")

            again.expect("the session ended")
            assert again.wait() == 0


def test_a_second_factor_that_joining_needs_is_asked_for(world: World, people: dict[str, Person]) -> None:
    strict = f"{WATCH}  options: {{require_session_mfa: yes}}\n"
    with at_work(people["ann"]) as ann:
        sid = session_of(people["bob"])
        world.write("roles/watch.yaml", strict)
        wait_until(lambda: listed(people["bob"])[0]["needs"] == {"mfa": "required"})

        with people["bob"].terminal("tsh", "join", sid) as bob:
            bob.expect("Code from the authenticator app")
            bob.type(people["bob"].code() + "\n")
            bob.expect("you look on")
            ann.expect("bob joined")
        world.write("roles/watch.yaml", WATCH)
        wait_until(lambda: listed(people["bob"])[0]["needs"] == {})


def test_without_an_ssh_program_one_looks_on_too(people: dict[str, Person]) -> None:
    with at_work(people["ann"]) as ann:
        sid = session_of(people["bob"])
        with people["bob"].terminal("tsh", "join", sid, env={"PATH": str(BIN)}) as bob:
            bob.expect("you look on")
            bob.type("\x03")
            assert bob.wait() == 0
        ann.expect("bob left")


def test_a_withdrawn_right_to_look_on_cuts_the_observer_alone(world: World, people: dict[str, Person]) -> None:
    with at_work(people["ann"]) as ann:
        sid = session_of(people["bob"])
        with people["bob"].terminal("tsh", "join", sid) as bob:
            bob.expect("you look on")

            world.write("roles/watch.yaml", WATCH.replace("[observer]", "[peer]"))

            bob.expect("access withdrawn", timeout=5)
            assert bob.wait() == 255
        world.write("roles/watch.yaml", WATCH)
        ann.type("echo still-$((3+3))\n")
        ann.expect("still-6")


def test_taking_part_and_watching_oneself_are_refused_in_words(people: dict[str, Person]) -> None:
    with at_work(people["ann"]):
        sid = session_of(people["ann"])

        peer = people["ann"].tsh("join", sid, "--mode", "peer")
        itself = people["ann"].run("tsh", "join", sid, env={"SSH_SESSION_ID": sid})

        assert (peer.status, itself.status) == (2, 2)
        assert "tsh: error: sessions cannot be joined as peer yet" in peer.errors
        assert "tsh: error: this is the session itself" in itself.errors


def test_plain_ssh_looks_on_by_the_name_of_the_session(people: dict[str, Person]) -> None:
    config = people["bob"].home / "ssh_config"
    config.write_text(people["bob"].tsh("config").output)
    with at_work(people["ann"]) as ann:
        sid = session_of(people["bob"])
        with people["bob"].terminal("ssh", "-F", str(config), f"observer:{sid}@db-1.acme") as bob:
            bob.expect("you look on")
            ann.expect("bob joined")
