"""Feeds one source: all its manifests whenever one changed, and what became of them into their statuses.

Level-triggered: what is lost with a connection or a process is made up for by the next feed. Changes that come close
together are one feed, so that a thousand manifests applied at once are not a thousand.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from teleport.api import models as m
from teleport.core.aio import Clock, utc
from teleport.core.errors import TeleportError
from teleport.resources.custom_kinds import CUSTOM_KINDS, GROUP, custom_kind
from teleport.service.operator.kubernetes import KubernetesApi, KubernetesError
from teleport.service.operator.secrets import Secrets
from teleport.service.operator.status import differs, status_of

__all__ = ["FINALIZER", "Feed", "Feeder"]

log = logging.getLogger(__name__)

FINALIZER: Final = "resources.teleport.dev/deletion"
"""Of the upstream's operator. Ownership is not kept in it here, so whatever bears it is released."""
_GATHER: Final = 0.1
"""Seconds of quiet before a feed, and the longest that a feed waits for quiet is ten times that."""
_AGAIN: Final = 300.0
"""Seconds after which everything is listed and fed anyway."""
_RETRIES: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
_RESTING: Final = 5.0
"""Seconds after which an operator that rests looks whether it is its turn."""
_REFUSED: Final = (403, 409, 422)
"""Answers that concern one object: whoever goes on asks again at the next pass."""
_AT_ONCE: Final = 8
"""Statuses that are written at the same time."""

Manifest = dict[str, Any]
Place = tuple[str, str]
Feed = Callable[[m.FeedRequest], Awaitable[m.FeedAnswer]]
Leads = Callable[[], Awaitable[bool]]


async def _alone() -> bool:
    return True


class Feeder:
    """One source. `note` and `forget` keep its manifests; `run` does the rest."""

    def __init__(
        self, source: m.FedSource, feed: Feed, api: KubernetesApi, *, clock: Clock, leads: Leads = _alone
    ) -> None:
        """`leads` says whether it is this operator's turn to feed, among several."""
        self.source, self._feed, self._api, self._clock, self._leads = source, feed, api, clock, leads
        self._manifests: dict[Place, Manifest] = {}
        self._heard: dict[Place, Manifest | None] | None = None
        """During a listing, what was noted (or is gone) since it began: newer than what the listing says."""
        self._suspect: set[str] = set()
        """Kinds of which something vanished that the auth service was not told of yet."""
        self._withheld: set[str] = set()
        self._listed = False
        self._changed = asyncio.Event()
        self._told: dict[Place, tuple[str, str]] = {}
        self._told_of_kept: dict[str, tuple[str, str]] = {}
        self._secrets = Secrets(api, source.namespace, clock=clock, changed=self._changed.set)
        self.fed = asyncio.Event()
        """Set after every feed that the auth service answered."""

    def note(self, manifest: Manifest) -> None:
        """How a manifest is now. A change of its status alone is no news."""
        place = (manifest["kind"], manifest["metadata"]["name"])
        before = self._manifests.get(place)
        self._manifests[place] = manifest
        if self._heard is not None:
            self._heard[place] = manifest
        if before is None or _declared(before) != _declared(manifest):
            self._changed.set()

    def forget(self, manifest: Manifest) -> None:
        """That a manifest is gone. News of an earlier one of its name is no news."""
        place = (manifest["kind"], manifest["metadata"]["name"])
        known = self._manifests.get(place)
        if known is None and self._heard is None:
            return
        if known is None or known["metadata"].get("uid") == manifest["metadata"].get("uid"):
            self._manifests.pop(place, None)
            if self._heard is not None:
                self._heard[place] = None
            self._told.pop(place, None)
            self._suspect.add(manifest["kind"])
            self._changed.set()

    def relist(self) -> None:
        """List everything before the next feed: the watch began anew, and what went meanwhile was not told of.

        It does after the API server has forgotten where the watch was, and when an operator takes over from another,
        whose watch rested until then.
        """
        self._listed = False
        self._changed.set()

    async def run(self) -> None:
        """Feed until cancelled."""
        try:
            await self._run()
        finally:
            await self.close()

    async def close(self) -> None:
        """Watch no Secret any more."""
        await self._secrets.close()

    async def _run(self) -> None:
        failures = 0
        pause = _AGAIN
        self.relist()
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                self.relist()
            try:
                await self._gathered()
                pause = _AGAIN if await self._turn() else _RESTING
                failures = 0
            except Exception as error:
                pause = _RETRIES[min(failures, len(_RETRIES) - 1)]
                failures += 1
                self._changed.clear()
                self._complain(error)

    async def _turn(self) -> bool:
        """Feed, if it is this operator's turn. Who rests lists everything when its turn has come."""
        if not await self._leads():
            self._changed.clear()
            self._listed = False
            return False
        await self.pass_once()
        return True

    def _complain(self, error: Exception) -> None:
        """A fault of the program itself is loud, and does not end the feeding of what is right."""
        if isinstance(error, TeleportError):
            log.warning("source %s: %s", self.source.name, error)
        else:
            log.error("source %s: this is a bug", self.source.name, exc_info=error)

    async def pass_once(self) -> m.FeedAnswer | None:
        """One feed, and the statuses after it; None if there is nothing to be fed from. Raises what keeps it back."""
        self._changed.clear()
        if not self._listed:
            await self._list()
        manifests, suspected = dict(self._manifests), self._suspect
        self._suspect = set()
        try:
            answer = await self._fed(manifests, suspected)
        except BaseException:
            self._suspect |= suspected
            raise
        if answer is None:
            return None
        self.fed.set()
        await self._tell(answer, manifests)
        return answer

    async def _fed(self, manifests: Mapping[Place, Manifest], suspected: set[str]) -> m.FeedAnswer | None:
        """Feed manifests, after a look whether what is missing among them was deleted or went with something bigger.

        The look comes after the manifests were gathered: before, something could go unseen in between.
        """
        await self._release(one for one in manifests.values() if one["metadata"].get("deletionTimestamp"))
        suspects = [kind for name in sorted(suspected) if (kind := custom_kind(name)) is not None]
        if suspects and await self._api.is_going(self.source.namespace):
            log.warning("source %s: the namespace %s goes; what it declared stays in force", *self._names)
            self._listed = False
            return None
        going = {kind.kind for kind in await self._api.going(suspects)}
        for gone in sorted(going - self._withheld):
            log.warning(
                "source %s: the definition of %s is gone; what it declared stays in force", self.source.name, gone
            )
        self._withheld = (self._withheld | going) - {kind for kind, _ in manifests}
        return await self._feed(await self._request(manifests.values()))

    async def _request(self, manifests: Iterable[Manifest]) -> m.FeedRequest:
        living = [one for one in manifests if not one["metadata"].get("deletionTimestamp")]
        secrets = await self._secrets.of(living)
        return m.FeedRequest(
            source=self.source.name, manifests=tuple(map(_bare, living)), withheld=tuple(sorted(self._withheld)),
            refused=dict(secrets.refused), secrets=dict(secrets.values),
        )  # fmt: skip

    @property
    def _names(self) -> tuple[str, str]:
        return self.source.name, self.source.namespace

    async def _list(self) -> None:
        """Everything there is: what was deleted while nobody watched is noticed by its absence."""
        self._heard = {}
        try:
            found = await self._found()
        finally:
            heard, self._heard = self._heard, None
        found |= {place: one for place, one in heard.items() if one is not None}
        gone = {place for place, one in heard.items() if one is None}
        self._manifests = {place: one for place, one in found.items() if place not in gone}
        self._suspect |= {kind.kind for kind in CUSTOM_KINDS}
        self._listed = True
        await self._release(self._manifests.values())

    async def _found(self) -> dict[Place, Manifest]:
        found: dict[Place, Manifest] = {}
        for kind in CUSTOM_KINDS:
            listed = await self._api.manifests(kind, self.source.namespace)
            if listed is None:
                self._withheld.add(kind.kind)
            found |= {(kind.kind, one["metadata"]["name"]): one for one in listed or ()}
        return found

    async def _release(self, manifests: Iterable[Manifest]) -> None:
        """Take the upstream's finalizer off: whoever deletes must not have to wait for anybody."""
        for manifest in list(manifests):
            kind = custom_kind(manifest["kind"])
            if kind is not None and FINALIZER in (manifest["metadata"].get("finalizers") or ()):
                try:
                    await self._api.release(kind, manifest, FINALIZER)
                except KubernetesError as error:
                    if error.answered not in _REFUSED:
                        raise
                    log.warning("source %s: the finalizer of %s stays: %s", self.source.name, _place(manifest), error)
                    continue
                metadata = manifest["metadata"]
                metadata["finalizers"] = [one for one in metadata["finalizers"] if one != FINALIZER]

    async def _gathered(self) -> None:
        """Until nothing has changed for a moment, or enough moments have passed."""
        for _ in range(10):
            self._changed.clear()
            await self._clock.sleep(_GATHER)
            if not self._changed.is_set():
                return

    async def _tell(self, answer: m.FeedAnswer, manifests: Mapping[tuple[str, str], Manifest]) -> None:
        verdicts = {one.place: one for one in answer.objects}
        allowed = asyncio.Semaphore(_AT_ONCE)
        failed: list[KubernetesError] = []

        async def one(manifest: Manifest) -> None:
            async with allowed:
                try:
                    await self._tell_one(manifest, verdicts.get(_place(manifest)), answer.revision)
                except KubernetesError as error:
                    failed.append(error)

        await asyncio.gather(*(one(manifest) for manifest in manifests.values()))
        try:
            await self._tell_of_kept(answer.kept)
        except KubernetesError as error:
            failed.append(error)
        if failed:
            raise failed[0]

    async def _tell_of_kept(self, kept: Iterable[m.ObjectVerdict]) -> None:
        """What is in force though nothing in Kubernetes declares it has no status: an Event tells of it, once."""
        verdicts = {one.place: one for one in kept}
        self._told_of_kept = {place: said for place, said in self._told_of_kept.items() if place in verdicts}
        for place, verdict in verdicts.items():
            said, kind = (verdict.reason, verdict.message), custom_kind(place.partition("/")[0])
            if kind is None or self._told_of_kept.get(place) == said:
                continue
            about = {
                "apiVersion": f"{GROUP}/{kind.stored}", "kind": kind.kind,
                "metadata": {"name": place.partition("/")[2], "namespace": self.source.namespace},
            }  # fmt: skip
            now = utc(self._clock.time())
            await self._api.write_event(about, reason=verdict.reason, message=verdict.message, warning=True, now=now)
            self._told_of_kept[place] = said

    async def _tell_one(self, manifest: Manifest, verdict: m.ObjectVerdict | None, revision: int) -> None:
        kind = custom_kind(manifest["kind"])
        if kind is None or verdict is None:
            return
        now = utc(self._clock.time())
        status = status_of(verdict, manifest, revision=revision, now=now)
        if differs(status, manifest):
            await self._api.write_status(kind, manifest, status)
            manifest["status"] = status
        said, place = (verdict.reason, verdict.message), (manifest["kind"], manifest["metadata"]["name"])
        if verdict.state == "Stalled" and self._told.get(place) != said:
            await self._api.write_event(manifest, reason=verdict.reason, message=verdict.message, warning=True, now=now)
        self._told[place] = said


def _place(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def _declared(manifest: Manifest) -> tuple[Any, ...]:
    """What differs whenever something differs that matters to the auth service."""
    metadata = manifest["metadata"]
    names = ("uid", "generation", "labels", "annotations", "deletionTimestamp", "finalizers")
    return (manifest.get("apiVersion"), *(metadata.get(name) for name in names))


def _bare(manifest: Manifest) -> Manifest:
    """A manifest without what the API server and others noted on it."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in ("managedFields", "selfLink")}
    annotations = metadata.get("annotations") or {}
    metadata["annotations"] = {
        key: value for key, value in annotations.items() if key != "kubectl.kubernetes.io/last-applied-configuration"
    }
    return {**{key: value for key, value in manifest.items() if key != "status"}, "metadata": metadata}
