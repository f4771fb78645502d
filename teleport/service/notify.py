"""Tells others what becomes of the policy: messages to receivers, statuses to forges.

Nobody who works on the policy waits for it: what is to be told is put into a bounded queue for each receiver, and sent
from there, again and again with growing pauses, until it is taken, refused, or too old. Each receiver has its own pace.
"""

import asyncio
import hashlib
import hmac
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import teleport
from teleport.core.aio import Backoff, Clock, utc
from teleport.core.errors import TeleportError, Unavailable
from teleport.gitops.loop import SourceState
from teleport.service.forge import described, posted
from teleport.service.ledger import Ledger, Times, Waiting
from teleport.service.notices import CommitState, Notice, Told, of_event, of_state
from teleport.service.notifications import CommitStatus, Receiver
from teleport.service.outgoing import Answer, Request

__all__ = ["SIGNATURE", "Notifier", "Send"]

log = logging.getLogger(__name__)

SIGNATURE: Final = "X-Teleport-Signature-256"
_MOST: Final = 100
"""Messages that wait for one receiver; the oldest give way."""
_OLDEST: Final = 24 * 3600.0
"""Seconds after which a message is of no use to anybody."""
_SETTLE: Final = 1.0
_FILE_BYTES: Final = 1 << 20
_AGENT: Final = f"teleport/{teleport.__version__}"

Send = Callable[[Request], Awaitable[Answer]]


@dataclass(eq=False)
class Channel:
    """The way to one receiver: how a message becomes a request, and what became of those before."""

    label: str
    request: Callable[[Waiting], Request]
    outcomes: Counter[str] = field(default_factory=Counter)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    failing: str = ""


class Notifier:
    """`saw` and `happened` take what has happened and return at once; `run` sends it, until cancelled."""

    def __init__(
        self, ledger: Ledger, receivers: Sequence[Receiver], forges: Mapping[str, CommitStatus], *, cluster: str,
        clock: Clock, send: Send, backoff: Backoff | None = None,
    ) -> None:  # fmt: skip
        """`forges` are by source."""
        self._ledger, self._cluster, self._clock, self._send = ledger, cluster, clock, send
        self._backoff = backoff or Backoff(first=1.0, limit=300.0)
        self._receivers: dict[str, Receiver] = {}
        self._forges = dict(forges)
        self._changed, self._taken = asyncio.Event(), asyncio.Event()
        self.channels = {
            f"status {name}": Channel(f"{one.forge} {name}", self._status(one)) for name, one in forges.items()
        }
        self.take(receivers)

    def take(self, receivers: Sequence[Receiver]) -> None:
        """Tell these from now on, and no others. What waits for one that stays is kept."""
        self._receivers = {f"webhook {one.label}": one for one in receivers}
        gone = [name for name in self.channels if name.startswith("webhook ") and name not in self._receivers]
        for name in gone:
            del self.channels[name]
        for name, one in self._receivers.items():
            self.channels.setdefault(name, Channel(one.label, self._message(one))).request = self._message(one)
        self._ledger.waiting = {name: self._ledger.waiting.get(name, []) for name in self.channels}
        self._taken.set()

    # -- what has happened

    def remember(self, state: SourceState) -> None:
        """Give a source that is new in this process the times that an earlier one knew."""
        times = self._ledger.times.get(state.name, Times())
        state.unapplied_since, state.last_applied = times.unapplied_since, times.last_applied

    def saw(self, state: SourceState) -> None:
        """A source was looked at."""
        ledger, name = self._ledger, state.name
        times = Times(state.unapplied_since, state.last_applied)
        told, notices, shown = of_state(ledger.told.get(name, Told()), state)
        if (ledger.told.get(name), ledger.times.get(name)) == (told, times):
            return
        ledger.told[name], ledger.times[name] = told, times
        for notice in notices:
            self._tell(notice)
        if shown is not None and name in self._forges:
            self._show(name, state, *shown)
        self._changed.set()

    def happened(self, event: Mapping[str, Any]) -> None:
        """An event was written to the audit log."""
        notice = of_event(event)
        if notice is not None:
            self._tell(notice)
            self._changed.set()

    def _tell(self, notice: Notice) -> None:
        now = self._clock.time()
        for name, receiver in self._receivers.items():
            if notice.word in receiver.on:
                id_ = notice.id or str(uuid.uuid4())
                body = notice.body(id_=id_, time=utc(now), cluster=self._cluster, details=receiver.details)
                self._put(name, Waiting(id_, "", now, {"word": notice.word, "body": body.decode()}))

    def _show(self, source: str, state: SourceState, commit: str, shown: CommitState) -> None:
        text = described(state, shown, details=self._forges[source].details)
        content = {"commit": commit, "state": shown, "description": text}
        self._put(f"status {source}", Waiting(str(uuid.uuid4()), commit, self._clock.time(), content))

    def _put(self, name: str, message: Waiting) -> None:
        channel, queue = self.channels[name], self._ledger.waiting[name]
        if message.key:
            queue[:] = [one for one in queue if one.key != message.key]
        queue.append(message)
        while len(queue) > _MOST:
            queue.pop(0)
            channel.outcomes["dropped"] += 1
        channel.news.set()

    def waiting(self, name: str) -> int:
        """How many messages wait for a receiver."""
        return len(self._ledger.waiting[name])

    # -- telling it

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep())
            serving: dict[str, asyncio.Task[None]] = {}
            while True:
                self._taken.clear()
                for name in serving.keys() - self.channels.keys():
                    serving.pop(name).cancel()
                for name in self.channels.keys() - serving.keys():
                    serving[name] = tasks.create_task(self._serve(name))
                await self._taken.wait()

    async def _keep(self) -> None:
        while True:
            await self._changed.wait()
            await self._clock.sleep(_SETTLE)  # the disk is the store's while something comes into force
            self._changed.clear()
            await self._ledger.save()

    async def _serve(self, name: str) -> None:
        channel = self.channels[name]
        if self._ledger.waiting[name]:
            channel.news.set()
        while True:
            await channel.news.wait()
            channel.news.clear()
            while self._ledger.waiting[name]:
                await self._deliver(name, channel)

    async def _deliver(self, name: str, channel: Channel) -> None:
        """Get rid of the oldest message, whichever that is at each attempt."""
        async for _ in self._backoff.attempts(self._clock):
            queue = self._ledger.waiting[name]
            if not queue:
                return
            message = queue[0]
            outcome = await self._attempt(channel, message)
            if outcome:
                channel.outcomes[outcome] += 1
                self._ledger.waiting[name] = [one for one in self._ledger.waiting[name] if one is not message]
                self._changed.set()
                return

    async def _attempt(self, channel: Channel, message: Waiting) -> str:
        """What became of it, or nothing if it is to be tried again."""
        if self._clock.time() - message.created > _OLDEST:
            return "dropped"
        await self._ledger.save()  # what is sent twice, after a crash, is sent under the same id
        try:
            request = await asyncio.to_thread(channel.request, message)
            answer = await self._send(request)
        except Unavailable as error:
            self._note(channel, error.message)
            return ""
        except TeleportError as error:
            self._note(channel, error.message)
            return "failed"
        except Exception as error:  # one message that cannot be made must not end all telling
            log.error("a defect in telling %s: %s", channel.label, type(error).__name__)
            return "failed"
        if answer.taken:
            self._note(channel, "")
            return "delivered"
        redirect = ", a redirect, which is not followed" if 300 <= answer.status < 400 else ""
        self._note(channel, f"it answers with {answer.status}{redirect}")
        return "" if answer.may_pass else "failed"

    def _note(self, channel: Channel, failing: str) -> None:
        """Log what is new."""
        if failing and failing != channel.failing:
            log.warning("%s cannot be told: %s", channel.label, failing)
        elif channel.failing and not failing:
            log.info("%s is told again", channel.label)
        channel.failing = failing

    # -- requests

    def _message(self, receiver: Receiver) -> Callable[[Waiting], Request]:
        def request(message: Waiting) -> Request:
            body = str(message.content["body"]).encode()
            headers = {
                "User-Agent": _AGENT,
                "X-Teleport-Event": str(message.content["word"]),
                "X-Teleport-Id": message.id,
            }
            if receiver.secret_file:
                digest = hmac.new(_read(receiver.secret_file).encode(), body, hashlib.sha256).hexdigest()
                headers[SIGNATURE] = f"sha256={digest}"
            return Request(receiver.url, body, headers, _trust(receiver.ca_file))

        return request

    def _status(self, forge: CommitStatus) -> Callable[[Waiting], Request]:
        def request(message: Waiting) -> Request:
            content = message.content
            url, body, headers = posted(
                forge, _read(forge.token_file), commit=content["commit"], state=content["state"],
                description=content["description"], context=forge.context or f"teleport/{self._cluster}",
            )  # fmt: skip
            return Request(url, body, {"User-Agent": _AGENT, **headers}, _trust(forge.ca_file))

        return request


def _read(path: str) -> str:
    """A secret, or authorities; read each time so that they can be changed. Raises Unavailable."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_FILE_BYTES).decode().strip()
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unavailable(f"{path} is no text") from None
    if not text:
        raise Unavailable(f"{path} is empty")
    return text


def _trust(path: str | None) -> str | None:
    return _read(path) if path else None
