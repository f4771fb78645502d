"""What a model found wrong with a document, in our words: each fault with its place and the likely right word.

Knows the models and pydantic's kinds of error, so that nobody else needs to.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from teleport.core.errors import Problem
from teleport.resources.faults import FAULTS, Fault, Misfit, one_line
from teleport.resources.yaml_reader import Marks, Path

__all__ = ["MAX_PROBLEMS", "explain", "model_in"]

MAX_PROBLEMS: Final = 200
"""Problems shown of one document: an honest one has few, a hostile one as many as it likes."""

_EXPECTED: Final[Mapping[str, str]] = {
    "model_type": "a mapping", "model_attributes_type": "a mapping", "dict_type": "a mapping",
    "mapping_type": "a mapping", "tuple_type": "a list", "list_type": "a list", "string_type": "text",
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "bool_type": "yes or no", "bool_parsing": "yes or no",
}  # fmt: skip
"""What the types of pydantic's own that models use are called here."""


def explain(
    cls: type[BaseModel], error: ValidationError, marks: Marks, *, file: str, skip: Collection[Path] = ()
) -> list[Problem]:
    """Everything a model found wrong with a document, each fault with its place."""

    def problem(fault: Fault, *, key: bool) -> Problem:
        line, column = marks.find(fault.path, key=key)
        return Problem(file, line, column, one_line(fault.message), one_line(fault.advice()))

    found = (
        problem(fault, key=details["type"] == "extra_forbidden")
        for details in error.errors(include_url=False)
        if details["loc"] not in skip
        for fault in _faults(cls, details, marks)
    )
    shown = list(islice(found, MAX_PROBLEMS))
    if next(found, None) is not None:
        shown.append(Problem(file, marks.line, marks.column, "this document has more problems than are shown"))
    return shown


def _faults(cls: type[BaseModel], details: ErrorDetails, marks: Marks) -> Iterator[Fault]:
    """One pydantic error; an error that carries several faults becomes as many."""
    path: Path = tuple(details["loc"])
    field = next((step for step in reversed(path) if isinstance(step, str)), "")
    faults: list[Fault] = details["ctx"][FAULTS] if details["type"] == FAULTS else [_fault(cls, details, field, marks)]
    for fault in faults:
        below = replace(fault, path=(*path, *fault.path)) if details["type"] == FAULTS else fault
        yield below.as_written(marks.written(below.path), field) if isinstance(below, Misfit) else below


def _fault(cls: type[BaseModel], details: ErrorDetails, field: str, marks: Marks) -> Fault:
    """An error of pydantic's own."""
    path: Path = tuple(details["loc"])
    context: Mapping[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            fields = _fields_at(cls, path[:-1])
            hint = f"known fields: {', '.join(fields)}" if len(fields) <= 12 else ""
            return Fault(path, f"unknown field {path[-1]}", hint, str(path[-1]), fields)
        case "missing":
            return Fault(path[:-1], f"no {path[-1]}", f"{'.'.join(map(str, path))} is required")
        case "literal_error":
            written = marks.written(path) or str(details["input"])
            words = [
                word for word in str(context["expected"]).replace(" or ", ", ").replace("'", "").split(", ") if word
            ]
            return Fault(path, f"{field}: unknown value {written}", f"one of {', '.join(words)}", written, words)
        case "too_short":
            return Fault(path, f"{field} must not be empty")
        case "greater_than_equal":
            return Misfit(path, f"a number from {context['ge']} on", value=details["input"])
        case kind if kind in _EXPECTED:
            return Misfit(path, _EXPECTED[kind], value=details["input"])
    message = details["msg"].removeprefix("Value error, ")
    return Fault(path, f"{field}: {message[:1].lower()}{message[1:]}" if field else message)


def _fields_at(cls: type[BaseModel], path: Path) -> list[str]:
    """The fields that a model has at a path below a resource class; empty where that is no model."""
    here: type[BaseModel] | None = cls
    for step in path:
        if isinstance(step, int) or here is None:
            continue
        info = here.model_fields.get(step)
        here = model_in(info.annotation) if info is not None else here
    return list(here.model_fields) if here is not None else []


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside Optional[...], tuple[..., ...], dict[str, ...] and Annotated[...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := model_in(inner)) is not None), None)
