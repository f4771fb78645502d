"""From documents to resources: every fault of every document, each with file, line, column and a suggestion.

Pure: takes bytes and a file name, reads no files. Whether roles exist and expressions parse is judged by
`access`, over the whole set.
"""

import gc
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from teleport.core.errors import Problem
from teleport.resources.explain import explain
from teleport.resources.faults import Fault, describe, one_line
from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.model import Origin
from teleport.resources.nouns import nearest
from teleport.resources.salvage import salvaged
from teleport.resources.yaml_reader import Marks, read

__all__ = ["MAX_RESOURCES", "Loaded", "Loader", "collection_paused", "explain", "load", "parse"]

MAX_RESOURCES: Final = 120_000
"""Resources of one set, after which the rest of it is not looked at: some kilobytes each, a million would choke us."""
_MAX_PROBLEMS: Final = 1000
"""Problems of one file after which the rest of it is not looked at."""

_KIND_NAMES: Mapping[str, type[AnyResource]] = {
    name: cls for cls in KINDS.values() for name in (cls.kind, *cls.aliases)
}


@dataclass(frozen=True)
class Loaded:
    """What a set of files declares, and everything that is wrong with them."""

    resources: tuple[AnyResource, ...] = ()
    problems: tuple[Problem, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()
    """Kind and name of the documents that have problems, where they still tell: what refers to them is no fault."""
    remnants: tuple[AnyResource, ...] = ()
    """What is left of those documents without their faults: for the judge to find more in, and for nothing else."""
    commit: str = ""
    """Which commit all of it was read from, where there is one."""
    refusal: str = ""
    """In one word, why a source does not even look at what is declared; its problems say it in full."""


@dataclass
class Loader:
    """Loads files, remembering each by the hash of its content, so that a big folder reloads in no time."""

    source: str = ""
    _seen: dict[tuple[str, bytes], Loaded] = field(default_factory=dict)

    def load(self, files: Iterable[tuple[str, bytes]]) -> Loaded:
        """All files of one set. What is declared twice is a fault of the later declaration."""
        with collection_paused():
            return self._load(files)

    def _load(self, files: Iterable[tuple[str, bytes]]) -> Loaded:
        fresh: dict[tuple[str, bytes], Loaded] = {}
        resources: list[AnyResource] = []
        problems: list[Problem] = []
        broken: list[tuple[str, str]] = []
        remnants: list[AnyResource] = []
        first: dict[tuple[str, str], Origin] = {}
        for name, data in files:
            key = (name, hashlib.sha256(data).digest())
            loaded = fresh[key] = self._seen.get(key) or load(data, file=name, source=self.source)
            problems += loaded.problems
            broken += loaded.broken
            remnants += loaded.remnants
            for resource in loaded.resources:
                earlier = first.setdefault((resource.kind, resource.name), resource.origin)
                if earlier is resource.origin:
                    resources.append(resource)
                else:
                    problems.append(_declared_twice(resource, earlier))
                    remnants.append(resource)
            if len(resources) > MAX_RESOURCES:
                return Loaded(problems=(Problem(name, 0, 0, f"more than {MAX_RESOURCES} resources in one source"),))
        self._seen = fresh
        return Loaded(tuple(resources), tuple(problems), tuple(broken), tuple(remnants))


def _declared_twice(resource: AnyResource, earlier: Origin) -> Problem:
    line, column = resource.origin.at("metadata", "name")
    hint = f"first at {earlier.file}:{earlier.at('metadata', 'name')[0]}"
    return Problem(resource.origin.file, line, column, one_line(f"{resource.ref} is declared twice"), hint)


@contextmanager
def collection_paused() -> Iterator[None]:
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
    problems: list[Problem] = []
    broken: list[tuple[str, str]] = []
    remnants: list[AnyResource] = []
    for document in documents:
        if len(problems) >= _MAX_PROBLEMS:
            line, column = document.marks.line, document.marks.column
            problems.append(Problem(file, line, column, "from here on the file was not looked at"))
            break
        problems += document.problems
        if document.value is None:
            continue
        resource, found = parse(document.value, document.marks, file=file, source=source)
        problems += found
        if not found and not document.problems:
            assert resource is not None
            resources.append(resource)
        else:
            broken += _named(document.value)
            remnants += [resource] if resource is not None else []
    return Loaded(tuple(resources), tuple(sorted([*problems, *faults])), tuple(broken), tuple(remnants))


def _named(value: Any) -> Iterator[tuple[str, str]]:
    """Kind and name, as far as a broken document has them."""
    match value:
        case {"kind": str(word), "metadata": {"name": str(name)}} if word in _KIND_NAMES:
            yield _KIND_NAMES[word].kind, name


def parse(value: Any, marks: Marks, *, file: str, source: str = "") -> tuple[AnyResource | None, list[Problem]]:
    """One document as a resource of its kind, and what is wrong with it: then what is left of it, if anything."""
    cls = _KIND_NAMES.get(str(value.get("kind"))) if isinstance(value, dict) else None
    if cls is None:
        return None, [_problem(_no_kind(value), marks, file)]
    problems = [_problem(fault, marks, file) for fault in _envelope(cls, value)]
    body = {key: item for key, item in value.items() if key not in ("kind", "status")}
    if cls.singleton:
        body = _with_singleton_name(cls, body)
    try:
        resource = cls.model_validate(body, context={"version": body.get("version", "")})
    except ValidationError as error:
        reported = {("version",), ("sub_kind",)} if problems else set()
        problems += explain(cls, error, marks, file=file, skip=reported)
        remnant = salvaged(cls, body, marks, error)
        if remnant is None:
            return None, problems
        resource, marks = remnant
    origin = Origin(source=source, file=file, line=marks.line, marks=_kept_marks(cls, marks))
    return resource.with_origin(origin), problems


def _problem(fault: Fault, marks: Marks, file: str) -> Problem:
    line, column = marks.find(fault.path, key=fault.path == ("status",))
    return Problem(file, line, column, one_line(fault.message), one_line(fault.advice()))


def _no_kind(value: Any) -> Fault:
    """Why a document is none that we know."""
    known = ", ".join(KINDS)
    if not isinstance(value, dict):
        hint = "separate documents by a line with ---" if isinstance(value, list) else ""
        found = describe(value)
        return Fault((), f"a resource is a mapping with kind, version, metadata and spec; found {found}", hint)
    word = value.get("kind")
    if word is None:
        meant = next((key for key in islice(value, 10) if nearest(key, ["kind"])), None)
        return Fault((), "no kind", f"did you mean kind where {meant} is?" if meant else f"one of {known}")
    if str(value.get("apiVersion", "")).startswith("resources.teleport.dev/"):
        hint = f"in files, write kind (one of {known}) and version"
        return Fault(("kind",), f"{word} with apiVersion is the form for Kubernetes", hint)
    return Fault(("kind",), f"unknown kind {word}", f"one of {known}", str(word), tuple(_KIND_NAMES))


def _envelope(cls: type[AnyResource], value: Mapping[str, Any]) -> Iterator[Fault]:
    version, sub_kind, metadata = value.get("version"), value.get("sub_kind"), value.get("metadata")
    accepted = f"one of {', '.join(cls.versions)}"
    if version is None:
        yield Fault((), f"no version; a {cls.kind} needs one", accepted)
    elif version not in cls.versions:
        yield Fault(("version",), f"unknown version {version} of {cls.kind}", accepted, str(version), cls.versions)
    if sub_kind and sub_kind not in cls.sub_kinds:
        hint = f"one of {', '.join(cls.sub_kinds)}" if cls.sub_kinds else "remove it"
        yield Fault(("sub_kind",), f"unknown sub_kind {sub_kind} of {cls.kind}", hint, str(sub_kind), cls.sub_kinds)
    if "status" in value:
        yield Fault(("status",), "status is written by the cluster, not in files", "remove it")
    if cls.singleton and isinstance(metadata, dict) and metadata.get("name") not in (None, cls.singleton):
        hint = f"name it {cls.singleton}, or leave the name out"
        yield Fault(("metadata", "name"), f"there is only one {cls.kind}", hint)


def _with_singleton_name(cls: type[AnyResource], body: dict[str, Any]) -> dict[str, Any]:
    metadata = body.get("metadata") or {}
    if isinstance(metadata, dict) and metadata.get("name") is None:
        return {**body, "metadata": {**metadata, "name": cls.singleton}}
    return body


def _kept_marks(cls: type[AnyResource], marks: Marks) -> dict[str, tuple[int, int]]:
    """The marks worth keeping: what decisions and later judgements point at."""
    kept = {"metadata.name": marks.find(("metadata", "name")), "spec": marks.find(("spec",), key=True)}
    spec = marks.items.get("spec")
    if spec is not None:
        _collect(spec, "spec", 6 if cls.kind == "role" else 2, kept)
    return kept


def _collect(marks: Marks, path: str, depth: int, kept: dict[str, tuple[int, int]]) -> None:
    for step, below in marks.items.items():
        here = f"{path}.{step}"
        kept[here] = marks.keys[step] if below.items and step in marks.keys else (below.line, below.column)
        if depth > 1 and below.items:
            _collect(below, here, depth - 1, kept)
