"""Kubernetes manifests as a source of policy: an index that a watch keeps fresh, and what it declares.

Knows no Kubernetes client: whoever watches puts manifests in and takes them out. A manifest has no lines, so what is
wrong with it is told with the path of the field, and its place is `KIND/NAME`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from teleport.core.errors import Problem
from teleport.resources.custom_kinds import CustomKind, custom_kind, to_document
from teleport.resources.faults import one_line
from teleport.resources.kinds import AnyResource
from teleport.resources.load import Loaded, parse
from teleport.resources.model import Origin
from teleport.resources.yaml_reader import MAX_DEPTH, MAX_DOCUMENT, MAX_NODES, Marks

__all__ = ["Manifests", "place_of"]

Manifest = Mapping[str, Any]
Place = str

_NO_FILE_FIELDS: Final = frozenset({"kind", "version", "sub_kind"})


def place_of(manifest: Manifest) -> Place:
    """What a manifest is called where a file would be named: `TeleportRoleV7/dev`."""
    return f"{manifest.get('kind')}/{(manifest.get('metadata') or {}).get('name')}"


@dataclass(frozen=True)
class _Read:
    """What one manifest came to, kept as long as it does not change."""

    version: str
    loaded: Loaded


class Manifests:
    """The manifests of one source. Reads each only once for each of its versions."""

    kind = "kubernetes"

    def __init__(self, name: str, place: str) -> None:
        self.name, self.place = name, place
        self._manifests: dict[Place, Manifest] = {}
        self._read: dict[Place, _Read] = {}

    def put(self, manifest: Manifest) -> bool:
        """Note how a manifest is now. False if nothing changed that matters here: its status, for example."""
        place = place_of(manifest)
        before = self._manifests.get(place)
        self._manifests[place] = manifest
        return before is None or _version(before) != _version(manifest)

    def remove(self, manifest: Manifest) -> bool:
        """Note that a manifest is gone. False if it was not known."""
        return self._manifests.pop(place_of(manifest), None) is not None

    def forget(self, kind: str) -> None:
        """Take out every manifest of a kind: its definition is gone."""
        for place in [place for place in self._manifests if place.startswith(f"{kind}/")]:
            del self._manifests[place]

    def __iter__(self) -> Iterator[Manifest]:
        return iter([self._manifests[place] for place in sorted(self._manifests)])

    async def load(self) -> Loaded:
        """What they declare together, and everything wrong with them."""
        fresh: dict[Place, _Read] = {}
        for place, manifest in sorted(self._manifests.items(), key=_age):
            known, version = self._read.get(place), _version(manifest)
            if known is None or known.version != version:
                known = _Read(version, _loaded(manifest, place, self.name))
            fresh[place] = known
        self._read = fresh
        return _together([one.loaded for one in fresh.values()])


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


def _together(parts: Sequence[Loaded]) -> Loaded:
    """All of them. What two manifests declare is a fault of the second."""
    resources: list[AnyResource] = []
    problems: list[Problem] = [problem for part in parts for problem in part.problems]
    remnants: list[AnyResource] = [one for part in parts for one in part.remnants]
    first: dict[tuple[str, str], str] = {}
    for resource in (one for part in parts for one in part.resources):
        earlier = first.setdefault((resource.kind, resource.name), resource.origin.file)
        if earlier == resource.origin.file:
            resources.append(resource)
        else:
            hint = f"{earlier} declares it too; keep one of them"
            problems.append(Problem(resource.origin.file, 0, 0, f"{resource.ref} is declared twice", hint))
            remnants.append(resource)
    broken = [one for part in parts for one in part.broken]
    return Loaded(tuple(resources), tuple(sorted(problems)), tuple(broken), tuple(remnants))


def _loaded(manifest: Manifest, place: Place, source: str) -> Loaded:
    kind = custom_kind(str(manifest.get("kind")))
    if kind is None:
        return Loaded(problems=(Problem(place, 0, 0, "no kind that this version knows"),))
    document = to_document(manifest)
    excess = _excess(document)
    if excess:
        return Loaded(problems=(Problem(place, 0, 0, excess),), broken=_named(kind, document))
    marks, paths = _marked(document)
    resource, problems = parse(document, marks, file=place, source=source)
    found = tuple(_with_path(one, paths, kind) for one in problems)
    if not found:
        assert resource is not None
        return Loaded((_placed(resource),))
    remnants = () if resource is None else (_placed(resource),)
    return Loaded(problems=found, broken=_named(kind, document), remnants=remnants)


def _named(kind: CustomKind, document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    name = document["metadata"].get("name")
    return ((kind.resource, name),) if isinstance(name, str) else ()


def _placed(resource: AnyResource) -> AnyResource:
    """Without lines, which manifests do not have."""
    origin = resource.origin
    return resource.with_origin(Origin(source=origin.source, file=origin.file))


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
