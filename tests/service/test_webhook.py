"""Messages of servers of repositories: who may send them, and what they are about."""

import base64
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.service.webhook import is_ping, is_signed, ref_of

SECRET = b"a secret of the test"
NOW = 1_700_000_000.0
BODY = json.dumps({"ref": "refs/heads/main"}).encode()


def hexed(body: bytes = BODY, secret: bytes = SECRET, how: str = "sha256") -> str:
    return hmac.digest(secret, body, how).hex()


def timed(when: str, key: bytes, body: bytes = BODY) -> dict[str, str]:
    signature = base64.b64encode(hmac.digest(key, b"id-1." + when.encode() + b"." + body, "sha256")).decode()
    return {"webhook-id": "id-1", "webhook-timestamp": when, "webhook-signature": f"v1,bm8= v1,{signature}"}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"x-hub-signature-256": f"sha256={hexed()}"}, id="GitHub"),
        pytest.param({"x-gitea-signature": hexed()}, id="Gitea"),
        pytest.param({"x-forgejo-signature": hexed()}, id="Forgejo"),
        pytest.param({"x-gogs-signature": hexed()}, id="Gogs"),
        pytest.param({"x-gitlab-token": SECRET.decode()}, id="GitLab, the secret itself"),
        pytest.param(timed(f"{NOW:.0f}", SECRET), id="GitLab, signed"),
    ],
)
def test_each_server_proves_in_its_own_way_who_it_is(headers: dict[str, str]) -> None:
    assert is_signed(headers, BODY, SECRET, now=NOW)
    assert not is_signed(headers, BODY, b"another secret of it", now=NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-hub-signature-256": hexed()},
        {"x-hub-signature-256": f"sha256={hexed(b'other')}"},
        {"x-hub-signature-256": "sha256="},
        {"x-hub-signature-256": "sha256=\u00e9"},
        {"x-hub-signature": f"sha1={hexed(how='sha1')}"},
        {"x-gitea-signature": ""},
        {"x-gitea-signature": hexed().upper()},
        {"x-gitlab-token": ""},
        {"x-gitlab-token": SECRET.decode()[:-1]},
        timed(f"{NOW - 301:.0f}", SECRET),
        timed(f"{NOW + 301:.0f}", SECRET),
        {**timed(f"{NOW:.0f}", SECRET), "webhook-timestamp": f"{NOW + 1:.0f}"},
        {**timed(f"{NOW:.0f}", SECRET), "webhook-id": "id-2"},
        {**timed(f"{NOW:.0f}", SECRET), "webhook-timestamp": "9" * 400},
        {**timed(f"{NOW:.0f}", SECRET), "webhook-timestamp": "\u0661"},
        timed("", SECRET),
    ],
)
def test_anything_else_proves_nothing(headers: dict[str, str]) -> None:
    assert not is_signed(headers, BODY, SECRET, now=NOW)


def test_an_encoded_secret_is_decoded_first() -> None:
    secret = b"whsec_" + base64.b64encode(b"0123456789abcdef")

    assert is_signed(timed(f"{NOW:.0f}", b"0123456789abcdef"), BODY, secret, now=NOW)
    assert not is_signed(timed(f"{NOW:.0f}", secret), BODY, secret, now=NOW)
    assert not is_signed(timed(f"{NOW:.0f}", b""), BODY, b"whsec_no base64 at all", now=NOW)


@pytest.mark.parametrize("secret", [b"", b"short"])
def test_a_secret_that_is_missing_or_can_be_guessed_is_none(secret: bytes) -> None:
    headers = {"x-hub-signature-256": f"sha256={hexed(secret=secret)}", "x-gitlab-token": secret.decode()}

    assert not is_signed(headers, BODY, secret, now=NOW)


@pytest.mark.parametrize(
    ("headers", "body", "ref"),
    [
        ({"x-github-event": "push"}, {"ref": "refs/heads/main"}, "refs/heads/main"),
        ({"x-gitlab-event": "Tag Push Hook"}, {"ref": "refs/tags/approve/1"}, "refs/tags/approve/1"),
        ({"x-gitea-event": "create"}, {"ref": "v1", "ref_type": "tag"}, "refs/tags/v1"),
        ({"x-github-event": "create"}, {"ref": "main", "ref_type": "branch"}, "refs/heads/main"),
        ({"x-github-event": "issues"}, {"action": "opened"}, ""),
        ({"x-github-event": "push"}, {"ref": ["refs/heads/main"]}, ""),
        ({}, {"zen": 1}, None),
    ],
)
def test_what_moved_is_a_branch_or_a_tag(headers: dict[str, str], body: object, ref: str | None) -> None:
    assert ref_of(headers, json.dumps(body).encode()) == ref


def test_a_form_carries_the_same_in_its_field_payload() -> None:
    form = {"content-type": "application/x-www-form-urlencoded; charset=utf-8", "x-github-event": "push"}

    assert ref_of(form, b"payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22%7D") == "refs/heads/main"
    assert ref_of(form, b"&" * 1000) == ""


@given(st.binary(max_size=200))
def test_no_body_does_harm(body: bytes) -> None:
    assert ref_of({}, body) is None or body
    assert ref_of({"content-type": "application/x-www-form-urlencoded"}, b"payload=" + body) is None or body


def test_a_body_nested_without_end_is_no_news() -> None:
    assert ref_of({}, b"[" * 1_000_000) is None


def test_a_ping_is_told_from_a_push() -> None:
    assert is_ping({"x-github-event": "ping"})
    assert not is_ping({"x-github-event": "push"})
