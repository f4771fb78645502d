"""The Secrets that manifests refer to: read one by one, and only for those manifests whose names a Secret permits.

Nothing else in a namespace is read. A Secret that is known is watched, so that a rotated one counts at once, and so
does a permission that is taken back.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from teleport.core.aio import Clock
from teleport.resources.custom_kinds import custom_kind, secrets_of
from teleport.service.operator.kubernetes import KubernetesApi, KubernetesError

__all__ = ["ALLOW", "Found", "Secrets"]

log = logging.getLogger(__name__)

ALLOW: Final = "resources.teleport.dev/allow-lookup-from-cr"
"""The upstream's annotation on a Secret: names of manifests that may refer to it, or `*`."""
_AGAIN: Final = 10.0
"""Seconds after which a watch that failed begins anew."""
_LONGEST: Final = 1024

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """What manifests refer to."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By NAME/KEY, of what may be told."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """By `KIND/NAME` of a manifest, why it does not get what it refers to."""


class Secrets:
    """Of one namespace. `changed` is called when one of them is not as it was. Close it."""

    def __init__(self, api: KubernetesApi, namespace: str, *, clock: Clock, changed: Callable[[], None]) -> None:
        self._api, self._namespace, self._clock, self._changed = api, namespace, clock, changed
        self._known: dict[str, Manifest | str | None] = {}
        """By name, a Secret, or None if there is none, or why it cannot be read."""
        self._watches: dict[str, asyncio.Task[None]] = {}

    async def of(self, manifests: Iterable[Manifest]) -> Found:
        """What these manifests refer to. Raises KubernetesError if that cannot be found out now."""
        wanted = [
            (manifest, reference.secret.partition("/"))
            for manifest in manifests
            if custom_kind(manifest["kind"]) is not None
            for reference in secrets_of(manifest)
        ]
        await self._follow({name for _, (name, _, _) in wanted})
        values: dict[str, str] = {}
        refused: dict[str, str] = {}
        for manifest, (name, _, key) in wanted:
            value = _value(self._known[name], name, key, manifest["metadata"]["name"])
            if isinstance(value, _Refusal):
                refused[f"{manifest['kind']}/{manifest['metadata']['name']}"] = value.reason
            else:
                values[f"{name}/{key}"] = value
        return Found(values, refused)

    async def close(self) -> None:
        await self._follow(())

    async def _follow(self, names: Iterable[str]) -> None:
        """Know and watch these, and no others any more."""
        wanted = set(names)
        for name in self._watches.keys() - wanted:
            self._watches.pop(name).cancel()
            del self._known[name]
        for name in sorted(wanted - self._watches.keys()):
            self._known[name] = await self._read(name)
            self._watches[name] = asyncio.create_task(self._watch(name), name=f"secret {name}")

    async def _read(self, name: str) -> Manifest | str | None:
        try:
            return await self._api.secret(self._namespace, name)
        except KubernetesError as error:
            if error.answered != 403:
                raise
            return "the operator may not read it"

    async def _watch(self, name: str) -> None:
        while True:
            known = self._known[name]
            version = known["metadata"]["resourceVersion"] if isinstance(known, Mapping) else ""
            try:
                if version:
                    await self._api.wait_secret_changes(self._namespace, name, version)
                else:
                    await self._clock.sleep(_AGAIN)
                fresh = await self._read(name)
            except KubernetesError as error:
                log.warning("the Secret %s cannot be watched: %s", name, error)
                await self._clock.sleep(_AGAIN)
                continue
            except Exception as error:
                log.error("the Secret %s cannot be watched: this is a bug", name, exc_info=error)
                await self._clock.sleep(_AGAIN)
                continue
            if fresh != known:
                self._known[name] = fresh
                self._changed()


@dataclass(frozen=True)
class _Refusal:
    reason: str


def _value(secret: Manifest | str | None, name: str, key: str, manifest: str) -> str | _Refusal:
    """What a Secret holds for a manifest. That it holds nothing for anybody else is all that others learn."""
    if isinstance(secret, str):
        return _Refusal(f"the Secret {name}: {secret}")
    annotations = (secret or {}).get("metadata", {}).get("annotations") or {}
    allowed = [one.strip() for one in str(annotations.get(ALLOW, "")).split(",")]
    if secret is None or ("*" not in allowed and manifest not in allowed):
        return _Refusal(f"there is no Secret {name} whose annotation {ALLOW} names {manifest} or *")
    encoded = (secret.get("data") or {}).get(key)
    if not isinstance(encoded, str):
        return _Refusal(f"the Secret {name} has no key {key}")
    with suppress(binascii.Error, UnicodeDecodeError):
        text = base64.b64decode(encoded, validate=True).decode()
        if len(text) <= _LONGEST:
            return text
    return _Refusal(f"{key} of the Secret {name} is no text of at most {_LONGEST} characters")
