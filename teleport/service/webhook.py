"""What servers of repositories send when something was pushed: whether they may, and whether it is news. No I/O.

The secret proves who sent it; what it says only decides whether it is worth a look. Nothing is obeyed, so a message
that is sent again does no harm.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

__all__ = ["SHORTEST_SECRET", "is_ping", "is_signed", "ref_of"]

SHORTEST_SECRET: Final = 16
"""Bytes; a shorter secret is none."""

_HEX_HEADERS: Final = ("x-gitea-signature", "x-forgejo-signature", "x-gogs-signature")
_EVENT_HEADERS: Final = ("x-github-event", "x-gitea-event", "x-forgejo-event", "x-gogs-event")
_TOLERANCE_SECONDS: Final = 300.0
_ENCODED_SECRET: Final = b"whsec_"


def is_signed(headers: Mapping[str, str], body: bytes, secret: bytes, *, now: float) -> bool:
    """Whether one of the proofs that servers give holds: over the body, or (GitLab's older way) the secret itself."""
    digest = hmac.digest(secret, body, "sha256").hex()
    expected = [("x-hub-signature-256", f"sha256={digest}"), *((name, digest) for name in _HEX_HEADERS)]
    proofs = [hmac.compare_digest(_bytes(headers.get(name, "")), wanted.encode()) for name, wanted in expected]
    proofs.append(hmac.compare_digest(_bytes(headers.get("x-gitlab-token", "")), secret))
    proofs.append(_is_timed(headers, body, secret, now))
    return any(proofs) and len(secret) >= SHORTEST_SECRET


def _is_timed(headers: Mapping[str, str], body: bytes, secret: bytes, now: float) -> bool:
    """GitLab's newer way, which is that of Standard Webhooks: identity, time and body are signed."""
    identity, when = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    key = _decoded(secret)
    if not identity or not when.isascii() or not when.isdigit() or len(when) > 12 or key is None:
        return False
    if abs(now - int(when)) > _TOLERANCE_SECONDS:
        return False
    signed = b".".join((_bytes(identity), when.encode(), body))
    wanted = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    return any(hmac.compare_digest(_bytes(one), wanted) for one in headers.get("webhook-signature", "").split(" "))


def _decoded(secret: bytes) -> bytes | None:
    if not secret.startswith(_ENCODED_SECRET):
        return secret
    try:
        return base64.b64decode(secret.removeprefix(_ENCODED_SECRET), validate=True)
    except binascii.Error:
        return None


def is_ping(headers: Mapping[str, str]) -> bool:
    """Whether it only tries the way."""
    return any(headers.get(name) == "ping" for name in _EVENT_HEADERS)


def ref_of(headers: Mapping[str, str], body: bytes) -> str | None:
    """Which branch or tag moved, as `refs/…`; empty if nothing did, None if it does not say."""
    told = _payload(headers, body)
    ref = told.get("ref")
    if isinstance(ref, str) and ref:
        if ref.startswith("refs/"):
            return ref
        return f"refs/tags/{ref}" if told.get("ref_type") == "tag" else f"refs/heads/{ref}"
    return "" if any(name in headers for name in (*_EVENT_HEADERS, "x-gitlab-event")) else None


def _payload(headers: Mapping[str, str], body: bytes) -> Mapping[str, Any]:
    for text in _texts(headers, body):
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(told, dict):
            return told
    return {}


def _texts(headers: Mapping[str, str], body: bytes) -> Iterator[str]:
    """JSON, or a form with JSON in its field `payload`."""
    text = body.decode(errors="replace")
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        try:
            yield from parse_qs(text, max_num_fields=10).get("payload", ())
        except ValueError:
            return
    else:
        yield text


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")
