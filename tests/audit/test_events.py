"""The catalogue: every type is told apart from every other, and none has room for a secret."""

import json
import re
from dataclasses import fields

import pytest

from teleport.audit.events import (
    AGENT_EVENTS,
    CATALOGUE,
    PROXY_EVENTS,
    Event,
    FileCopied,
    FileTransferred,
    SessionEnded,
    UserLogin,
    actor_of,
)
from teleport.core.identity import Identity

TYPES = pytest.mark.parametrize("cls", CATALOGUE.values(), ids=list(CATALOGUE))


@TYPES
def test_a_type_has_a_code_for_each_outcome_and_says_what_it_is(cls: type[Event]) -> None:
    assert re.fullmatch(r"[a-z0-9_.-]+", cls.event)
    assert cls.summary
    assert all(re.fullmatch(r"T[A-Z]*\d{2,4}[ISWE]", code) for code in cls.codes), cls.codes
    if cls.code is Event.code:
        assert len({code[-1] for code in cls.codes}) == len(cls.codes)


def test_a_code_means_one_type() -> None:
    codes = [code for cls in CATALOGUE.values() for code in cls.codes]

    assert sorted(code for code in set(codes) if codes.count(code) > 1) == []


@TYPES
def test_no_field_could_hold_a_secret(cls: type[Event]) -> None:
    names = {one.name for one in fields(cls)}

    assert not names & {"password", "secret", "token", "key", "private_key", "totp", "otp"}


def test_an_event_is_written_with_what_is_set_dots_in_names_and_zeroes_that_say_something() -> None:
    event = SessionEnded(user="ann", addr__remote="192.0.2.1", server_id="", sid="s1")

    body = event.to_dict()

    assert (body["event"], body["code"], body["addr.remote"]) == ("session.end", "T2004I", "192.0.2.1")
    assert "server_id" not in body
    assert json.loads(json.dumps(body)) == body


def test_a_failure_has_the_code_of_its_outcome() -> None:
    assert UserLogin(user="ann", outcome="W", success=False).to_dict()["code"] == "T1000W"


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (FileTransferred(action="open"), "TS001I"),
        (FileTransferred(action="rename", outcome="E"), "TS016E"),
        (FileTransferred(action="disallowed", outcome="E"), "TS020E"),
        (FileCopied(action="download"), "T3004I"),
        (FileCopied(action="upload", outcome="E"), "T3005E"),
        (FileCopied(action="disallowed", outcome="E"), "T3010E"),
    ],
)
def test_a_type_with_several_actions_has_a_code_for_each(event: Event, code: str) -> None:
    assert event.to_dict()["code"] == code
    assert code in event.codes


def test_services_report_only_types_that_exist_and_none_that_auth_alone_can_know() -> None:
    reported = AGENT_EVENTS | PROXY_EVENTS

    assert reported <= set(CATALOGUE)
    assert not any(name.startswith(("user.", "role.", "lock.", "cert.", "policy.", "mfa.")) for name in reported)


@pytest.mark.parametrize(("kind", "number"), [("user", 1), ("admin", 1), ("host", 2)])
def test_people_and_services_are_told_apart(kind: str, number: int) -> None:
    actor = actor_of(Identity(kind, "x", "u", "acme"), ("dev",))  # type: ignore[arg-type]

    assert actor.fields()["user_kind"] == number
