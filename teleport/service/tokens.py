"""Static join tokens of teleport.yaml, `ROLE,ROLE:SECRET`, as resources that the source teleport.yaml owns."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from teleport.core.errors import BadInput
from teleport.resources.faults import FAULTS, Fault
from teleport.resources.token import SYSTEM_TOKEN_ROLES, Token

__all__ = ["guessable", "static_tokens", "token_faults"]

_SPELLED: Final = {role.lower(): role for role in SYSTEM_TOKEN_ROLES}
_GUESSABLE: Final = 16
"""Characters below which a secret is worth a warning."""


def token_faults(texts: Iterable[str]) -> Iterator[Fault]:
    """What is wrong with tokens as written; secrets are not repeated."""
    for index, text in enumerate(texts):
        roles, colon, secret = text.partition(":")
        unknown = [role.strip() for role in roles.split(",") if role.strip().lower() not in _SPELLED]
        if not colon or not secret.strip():
            yield Fault((index,), "a static token is written ROLES:SECRET", "for example node:SECRET")
        elif unknown:
            yield Fault((index,), f"unknown service role {unknown[0] or '(none)'}", f"one of {', '.join(_SPELLED)}")


def static_tokens(texts: Iterable[str]) -> list[Token]:
    """The tokens. A secret that starts with / is a file that holds it. Raises BadInput."""
    return [_token(text) for text in texts]


def guessable(tokens: Iterable[Token]) -> int:
    """How many of them somebody could guess."""
    return sum(len(token.name) < _GUESSABLE for token in tokens)


def _token(text: str) -> Token:
    roles, _, secret = text.partition(":")
    spelled = [_SPELLED[role.strip().lower()] for role in roles.split(",")]
    name = secret.strip()
    if name.startswith("/"):
        name = _read(Path(name))
    try:
        return Token.model_validate({"version": "v2", "metadata": {"name": name}, "spec": {"roles": spelled}})
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        faults = details.get("ctx", {}).get(FAULTS)
        message = faults[0].message if faults else details["msg"]
        raise BadInput(f"auth_service.tokens: a token for {roles}: {message}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise BadInput(f"auth_service.tokens: {path} cannot be read: {error.strerror}") from None
