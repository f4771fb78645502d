"""Where a secret is kept, instead of the secret: what a source of policy says, because everybody may read a source.

What a reference may lead to is decided by teleport.yaml, and followed by the auth service alone.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import Field, model_validator

from teleport.core.errors import Problem
from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Model, Resource
from teleport.resources.values import Text

__all__ = ["SecretRef", "brought_secret", "plain_secrets", "secret_fields"]

_PART: Final = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_SECRET: Final = rf"(?=[^/]{{1,253}}/){_PART}(\.{_PART})*/(?!\.\.?\Z)[A-Za-z0-9._-]{{1,253}}"
"""Name and key of a Secret, as Kubernetes permits them."""
_BROUGHT: Final = re.compile(rf"(?=[^/]{{1,63}}/){_PART}/{_SECRET}\Z", re.ASCII)
_UPSTREAMS: Final = "secret://"
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*\Z", re.ASCII)
_LONGEST: Final = 1024


class SecretRef(Model):
    """A secret by reference: a file or an environment variable of the auth service, or a Secret of Kubernetes.

    One of the three. Manifests write a Secret beside them as `secret://NAME/KEY` or as `valueFrom.secretKeyRef`.
    """

    file: Text = Field(default="", description="an absolute path, in a folder that teleport.yaml permits")
    env: Text = Field(default="", description="a variable with the prefix that teleport.yaml permits")
    kubernetes: Text = Field(
        default="", description="NAMESPACE/NAME/KEY of a Secret, in the namespace of the manifest that refers to it"
    )

    @model_validator(mode="after")
    def _one(self) -> "SecretRef":
        raise_faults(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        if sum(map(bool, (self.file, self.env, self.kubernetes))) != 1:
            yield Fault((), "a secret is in a file or in a variable", "write {file: /PATH} or {env: NAME}")
        elif self.file and not _is_plain(self.file):
            yield Fault(("file",), "not an absolute path without . and ..", "for example /run/secrets/NAME")
        elif self.env and not _VARIABLE.match(self.env):
            yield Fault(("env",), "not the name of a variable", "capital letters, digits and _")
        elif self.kubernetes and not _BROUGHT.match(self.kubernetes):
            yield Fault(("kubernetes",), "not the name and the key of a Secret", "write secret://NAME/KEY")

    def __str__(self) -> str:
        if self.kubernetes:
            return f"the Secret {self.secret}"
        return f"the file {self.file}" if self.file else f"the variable {self.env}"

    @property
    def namespace(self) -> str:
        """Where the Secret is that it refers to, if it does."""
        return self.kubernetes.partition("/")[0]

    @property
    def secret(self) -> str:
        """NAME/KEY of the Secret within its namespace."""
        return self.kubernetes.partition("/")[2]


def secret_fields(resource: type[Resource[Any]]) -> tuple[str, ...]:
    """The fields directly below `spec` that refer to secrets."""
    fields: Mapping[str, Any] = resource.model_fields["spec"].annotation.model_fields  # type: ignore[union-attr]
    return tuple(name for name, one in fields.items() if SecretRef in (one.annotation, *get_args(one.annotation)))


def brought_secret(value: Any, namespace: str) -> Any:
    """What a manifest says of a secret, as a reference; whatever is none of its spellings as it is."""
    match value:
        case str() if value.startswith(_UPSTREAMS):
            return {"kubernetes": f"{namespace}/{value.removeprefix(_UPSTREAMS)}"}
        case {"valueFrom": {"secretKeyRef": {"name": str(name), "key": str(key), **more}}, **others}:
            return {"kubernetes": f"{namespace}/{name}/{key}", **more, **others}
        case _:
            return value


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
