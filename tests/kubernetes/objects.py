"""What an API server keeps: objects of any kind, one counter of revisions, and a log that watches are served from.

Follows Kubernetes' "API Concepts" and "API conventions" for resourceVersion, generation, the status subresource,
finalizers, patches and expired watches. Schemas are not looked at, but for which lists are merged by key.
"""

import asyncio
import copy
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jsonpatch

__all__ = ["Change", "Failure", "Key", "Kind", "Objects"]

Object = dict[str, Any]


class Failure(Exception):
    """An answer that is a `Status`."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason

    def status(self) -> Object:
        return {
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": self.code,
            "reason": self.reason, "message": str(self),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind that is served; `stored` is the version that objects are kept in."""

    group: str
    plural: str
    kind: str
    versions: tuple[str, ...]
    stored: str
    namespaced: bool = True
    has_status: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    merged_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Path of a list to the keys that its entries are told apart by."""

    @classmethod
    def of_definition(cls, definition: Mapping[str, Any]) -> "Kind":
        """The kind that a CustomResourceDefinition defines."""
        spec = definition["spec"]
        names, versions = spec["names"], spec["versions"]
        stored = next(one for one in versions if one["storage"])
        schema = stored.get("schema", {}).get("openAPIV3Schema", {})
        return cls(
            spec["group"], names["plural"], names["kind"], tuple(one["name"] for one in versions if one["served"]),
            stored["name"], spec["scope"] == "Namespaced", "status" in stored.get("subresources", {}),
            tuple(names.get("shortNames", ())), tuple(names.get("categories", ())),
            dict(_merged_by(schema)),
        )  # fmt: skip


def _merged_by(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    if "x-kubernetes-list-map-keys" in schema:
        yield path, tuple(schema["x-kubernetes-list-map-keys"])
    for name, one in schema.get("properties", {}).items():
        yield from _merged_by(one, f"{path}.{name}" if path else name)


@dataclass(frozen=True)
class Key:
    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True)
class Change:
    """One entry of the log."""

    revision: int
    type: str
    key: Key
    object: Object


class Objects:
    """All objects. Every write has a revision of its own, wakes who watches, and may be refused with a Failure."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._kept: dict[Key, Object] = {}
        self._applied: dict[tuple[Key, str, str], Object] = {}
        self._log: list[Change] = []
        self._compacted = 0
        self.revision = 1
        self._changed = asyncio.Condition()

    # -- reading

    def get(self, key: Key) -> Object:
        found = self._kept.get(key)
        if found is None:
            raise Failure(404, "NotFound", f'{key.kind.plural}.{key.kind.group} "{key.name}" not found')
        return copy.deepcopy(found)

    def all_of(self, kind: Kind, namespace: str = "") -> list[Object]:
        return [
            copy.deepcopy(one)
            for key, one in sorted(self._kept.items(), key=lambda item: (item[0].namespace, item[0].name))
            if key.kind == kind and namespace in ("", key.namespace)
        ]

    def since(self, kind: Kind, namespace: str, revision: int) -> list[Change]:
        """What changed after a revision. Raises 410 for what is not remembered any more."""
        if revision < self._compacted:
            raise Failure(410, "Expired", f"too old resource version: {revision} ({self._compacted})")
        return [
            one for one in self._log
            if one.revision > revision and one.key.kind == kind and namespace in ("", one.key.namespace)
        ]  # fmt: skip

    async def wait_after(self, revision: int) -> None:
        """Until something has changed since a revision."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.revision > revision)

    def compact(self) -> None:
        """Forget the log: watches that begin before now have to list again."""
        self._compacted = self.revision = self.revision + 1
        self._log.clear()

    # -- writing

    async def create(self, key: Key, body: Object) -> Object:
        if key in self._kept:
            raise Failure(409, "AlreadyExists", f'{key.kind.plural}.{key.kind.group} "{key.name}" already exists')
        made = copy.deepcopy(body)
        made.pop("status", None) if key.kind.has_status else None
        metadata = made.setdefault("metadata", {})
        metadata |= {
            "name": key.name, "uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": self._moment()
        }  # fmt: skip
        metadata |= {"namespace": key.namespace} if key.namespace else {}
        metadata.pop("generateName", None)
        return await self._write("ADDED", key, made)

    async def replace(self, key: Key, body: Object, subresource: str = "") -> Object:
        return await self._update(key, body, subresource)

    async def patch(self, key: Key, patch: Any, *, how: str, subresource: str = "", manager: str = "") -> Object:
        """`how` is the media type of the patch, without `application/`."""
        if how == "apply-patch+yaml":
            return await self._apply(key, patch, subresource, manager)
        before = self.get(key)
        if how == "json-patch+json":
            try:
                after = jsonpatch.apply_patch(before, patch)
            except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
                raise Failure(422, "Invalid", str(error)) from None
        else:
            after = _merged(before, patch)
        return await self._update(key, after, subresource)

    async def delete(self, key: Key) -> Object:
        found = self.get(key)
        if found["metadata"].get("finalizers"):
            if not found["metadata"].get("deletionTimestamp"):
                found["metadata"] |= {"deletionTimestamp": self._moment(), "deletionGracePeriodSeconds": 0}
                await self._write("MODIFIED", key, found)
            return found
        return await self._remove(key)

    async def forget_kind(self, kind: Kind) -> None:
        """What becomes of the objects of a kind whose definition is deleted."""
        for key in [key for key in self._kept if key.kind == kind]:
            await self._remove(key)

    async def forget_namespace(self, namespace: str) -> None:
        for key in [key for key in self._kept if key.namespace == namespace]:
            await self._remove(key)

    async def _update(self, key: Key, body: Object, subresource: str) -> Object:
        before, after = self.get(key), copy.deepcopy(body)
        told = after.get("metadata", {}).get("resourceVersion")
        if told and told != before["metadata"]["resourceVersion"]:
            raise Failure(
                409, "Conflict", f'Operation cannot be fulfilled on {key.kind.plural} "{key.name}": the object has '
                "been modified; please apply your changes to the latest version and try again",
            )  # fmt: skip
        if subresource == "status":
            after = {**copy.deepcopy(before), "status": after.get("status", {})}
        elif key.kind.has_status:
            after.pop("status", None)
            after |= {"status": before["status"]} if "status" in before else {}
        metadata = after.setdefault("metadata", {})
        for name in ("name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp"):
            metadata.pop(name, None)
            if name in before["metadata"]:
                metadata[name] = before["metadata"][name]
        if _declared(before) != _declared(after):
            metadata["generation"] += 1
        if _without_revision(before) == _without_revision(after):
            return before
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            return await self._remove(key)
        return await self._write("MODIFIED", key, after)

    async def _apply(self, key: Key, config: Object, subresource: str, manager: str) -> Object:
        """Server-side apply for one field manager: what it applied before and no longer says, goes."""
        if key not in self._kept and not subresource:
            created = await self.create(key, config)
            self._applied[key, manager, subresource] = copy.deepcopy(config)
            return created
        before = self.get(key)
        last = self._applied.get((key, manager, subresource), {})
        part = {name: value for name, value in config.items() if name not in ("apiVersion", "kind", "metadata")}
        old = {name: value for name, value in last.items() if name not in ("apiVersion", "kind", "metadata")}
        after = _apply_onto(before, old, part, key.kind.merged_by, "")
        if not subresource:
            for name in ("labels", "annotations", "finalizers"):
                mine, was = config.get("metadata", {}).get(name), last.get("metadata", {}).get(name)
                if mine is not None or was is not None:
                    after["metadata"] = _apply_onto(
                        after["metadata"], {name: was} if was else {}, {name: mine} if mine else {}, {}, ""
                    )
        self._applied[key, manager, subresource] = copy.deepcopy(config)
        return await self._update(key, after, subresource)

    async def _write(self, type_: str, key: Key, body: Object) -> Object:
        async with self._changed:
            self.revision += 1
            body["metadata"]["resourceVersion"] = str(self.revision)
            self._kept[key] = body
            self._log.append(Change(self.revision, type_, key, copy.deepcopy(body)))
            self._changed.notify_all()
        return copy.deepcopy(body)

    async def _remove(self, key: Key) -> Object:
        async with self._changed:
            self.revision += 1
            body = self._kept.pop(key)
            body["metadata"]["resourceVersion"] = str(self.revision)
            self._log.append(Change(self.revision, "DELETED", key, body))
            self._changed.notify_all()
        return copy.deepcopy(body)

    def _moment(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _declared(body: Object) -> str:
    return json.dumps({key: body[key] for key in sorted(body) if key not in ("metadata", "status", "apiVersion")})


def _without_revision(body: Object) -> Object:
    metadata = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
    return {**body, "metadata": metadata}


def _merged(before: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386)."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    after = copy.deepcopy(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = _merged(after.get(key), value)
    return after


def _apply_onto(now: Any, old: Any, new: Any, by: Mapping[str, tuple[str, ...]], path: str) -> Any:
    """What a manager says, put onto what is there; what it said before and says no longer, taken away."""
    if isinstance(new, Mapping):
        here = dict(now) if isinstance(now, Mapping) else {}
        was = old if isinstance(old, Mapping) else {}
        for key in was.keys() - new.keys():
            here.pop(key, None)
        return here | {
            key: _apply_onto(here.get(key), was.get(key), value, by, f"{path}.{key}" if path else key)
            for key, value in new.items()
        }
    keys = by.get(path)
    if keys and isinstance(new, list):

        def told(entries: Any) -> dict[tuple[Any, ...], Any]:
            return {tuple(one.get(key) for key in keys): one for one in entries or []}

        mine, was_mine, there = told(new), told(old), told(now)
        kept = {key: one for key, one in there.items() if key in mine or key not in was_mine}
        return [*({**kept, **mine}).values()]
    return copy.deepcopy(new)
