"""Makes join tokens: resources whose name is the secret."""

import secrets
from typing import Final

from teleport.api.models import TokenRequest
from teleport.core.aio import utc
from teleport.core.errors import BadInput
from teleport.resources.token import Token

__all__ = ["new_token"]

_JOINING: Final = ("Node", "Proxy", "Operator", "Trusted_cluster")
"""What this version can let join. A declared token may name more, for the format's sake."""


def new_token(request: TokenRequest, expires: float) -> Token:
    """A token for these roles; the name is random unless one is asked for."""
    spelled = {name.lower(): name for name in _JOINING}
    unknown = [role for role in request.roles if role.lower() not in spelled]
    if unknown or not request.roles:
        raise BadInput(f"nothing can join as {', '.join(unknown) or 'nothing'}", hint=f"one of {', '.join(spelled)}")
    if request.value and len(request.value) < 16:
        raise BadInput("a token of fewer than 16 characters could be guessed")
    if "trusted_cluster" in map(str.lower, request.roles) and len(request.roles) > 1:
        raise BadInput("a token with which a cluster joins is for nothing else beside")
    if ("operator" in map(str.lower, request.roles)) is not bool(request.sources):
        raise BadInput("a token for operators, and no other, says which sources they feed", hint="--source NAME")
    body = {
        "version": "v2",
        "metadata": {"name": request.value or secrets.token_hex(16), "expires": utc(int(expires))},
        "spec": {
            "roles": [spelled[role.lower()] for role in request.roles],
            "join_method": "token",
            **({"policy_sources": list(request.sources)} if request.sources else {}),
            **({"suggested_labels": dict(request.labels)} if request.labels else {}),
        },
    }
    return Token.model_validate(body)
