"""A Kubernetes cluster's keys, and tokens of its service accounts, for tests."""

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

__all__ = ["KEY", "OTHER_KEY", "jwks_of", "token_for"]

KEY, OTHER_KEY = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
POD = {"namespace": "teleport", "pod": {"name": "operator-0", "uid": "1"}}


def jwks_of(*keys: rsa.RSAPrivateKey) -> str:
    found = [json.loads(RSAAlgorithm.to_jwk(key.public_key())) for key in keys]
    return json.dumps({"keys": [{**one, "kid": f"k{index}"} for index, one in enumerate(found)]})


def token_for(
    subject: str = "system:serviceaccount:teleport:operator", *, now: float, key: Any = KEY, audience: Any = "acme",
    ttl: float = 600, algorithm: str = "RS256", kid: str = "k0", **claims: Any,
) -> str:  # fmt: skip
    """A token that is right but for what is said; a claim of None is left out."""
    body = {"sub": subject, "aud": audience, "iat": now, "exp": now + ttl, "kubernetes.io": POD, **claims}
    return jwt.encode(
        {name: one for name, one in body.items() if one is not None}, key, algorithm=algorithm, headers={"kid": kid}
    )
