"""Makes join tokens: resources whose name is the secret."""

import secrets

from teleport.api.models import TokenRequest
from teleport.core.aio import utc
from teleport.core.errors import BadInput
from teleport.resources.token import SYSTEM_TOKEN_ROLES, Token

__all__ = ["new_token"]


def new_token(request: TokenRequest, expires: float) -> Token:
    """A token for these roles; the name is random unless one is asked for."""
    spelled = {name.lower(): name for name in SYSTEM_TOKEN_ROLES}
    unknown = [role for role in request.roles if role.lower() not in spelled]
    if unknown or not request.roles:
        raise BadInput(f"unknown service role {', '.join(unknown) or '(none)'}", hint=f"one of {', '.join(spelled)}")
    if request.value and len(request.value) < 16:
        raise BadInput("a token of fewer than 16 characters could be guessed")
    body = {
        "version": "v2",
        "metadata": {"name": request.value or secrets.token_hex(16), "expires": utc(expires)},
        "spec": {
            "roles": [spelled[role.lower()] for role in request.roles],
            "join_method": "token",
            **({"suggested_labels": dict(request.labels)} if request.labels else {}),
        },
    }
    return Token.model_validate(body)
