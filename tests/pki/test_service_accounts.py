"""Tokens of service accounts: everything but the right one is refused, and none is repeated."""

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from teleport.core.errors import Unauthenticated
from teleport.pki.service_accounts import ServiceAccount, account_named, verified
from tests.pki.service_accounts import KEY, OTHER_KEY, jwks_of, token_for

NOW = 1_800_000_000.0
KEYS = jwks_of(KEY)


def judged(token: str, jwks: str = KEYS) -> ServiceAccount:
    return verified(token, jwks, audience="acme", now=NOW)


def test_a_pods_token_says_whose_it_is() -> None:
    assert str(judged(token_for(now=NOW))) == "teleport:operator"


def test_the_key_is_the_one_that_the_token_names() -> None:
    assert judged(token_for(now=NOW, key=OTHER_KEY, kid="k1"), jwks_of(KEY, OTHER_KEY)).name == "operator"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": OTHER_KEY}, "not valid: InvalidSignatureError"),
        ({"audience": "other"}, "not made for acme"),
        ({"audience": None}, "not valid"),
        ({"now": NOW - 700}, "expired"),
        ({"now": NOW + 700}, "not valid yet"),
        ({"ttl": 3600}, "valid for 3600 s"),
        ({"kubernetes.io": None}, "not bound to a pod"),
        ({"kubernetes.io": {"namespace": "x"}}, "not bound to a pod"),
        ({"subject": "system:serviceaccount:teleport"}, "none of a Kubernetes service account"),
        ({"subject": "system:serviceaccount:a:b:c"}, "none of a Kubernetes service account"),
        ({"subject": "system:node:x"}, "none of a Kubernetes service account"),
        ({"exp": None}, "not valid"),
        ({"iat": None}, "not valid"),
    ],
)
def test_another_token_is_refused(change: dict[str, Any], said: str) -> None:
    token = token_for(**{"now": NOW, **change})

    with pytest.raises(Unauthenticated) as refusal:
        judged(token)

    assert said in refusal.value.message
    assert token not in str(refusal.value)


def test_a_token_without_a_signature_is_refused() -> None:
    body = {"sub": "system:serviceaccount:a:b", "aud": "acme", "iat": NOW, "exp": NOW + 60}

    with pytest.raises(Unauthenticated):
        judged(jwt.encode(body, "", algorithm="none", headers={"kid": "k0"}))


def test_a_token_signed_with_the_public_key_as_a_secret_is_refused() -> None:
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _, payload, _ = token_for(now=NOW).split(".")
    head = base64url(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "k0"}).encode())
    signature = base64url(hmac.digest(public, f"{head}.{payload}".encode(), "sha256"))

    with pytest.raises(Unauthenticated):
        judged(f"{head}.{payload}.{signature}")


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_token_of_an_unlisted_key_is_refused() -> None:
    with pytest.raises(Unauthenticated, match="a key that the join token does not list"):
        judged(token_for(now=NOW, kid="other"), jwks_of(KEY, OTHER_KEY))


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_rubbish_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        judged(text)


@given(st.text())
def test_only_a_whole_name_names_an_account(text: str) -> None:
    try:
        account = account_named(text)
    except Unauthenticated:
        return

    assert text == f"system:serviceaccount:{account.namespace}:{account.name}"
