"""Follows references to secrets: only where teleport.yaml permits, anew each time, and without telling what is there.

A source of policy says where a secret is. It must not thereby read anything else of this host, nor learn what exists.
"""

import hmac
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from teleport.resources.secret_ref import SecretRef
from teleport.resources.token import Token

__all__ = ["DEFAULT_PREFIX", "References", "Unresolved"]

DEFAULT_PREFIX: Final = "TELEPORT_SECRET_"
_SHORTEST: Final = 16
"""Characters below which a secret can be guessed; the same as for those of `tctl tokens add`."""
_LONGEST: Final = 1024
"""Bytes of a file; no request to join may show more."""


class Unresolved(Exception):
    """A reference leads to no secret. The message names the place, never what is there."""


@dataclass(frozen=True)
class _Brought:
    source: str
    secrets: Mapping[str, str] = field(repr=False)


class References:
    """What references may lead to."""

    def __init__(self, folders: Sequence[Path], *, prefix: str, environment: Mapping[str, str]) -> None:
        self._folders, self._prefix, self._environment = tuple(folders), prefix, environment
        self._brought: dict[str, _Brought] = {}

    def bring(self, namespace: str, source: str, secrets: Mapping[str, str]) -> None:
        """What a namespace's Secrets hold now, NAME/KEY to value, as the source of this namespace was brought it."""
        self._brought[namespace] = _Brought(source, secrets)

    def forbidden(self, reference: SecretRef, source: str | None = None) -> str:
        """Why a reference must not be followed, whatever is there; nothing if it may be.

        `source` is who refers to it, None where that was asked before.
        """
        if reference.kubernetes:
            brought = self._brought.get(reference.namespace)
            theirs = brought is not None and source in (None, brought.source)
            return "" if theirs else f"{reference} is in no namespace whose manifests this source consists of"
        if reference.env:
            permitted = reference.env.startswith(self._prefix) and reference.env != self._prefix
            return "" if permitted else f"{reference} does not begin with {self._prefix}"
        if any(Path(reference.file).is_relative_to(folder) for folder in self._folders):
            return ""
        return f"{reference} is in no folder for secrets"

    def read(self, reference: SecretRef) -> str:
        """The secret as it is now. Raises Unresolved."""
        reason = self.forbidden(reference)
        if reason:
            raise Unresolved(reason)
        text = self._text(reference)
        if text is None:
            raise Unresolved(f"{reference} is not set")
        secret = text.strip()
        if len(secret) < _SHORTEST or not secret.isascii() or not secret.isprintable() or " " in secret:
            raise Unresolved(f"{reference} holds no secret: one line of at least {_SHORTEST} letters and digits")
        return secret

    def of(self, tokens: Iterable[Token], secret: str) -> Token | None:
        """The token whose secret this is. Every one is compared, so that the time tells nothing."""
        shown, found = secret.encode(), None
        for token in tokens:
            if token.spec.secret is None:
                continue
            try:
                kept = self.read(token.spec.secret).encode()
            except Unresolved:
                continue
            if hmac.compare_digest(kept, shown) and found is None:
                found = token
        return found

    def _text(self, reference: SecretRef) -> str | None:
        if reference.kubernetes:
            return self._brought[reference.namespace].secrets.get(reference.secret)
        return self._environment.get(reference.env) if reference.env else self._file(reference)

    def _file(self, reference: SecretRef) -> str:
        """The content of a small, regular file that is inside of a permitted folder when links are followed too."""
        try:
            real = Path(reference.file).resolve(strict=True)
            if not any(real.is_relative_to(folder.resolve()) for folder in self._folders):
                raise Unresolved(f"{reference} leads out of the folders for secrets")
            descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise Unresolved(f"{reference} is no file")
                data = file.read(_LONGEST + 1)
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "too many links"
            raise Unresolved(f"{reference} cannot be read: {reason}") from None
        if len(data) > _LONGEST:
            raise Unresolved(f"{reference} is larger than {_LONGEST} bytes")
        return data.decode("utf-8", "replace")
