"""Tokens of Kubernetes service accounts: whose they are, by keys of their cluster that are known beforehand.

Source: RFC 7519 (JWT), Kubernetes documentation, "Configure Service Accounts", projected volumes.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import jwt

from teleport.core.errors import Unauthenticated

__all__ = ["ServiceAccount", "account_named", "verified"]

_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "EdDSA")
_PREFIX: Final = "system:serviceaccount:"
_LONGEST: Final = 1800.0
"""Seconds that a token may be valid in all: those of pods are made for so long, others lie around."""
_LEEWAY: Final = 30.0
_MAX_TOKEN: Final = 16 * 1024


@dataclass(frozen=True)
class ServiceAccount:
    """Who runs in a Kubernetes cluster."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}:{self.name}"


def account_named(subject: str) -> ServiceAccount:
    """From `system:serviceaccount:NAMESPACE:NAME`. Raises Unauthenticated."""
    namespace, colon, name = subject.removeprefix(_PREFIX).partition(":")
    if not subject.startswith(_PREFIX) or not (namespace and colon and name) or ":" in name:
        raise Unauthenticated("the token is none of a Kubernetes service account")
    return ServiceAccount(namespace, name)


def verified(token: str, jwks: str, *, audience: str, now: float) -> ServiceAccount:
    """Whose token it is: signed by one of the keys, made for this audience and for a pod, short-lived and valid now.

    Raises Unauthenticated, which never repeats the token.
    """
    if len(token) > _MAX_TOKEN:
        raise Unauthenticated("the token is too long")
    try:
        claims = jwt.decode(
            token, _key(token, jwks), algorithms=list(_ALGORITHMS), audience=audience,
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp", "iat", "sub"]},
        )  # fmt: skip
    except jwt.InvalidAudienceError:
        raise Unauthenticated(
            f"the token is not made for {audience}", hint="project one with `audience` set to the cluster's name"
        ) from None
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise Unauthenticated(f"the token is not valid: {type(error).__name__}") from None
    _check_times(claims, now)
    if not (isinstance(claims.get("kubernetes.io"), dict) and claims["kubernetes.io"].get("pod")):
        raise Unauthenticated("the token is not bound to a pod", hint="use a projected service account token")
    return account_named(str(claims["sub"]))


def _key(token: str, jwks: str) -> Any:
    """The key that the token's header names; with one key alone, that one."""
    keys = jwt.PyJWKSet.from_dict(json.loads(jwks)).keys
    wanted = jwt.get_unverified_header(token).get("kid")
    found = [key for key in keys if key.key_id == wanted] or (list(keys) if len(keys) == 1 else [])
    if not found:
        raise Unauthenticated("the token is signed by a key that the join token does not list")
    return found[0].key


def _check_times(claims: dict[str, Any], now: float) -> None:
    begin, end = claims["iat"], claims["exp"]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in (begin, end)):
        raise Unauthenticated("the token has no times")
    if not begin - _LEEWAY <= now < end:
        raise Unauthenticated("the token is expired, or not valid yet")
    if end - begin > _LONGEST:
        raise Unauthenticated(
            f"the token is valid for {end - begin:.0f} s",
            hint=f"project one with expirationSeconds up to {_LONGEST:.0f}",
        )
