"""Kubernetes manifests as a source of policy: all of one namespace, and what they declare.

Knows no Kubernetes client: whoever watches brings them. A manifest has no lines, so what is wrong with it is told with
the path of the field, and its file is `kubernetes:NAMESPACE/KIND/NAME`.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from teleport.core.errors import BadInput, Problem
from teleport.gitops.order import Ref
from teleport.gitops.partial import ChangeSet
from teleport.resources.admission import TOP
from teleport.resources.custom_kinds import CustomKind, custom_kind, says, to_document
from teleport.resources.faults import one_line
from teleport.resources.kinds import AnyResource
from teleport.resources.load import Loaded, collection_paused, parse
from teleport.resources.model import Origin
from teleport.resources.wishes import IGNORE
from teleport.resources.yaml_reader import MAX_DEPTH, MAX_DOCUMENT, MAX_NODES, Marks

__all__ = ["CHANGE_SET", "Declared", "Manifests", "place_of"]

Manifest = Mapping[str, Any]
Place = str

CHANGE_SET: Final = "teleport.dev/change-set"
"""The annotation of objects that come into force together: `NAME/COUNT`."""
_CHANGE_SET: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})/([1-9][0-9]{0,3})", re.ASCII)
_NO_FILE_FIELDS: Final = frozenset({"kind", "version", "sub_kind"})


def place_of(manifest: Manifest) -> Place:
    """What a manifest is called within its namespace: `TeleportRoleV7/dev`."""
    return f"{manifest.get('kind')}/{(manifest.get('metadata') or {}).get('name')}"


@dataclass(frozen=True)
class Declared(Loaded):
    """What a namespace declares."""

    refs: Mapping[str, Ref] = field(default_factory=dict)
    """By file, what each manifest declares or would. One that is not known at all stands for itself."""
    sets: Mapping[Ref, ChangeSet] = field(default_factory=dict)
    ignored: frozenset[Ref] = frozenset()
    """What is to be left as it is, by an annotation; not all of it can be read."""
    withheld: frozenset[str] = frozenset()
    """Kinds of manifests that cannot be seen at the moment."""


@dataclass(frozen=True)
class _Read:
    """What one manifest came to, kept as long as it does not change."""

    version: str
    loaded: Loaded
    ref: Ref
    set: ChangeSet | None = None
    ignored: bool = False


class Manifests:
    """The manifests of one source. Reads each only once for each of its versions."""

    kind = "kubernetes"

    def __init__(self, name: str, namespace: str) -> None:
        self.name, self.namespace, self.place = name, namespace, f"kubernetes:{namespace}"
        self._manifests: dict[Place, Manifest] = {}
        self._withheld: frozenset[str] = frozenset()
        self._refused: dict[Place, str] = {}
        self._read: dict[Place, _Read] = {}

    def take(
        self, manifests: Iterable[Manifest], withheld: Iterable[str] = (), refused: Mapping[Place, str] | None = None
    ) -> None:
        """All there are now, in place of what there was. Raises BadInput for what is no manifest of this namespace.

        `withheld` are kinds that cannot be seen; `refused` says why manifests lack something that they refer to.
        """
        taken = {self._place(one): one for one in manifests}
        self._manifests, self._withheld, self._refused = taken, frozenset(withheld), dict(refused or {})

    def _place(self, manifest: Manifest) -> Place:
        kind, metadata = manifest.get("kind"), manifest.get("metadata")
        name = metadata.get("name") if isinstance(metadata, Mapping) else None
        if not (isinstance(kind, str) and isinstance(name, str) and isinstance(metadata, Mapping)):
            raise BadInput("a manifest has a kind and a name")
        if metadata.get("namespace") != self.namespace:
            raise BadInput(f"{kind}/{name} is not in the namespace {self.namespace}")
        return f"{kind}/{name}"

    def file_of(self, place: Place) -> str:
        """How `KIND/NAME` is called where a file would be named."""
        return f"{self.place}/{place}"

    def __iter__(self) -> Iterator[Manifest]:
        return iter([self._manifests[place] for place in sorted(self._manifests)])

    async def load(self) -> Declared:
        """What they declare together, and everything wrong with them."""
        manifests = sorted(self._manifests.items(), key=_age)
        return await asyncio.to_thread(self._load, manifests, self._withheld, self._refused)

    def _load(
        self, manifests: Sequence[tuple[Place, Manifest]], withheld: frozenset[str], refused: Mapping[Place, str]
    ) -> Declared:
        fresh: dict[str, _Read] = {}
        with collection_paused():
            for place, manifest in manifests:
                file, version = self.file_of(place), _version(manifest)
                known = self._read.get(file)
                if known is None or known.version != version:
                    known = _read(manifest, file, self.name, version)
                fresh[file] = known
        self._read = fresh
        lacking = {
            file: replace(fresh[file], loaded=_lacking(fresh[file], file, reason))
            for place, reason in refused.items() if (file := self.file_of(place)) in fresh
        }  # fmt: skip
        return replace(_together(fresh | lacking), withheld=withheld)


def _age(item: tuple[Place, Manifest]) -> tuple[str, Place]:
    """The oldest first: of two that declare the same, the one that was there keeps it."""
    place, manifest = item
    return str((manifest.get("metadata") or {}).get("creationTimestamp", "")), place


def _version(manifest: Manifest) -> str:
    """What differs whenever something differs that is declared."""
    metadata = manifest.get("metadata") or {}
    return repr(
        [metadata.get(key) for key in ("uid", "generation", "labels", "annotations", "deletionTimestamp", "finalizers")]
        + [manifest.get("apiVersion")]
        + ([] if metadata.get("generation") else [manifest.get("spec")])
    )


def _together(reads: Mapping[str, _Read]) -> Declared:
    """All of them. What two manifests declare is a fault of the second, which then stands for itself."""
    resources: list[AnyResource] = []
    problems: list[Problem] = [problem for one in reads.values() for problem in one.loaded.problems]
    remnants: list[AnyResource] = [one for read in reads.values() for one in read.loaded.remnants]
    refs: dict[str, Ref] = {}
    first: dict[Ref, str] = {}
    for file, read in reads.items():
        earlier = first.setdefault(read.ref, file)
        refs[file] = read.ref if earlier == file else _itself(file)
        if earlier == file:
            resources += read.loaded.resources
            continue
        hint = f"{earlier} declares it too; keep one of them"
        problems.append(Problem(file, 0, 0, f"{'/'.join(read.ref)} is declared twice", hint))
        remnants += read.loaded.resources
    kept = {refs[file]: read for file, read in reads.items()}
    return Declared(
        tuple(resources), tuple(sorted(problems)),
        tuple(one for read in reads.values() for one in read.loaded.broken), tuple(remnants),
        refs=refs, sets={ref: read.set for ref, read in kept.items() if read.set is not None},
        ignored=frozenset(ref for ref, read in kept.items() if read.ignored),
    )  # fmt: skip


def _lacking(read: _Read, file: str, reason: str) -> Loaded:
    """A manifest that cannot be what it says, since something is not there that it refers to."""
    loaded = read.loaded
    problems = (*loaded.problems, Problem(file, 0, 0, one_line(reason)))
    return Loaded(problems=problems, broken=(read.ref,), remnants=(*loaded.remnants, *loaded.resources))


def _itself(file: str) -> Ref:
    kind, _, name = file.partition("/")[2].partition("/")
    return kind, name


def _read(manifest: Manifest, file: str, source: str, version: str) -> _Read:
    name, kind = manifest["metadata"]["name"], custom_kind(manifest["kind"])
    ref = (kind.resource, kind.cls.singleton or name) if kind is not None else _itself(file)
    loaded, ignored = _loaded(manifest, file, source), says(manifest, IGNORE)
    if ignored and loaded.problems:
        return _Read(version, Loaded(), ref, ignored=True)
    try:
        return _Read(version, loaded, ref, _change_set(manifest), ignored)
    except ValueError as error:
        problem = Problem(file, 0, 0, f"metadata.annotations: {error}", f"write {CHANGE_SET}: NAME/COUNT")
        remnants = (*loaded.remnants, *loaded.resources)
        return _Read(version, Loaded(problems=(*loaded.problems, problem), broken=(ref,), remnants=remnants), ref)


def _change_set(manifest: Manifest) -> ChangeSet | None:
    """To which change set an object belongs. Raises ValueError."""
    annotations = manifest["metadata"].get("annotations")
    text = annotations.get(CHANGE_SET) if isinstance(annotations, Mapping) else None
    if text is None:
        return None
    match = _CHANGE_SET.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{one_line(str(text))[:100]} is no change set")
    return ChangeSet(match[1], int(match[2]))


def _loaded(manifest: Manifest, place: Place, source: str) -> Loaded:
    kind = custom_kind(manifest["kind"])
    if kind is None:
        return Loaded(problems=(Problem(place, 0, 0, "no kind that this version knows"),))
    document = to_document(manifest)
    fault = _excess(document) or _stray(manifest)
    if fault:
        return Loaded(problems=(Problem(place, 0, 0, fault),), broken=_named(kind, document))
    marks, paths = _marked(document)
    resource, problems = parse(document, marks, file=place, source=source)
    found = tuple(_with_path(one, paths, kind) for one in problems)
    if not found:
        assert resource is not None
        return Loaded((_placed(resource, manifest),))
    remnants = () if resource is None else (_placed(resource, manifest),)
    return Loaded(problems=found, broken=_named(kind, document), remnants=remnants)


def _named(kind: CustomKind, document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    name = document["metadata"].get("name")
    return ((kind.resource, name),) if isinstance(name, str) else ()


def _placed(resource: AnyResource, manifest: Manifest) -> AnyResource:
    """Without lines, which manifests do not have; with their generation, which is what they have of a commit."""
    origin, generation = resource.origin, manifest["metadata"].get("generation")
    commit = f"generation-{generation}" if isinstance(generation, int) else ""
    return resource.with_origin(Origin(source=origin.source, file=origin.file, commit=commit))


def _stray(manifest: Manifest) -> str:
    """What stands beside `spec` and is read by nobody: most likely it was meant to stand below."""
    return "".join(f"unknown field {one_line(key)[:100]} beside spec" for key in sorted(manifest.keys() - TOP)[:1])


def _excess(document: Mapping[str, Any]) -> str:
    """Why a document is too big or too deep to be read: the bounds are those of files."""
    nodes = characters = 0
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        if not level:
            return ""
        nodes += len(level)
        characters += sum(len(one) for one in level if isinstance(one, str))
        if nodes > MAX_NODES or characters > MAX_DOCUMENT:
            return f"more than {MAX_NODES} values or {MAX_DOCUMENT} characters"
        level = [below for one in level for below in _below(one)]
    return f"nested deeper than {MAX_DEPTH} levels"


def _below(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _marked(document: Mapping[str, Any]) -> tuple[Marks, list[str]]:
    """Marks whose line is the position of a path in a list, so that a problem's line tells its path."""
    paths = [""]

    def mark(value: Any, path: str) -> Marks:
        here = Marks(len(paths), 1)
        paths.append(path)
        steps = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        for step, below in steps:
            name = f"{path}[{step}]" if isinstance(step, int) else f"{path}.{step}" if path else str(step)
            here.items[step] = found = mark(below, name)
            here.keys[step] = (found.line, 1)
        return here

    return mark(document, ""), paths


def _with_path(problem: Problem, paths: Sequence[str], kind: CustomKind) -> Problem:
    path = paths[problem.line] if problem.line < len(paths) else ""
    if path in _NO_FILE_FIELDS:
        path = "spec.version" if kind.says_version and path == "version" else ""
    said = problem.message.startswith(f"{path}: ")
    message = one_line(f"{path}: {problem.message}") if path and not said else problem.message
    return replace(problem, line=0, column=0, message=message)
