"""From documents to resources: every fault of every document, each with file, line, column and a suggestion.

Pure: takes bytes and a file name, reads no files. Whether roles exist and expressions parse is judged by
`access`, over the whole set.
"""

import gc
import hashlib
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from teleport.core.errors import Problem
from teleport.resources.faults import FAULTS
from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.model import Origin
from teleport.resources.nouns import nearest
from teleport.resources.yaml_reader import Marks, Path, read

__all__ = ["Loaded", "Loader", "explain", "load", "parse"]

_KIND_NAMES: Mapping[str, type[AnyResource]] = {
    name: cls for cls in KINDS.values() for name in (cls.kind, *cls.aliases)
}


@dataclass(frozen=True)
class Loaded:
    """What a set of files declares, and everything that is wrong with them."""

    resources: tuple[AnyResource, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass
class Loader:
    """Loads files, remembering each by the hash of its content, so that a big folder reloads in no time."""

    source: str = ""
    _seen: dict[tuple[str, bytes], Loaded] = field(default_factory=dict)

    def load(self, files: Iterable[tuple[str, bytes]]) -> Loaded:
        """All files of one set. What is declared twice is a fault of the later declaration."""
        with _collection_paused():
            return self._load(files)

    def _load(self, files: Iterable[tuple[str, bytes]]) -> Loaded:
        fresh: dict[tuple[str, bytes], Loaded] = {}
        resources: list[AnyResource] = []
        problems: list[Problem] = []
        first: dict[tuple[str, str], Origin] = {}
        for name, data in files:
            key = (name, hashlib.sha256(data).digest())
            loaded = fresh[key] = self._seen.get(key) or load(data, file=name, source=self.source)
            problems += loaded.problems
            for resource in loaded.resources:
                earlier = first.setdefault((resource.kind, resource.name), resource.origin)
                if earlier is resource.origin:
                    resources.append(resource)
                else:
                    line, column = resource.origin.at("metadata", "name")
                    problems.append(
                        Problem(
                            name, line, column, f"{resource.ref} is declared twice",
                            f"first at {earlier.file}:{earlier.line}",
                        )
                    )  # fmt: skip
        self._seen = fresh
        return Loaded(tuple(resources), tuple(problems))


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Without the cycle collector: a big set is millions of new values and no garbage (measured: twice as fast)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load(data: bytes, *, file: str, source: str = "") -> Loaded:
    """The resources of one file, and its faults."""
    documents, faults = read(data, file=file)
    resources: list[AnyResource] = []
    problems = list(faults)
    for document in documents:
        problems += document.problems
        if document.value is None:
            continue
        resource, found = parse(document.value, document.marks, file=file, source=source)
        problems += found
        if resource is not None and not document.problems:
            resources.append(resource)
    return Loaded(tuple(resources), tuple(problems))


def parse(value: Any, marks: Marks, *, file: str, source: str = "") -> tuple[AnyResource | None, list[Problem]]:
    """One document as a resource of its kind, or what is wrong with it."""

    def problem(path: Path, message: str, hint: str = "", *, key: bool = False) -> Problem:
        line, column = marks.find(path, key=key)
        return Problem(file, line, column, message, hint)

    if not isinstance(value, dict):
        return None, [problem((), "a resource is a mapping with kind, version, metadata and spec")]
    word = value.get("kind")
    cls = _KIND_NAMES.get(word) if isinstance(word, str) else None
    if cls is None:
        if word is None:
            return None, [problem((), "no kind", f"one of {', '.join(KINDS)}")]
        likely = nearest(str(word), _KIND_NAMES)
        hint = f"did you mean {likely}?" if likely else f"one of {', '.join(KINDS)}"
        return None, [problem(("kind",), f"unknown kind {word}", hint)]
    problems = [problem(path, message, hint) for path, message, hint in _envelope(cls, value)]
    body = {key: item for key, item in value.items() if key != "kind"}
    if "status" in body:
        problems.append(problem(("status",), "status is written by the cluster, not in files", "remove it", key=True))
        del body["status"]
    if cls.singleton:
        body = _with_singleton_name(cls, body)
    try:
        resource = cls.model_validate(body, context={"version": body.get("version", "")})
    except ValidationError as error:
        reported = {("version",), ("sub_kind",)} if problems else set()
        problems += explain(cls, error, marks, file=file, skip=reported)
        return None, problems
    if problems:
        return None, problems
    origin = Origin(source=source, file=file, line=marks.line, marks=_kept_marks(cls, marks))
    return resource.with_origin(origin), []


def explain(
    cls: type[BaseModel], error: ValidationError, marks: Marks, *, file: str, skip: Collection[Path] = ()
) -> list[Problem]:
    """Everything a model found wrong with a document, each fault with its place."""

    def problem(path: Path, message: str, hint: str = "", *, key: bool = False) -> Problem:
        line, column = marks.find(path, key=key)
        return Problem(file, line, column, message, hint)

    found: list[Problem] = []
    for details in error.errors(include_url=False):
        if details["loc"] not in skip:
            found += _explain(cls, details, problem)
    return found


def _envelope(cls: type[AnyResource], value: Mapping[str, Any]) -> Iterable[tuple[Path, str, str]]:
    version = value.get("version")
    accepted = ", ".join(cls.versions)
    if version is None:
        yield (), f"no version; a {cls.kind} needs one", f"one of {accepted}"
    elif version not in cls.versions:
        yield ("version",), f"unknown version {version} of {cls.kind}", f"one of {accepted}"
    sub_kind = value.get("sub_kind")
    if sub_kind and sub_kind not in cls.sub_kinds:
        known = ", ".join(cls.sub_kinds) or "none"
        yield ("sub_kind",), f"unknown sub_kind {sub_kind} of {cls.kind}", f"known: {known}"
    if cls.singleton and isinstance(value.get("metadata"), dict):
        name = value["metadata"].get("name", cls.singleton)
        if name != cls.singleton:
            yield (
                ("metadata", "name"),
                f"there is only one {cls.kind}",
                f"name it {cls.singleton}, or leave the name out",
            )


def _with_singleton_name(cls: type[AnyResource], body: dict[str, Any]) -> dict[str, Any]:
    metadata = body.get("metadata", {})
    if isinstance(metadata, dict) and "name" not in metadata:
        return {**body, "metadata": {**metadata, "name": cls.singleton}}
    return body


def _kept_marks(cls: type[AnyResource], marks: Marks) -> dict[str, tuple[int, int]]:
    """The marks worth keeping: what decisions and later judgements point at."""
    kept = {"metadata.name": marks.find(("metadata", "name")), "spec": marks.find(("spec",), key=True)}
    spec = marks.items.get("spec")
    if spec is not None:
        _collect(spec, "spec", 4 if cls.kind == "role" else 2, kept)
    return kept


def _collect(marks: Marks, path: str, depth: int, kept: dict[str, tuple[int, int]]) -> None:
    for step, below in marks.items.items():
        here = f"{path}.{step}"
        kept[here] = marks.keys.get(step, (below.line, below.column))
        if depth > 1 and below.items:
            _collect(below, here, depth - 1, kept)


def _explain(cls: type[BaseModel], details: ErrorDetails, problem: Any) -> list[Problem]:
    """One pydantic error in our words; an error that carries several faults becomes as many problems."""
    loc: Path = tuple(details["loc"])
    kind = details["type"]
    context: Mapping[str, Any] = details.get("ctx", {})
    if kind == FAULTS:
        return [problem((*loc, *fault.path), fault.message, fault.hint) for fault in context[FAULTS]]
    if kind == "extra_forbidden":
        fields = _fields_at(cls, loc[:-1])
        likely = nearest(str(loc[-1]), fields)
        hint = (
            f"did you mean {likely}?" if likely else f"known fields: {', '.join(fields)}" if len(fields) <= 12 else ""
        )
        return [problem(loc, f"unknown field {loc[-1]}", hint, key=True)]
    if kind == "missing":
        return [problem(loc[:-1], f"no {loc[-1]}", f"{'.'.join(map(str, loc))} is required")]
    where = f"{loc[-1]}: " if loc and isinstance(loc[-1], str) else f"{loc[-2]}: " if len(loc) > 1 else ""
    if kind == "literal_error":
        shown = details["input"]
        expected = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").strip(", ")
        words = [word for word in expected.split(", ") if word]
        likely = nearest(str(shown), words)
        hint = f"did you mean {likely}?" if likely else f"one of {', '.join(words)}"
        return [problem(loc, f"{where}unknown value {shown}", hint)]
    if kind in ("model_type", "dict_type", "mapping_type", "model_attributes_type"):
        return [problem(loc, f"{where}a mapping is expected here, found {_what(details['input'])}")]
    if kind in ("tuple_type", "list_type"):
        return [problem(loc, f"{where}a list is expected here, found {_what(details['input'])}")]
    if kind == "too_short":
        return [problem(loc, f"{where}must not be empty")]
    return [problem(loc, f"{where}{details['msg'][:1].lower()}{details['msg'][1:]}")]


def _what(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, Sequence) and not isinstance(value, str) else repr(value)


def _fields_at(cls: type[BaseModel], path: Path) -> list[str]:
    """The fields that a model has at a path below a resource class; empty where that is no model."""
    here: type[BaseModel] | None = cls
    for step in path:
        if here is None:
            return []
        if isinstance(step, int):
            continue
        info = here.model_fields.get(step)
        here = _model_in(info.annotation) if info is not None else None
    return list(here.model_fields) if here is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside Optional[...], tuple[..., ...], dict[str, ...] and Annotated[...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, tuple, list, dict) or get_args(annotation):
        for inner in get_args(annotation):
            found = _model_in(inner)
            if found is not None:
                return found
    return None
