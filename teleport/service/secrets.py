"""Which secrets policy may refer to: the section `policies.secrets` of teleport.yaml, and its enforcement."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from teleport.auth.references import DEFAULT_PREFIX, References, Unresolved
from teleport.core.errors import Problem
from teleport.gitops.review import API, Proposed, Verdict, Violation
from teleport.resources.faults import Fault, raise_faults
from teleport.resources.kinds import AnyResource
from teleport.resources.secret_ref import SecretRef, plain_secrets
from teleport.resources.token import Token
from teleport.resources.trusted_cluster import TrustedCluster
from teleport.resources.values import Text, Texts
from teleport.service.sections import Section

__all__ = ["Secrets", "SecretsCheck", "default_references", "references"]

_GUARD = "secrets"


def _absolute(folders: tuple[str, ...]) -> tuple[str, ...]:
    raise_faults(
        Fault((index,), f"{folder} is no absolute path below /", "name a folder that holds nothing but secrets")
        for index, folder in enumerate(folders)
        if not folder.startswith("/") or os.path.normpath(folder) in ("/", "//")
    )
    return folders


class Secrets(Section):
    """What a source of policy may refer to as a secret."""

    dirs: Annotated[Texts, AfterValidator(_absolute)] = Field(
        default=(),
        description="folders whose files it may name; `secrets` in the data directory, and systemd's credentials, if "
        "left out",
        examples=[["/run/secrets/teleport"]],
    )  # fmt: skip
    env_prefix: Text = Field(
        default=DEFAULT_PREFIX, min_length=4, description="with which variables begin that it may name"
    )


def references(section: Secrets, data_dir: Path) -> References:
    """What teleport.yaml permits."""
    folders = [Path(folder) for folder in section.dirs] or list(_usual_folders(data_dir))
    return References(folders, prefix=section.env_prefix, environment=os.environ)


def default_references(data_dir: Path) -> References:
    """What is permitted where teleport.yaml says nothing."""
    return references(Secrets(), data_dir)


def _usual_folders(data_dir: Path) -> Iterator[Path]:
    yield data_dir.absolute() / "secrets"
    if credentials := os.environ.get("CREDENTIALS_DIRECTORY"):
        yield Path(credentials)


class SecretsCheck:
    """Refuses secrets that a source holds itself, whatever door it comes by, and references to what is not permitted;
    warns of those that lead to no secret at the moment."""

    def __init__(self, permitted: References) -> None:
        self._permitted = permitted

    def __call__(self, proposed: Proposed) -> Verdict:
        violations: list[Violation] = []
        warnings: list[Problem] = []
        if proposed.source != API:
            violations += (Violation(_GUARD, problem) for problem in plain_secrets(proposed.desired.values()))
        for ref, resource in proposed.desired.items():
            for reference, path, hint in _references(resource):
                if reference.kubernetes and proposed.before.get(ref) is resource:
                    continue  # what a namespace left to others leads nowhere any more, and stands in nobody's way
                line, column = resource.origin.at(*path)
                reason = self._permitted.forbidden(reference, proposed.source)
                if reason:
                    told = "policies.secrets in teleport.yaml says what may be named"
                    violations.append(Violation(_GUARD, Problem(resource.origin.file, line, column, reason, told)))
                    continue
                try:
                    self._permitted.read(reference)
                except Unresolved as error:
                    warnings.append(Problem(resource.origin.file, line, column, str(error), hint))
        return Verdict(tuple(violations), tuple(warnings))


def _references(resource: AnyResource) -> Iterator[tuple[SecretRef, tuple[str, ...], str]]:
    """The secrets that a resource refers to, where it does, and what comes of it if there is none."""
    if isinstance(resource, Token) and resource.spec.secret is not None:
        yield resource.spec.secret, ("spec", "secret"), "nobody can join with this token until it is there"
    if isinstance(resource, TrustedCluster) and resource.spec.token is not None:
        yield resource.spec.token, ("spec", "token"), "the cluster cannot be joined until it is there"
