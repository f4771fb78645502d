"""What is left of a document when its faults are cut out: for the judge, so that one run tells of everything.

A remnant is never applied and never referred to. Indexes move where an item of a list is cut, and the marks with them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from teleport.resources.faults import FAULTS, Fault
from teleport.resources.kinds import AnyResource
from teleport.resources.yaml_reader import Marks, Path

__all__ = ["salvaged"]

_ROUNDS: Final = 5
"""Cuts after which a document is given up: what depends on several fields may only show when others are gone."""
_MAX_CUTS: Final = 200
"""Faults of a document beyond which nobody reads the rest."""


def salvaged(
    cls: type[AnyResource], body: Mapping[str, Any], marks: Marks, error: ValidationError
) -> tuple[AnyResource, Marks] | None:
    """What remains as a resource of its kind, with the marks of its parts; None where too little does."""
    left: Any = body
    for _ in range(_ROUNDS):
        if error.error_count() > _MAX_CUTS:
            return None
        left, marks = _Knife(_places(error)).without(left, marks)
        left = _addressed(cls, left, marks)
        try:
            return cls.model_validate(left, context={"version": left.get("version", "")}), marks
        except ValidationError as further:
            error = further
    return None


def _places(error: ValidationError) -> Iterator[Path]:
    """What to cut for each fault: the value that is wrong; where one is missing, what lacks it."""
    for details in error.errors(include_url=False):
        path: Path = tuple(details["loc"])
        if details["type"] == "missing":
            yield path[:-1]
        elif details["type"] == FAULTS:
            faults: list[Fault] = details["ctx"][FAULTS]
            yield from ((*path, *fault.path) for fault in faults)
        else:
            yield path


class _Knife:
    """Cuts the parts at some paths out of a value and its marks. What holds none of them is not copied."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._cut = frozenset(paths)
        self._near = {path[:length] for path in self._cut for length in range(len(path) + 1)}

    def without(self, value: Any, marks: Marks, here: Path = ()) -> tuple[Any, Marks]:
        if here not in self._near:
            return value, marks
        mapping = isinstance(value, dict)
        fields: dict[str | int, Any] = {}
        below = Marks(marks.line, marks.column)
        for step, item in value.items() if mapping else enumerate(value):
            path = (*here, step)
            if path in self._cut or (path in self._near and not isinstance(item, dict | list)):
                continue
            place = step if mapping else len(fields)
            fields[place], below.items[place] = self.without(item, marks.items.get(step, marks), path)
            if step in marks.keys:
                below.keys[place] = marks.keys[step]
        return fields if mapping else list(fields.values()), below


def _addressed(cls: type[AnyResource], body: Mapping[str, Any], marks: Marks) -> Mapping[str, Any]:
    """With a version, and a name that harms nobody, where its own were cut."""
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or "name" not in metadata:
        metadata = {"name": f"line-{marks.line}"}
    return {"version": cls.versions[-1], **body, "metadata": metadata}
