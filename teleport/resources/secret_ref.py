"""Where a secret is kept, instead of the secret: what a source of policy says, because everybody may read a source.

What a reference may lead to is decided by teleport.yaml, and followed by the auth service alone.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydantic import Field, model_validator

from teleport.core.errors import Problem
from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Model, Resource
from teleport.resources.values import Text

__all__ = ["SecretRef", "plain_secrets"]

_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*\Z", re.ASCII)
_LONGEST: Final = 1024


class SecretRef(Model):
    """A secret by reference: a file or an environment variable of the auth service. One of the two."""

    file: Text = Field(default="", description="an absolute path, in a folder that teleport.yaml permits")
    env: Text = Field(default="", description="a variable with the prefix that teleport.yaml permits")

    @model_validator(mode="after")
    def _one(self) -> "SecretRef":
        raise_faults(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        if bool(self.file) == bool(self.env):
            yield Fault((), "a secret is in a file or in a variable", "write {file: /PATH} or {env: NAME}")
        elif self.file and not _is_plain(self.file):
            yield Fault(("file",), "not an absolute path without . and ..", "for example /run/secrets/NAME")
        elif self.env and not _VARIABLE.match(self.env):
            yield Fault(("env",), "not the name of a variable", "capital letters, digits and _")

    def __str__(self) -> str:
        return f"the file {self.file}" if self.file else f"the variable {self.env}"


def _is_plain(path: str) -> bool:
    return (
        path.startswith("/")
        and not path.startswith("//")
        and posixpath.normpath(path) == path
        and path.isprintable()
        and len(path) <= _LONGEST
    )


def plain_secrets(resources: Iterable[Resource[Any]]) -> Iterator[Problem]:
    """A problem for each secret that is written out in a source, without repeating it."""
    for resource in resources:
        for path, hint in resource.written_secrets():
            line, column = resource.origin.at(*path)
            message = f"the {path[-1]} of this {resource.kind} is a secret, which does not belong in a source of policy"
            yield Problem(resource.origin.file, line, column, message, hint)
