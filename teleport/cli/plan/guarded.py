"""The guards that a plan is held to: those of a teleport.yaml, or what a command line says, or the usual ones."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from teleport.core.errors import BadInput
from teleport.gitops.guards.settings import GuardSettings, checks
from teleport.gitops.review import Check
from teleport.gitops.weakened import weakened
from teleport.resources.yaml_reader import read

__all__ = ["guards"]


def guards(config: Path | None, *, max_people: int | None, max_pairs_percent: float | None) -> tuple[Check, ...]:
    """A command line wins over a file. Raises BadInput for a file that is no teleport.yaml."""
    written = _written(config) if config is not None else {}
    given = {"max_people": max_people, "max_pairs_percent": max_pairs_percent}
    written |= {name: value for name, value in given.items() if value is not None}
    try:
        return checks(GuardSettings.model_validate(written), weakened=weakened)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in ("policies", "guards", *first["loc"]))
        raise BadInput(f"{config or 'the limits'}: {where}: {first['msg']}") from None


def _written(config: Path) -> dict[str, Any]:
    """`policies.guards`; the rest of the file is not this command's business."""
    try:
        documents, problems = read(config.read_bytes(), file=str(config))
    except OSError as error:
        raise BadInput(f"{config} cannot be read: {error.strerror}") from None
    value = documents[0].value if documents and not problems else None
    policies = value.get("policies") if isinstance(value, dict) else {}
    found = policies.get("guards") if isinstance(policies, dict) else {}
    if not isinstance(value, dict) or not isinstance(found or {}, dict):
        raise BadInput(f"{config} is not a teleport.yaml", hint="teleport configure --check says what is wrong")
    return dict(found or {})
