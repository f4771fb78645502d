"""Telling: nobody waits for it, receivers keep apart, what was not delivered outlives a restart, secrets stay ours."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from teleport.core.aio import Backoff, Clock, SystemClock
from teleport.core.errors import Unavailable
from teleport.service.ledger import Ledger
from teleport.service.notifications import CommitStatus, Receiver
from teleport.service.notify import SIGNATURE, Notifier, Send
from teleport.service.outgoing import Answer, Request, Sender
from tests.builders import FakeClock
from tests.service.receivers import hostile, receiver
from tests.service.test_notices import C1, C2, ready, stalled

QUICK = Backoff(first=0.01, limit=0.05)


def notifier(
    tmp_path: Path, receivers: Sequence[dict[str, Any]], *, forge: dict[str, Any] | None = None,
    clock: Clock | None = None, send: Send | None = None,
) -> Notifier:  # fmt: skip
    forges = {"git": CommitStatus.model_validate(forge)} if forge else {}
    return Notifier(
        Ledger.open(tmp_path / "told.json"), [Receiver.model_validate(one) for one in receivers], forges,
        cluster="acme", clock=clock or SystemClock(), backoff=QUICK, send=send or Sender(),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def at_work(one: Notifier) -> AsyncIterator[Notifier]:
    task = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def event(word: str, **fields: Any) -> dict[str, Any]:
    return {"event": f"policy.{word}", "code": "X", "source": "git", **fields}


async def test_what_happens_reaches_a_receiver_signed_with_the_secret_that_both_know(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    async with receiver() as one:
        config = {"url": one.url, "secret_file": str(tmp_path / "secret")}
        async with at_work(notifier(tmp_path, [config])) as telling:
            telling.saw(stalled())
            telling.saw(ready())
            await one.wait(2)

    (_, headers, first), (_, _, second) = one.requests
    digest = hmac.new(b"s3cret", first, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE.lower()] == f"sha256={digest}"
    assert headers["x-teleport-id"] == json.loads(first)["id"]
    assert [json.loads(body)["notice"] for body in (first, second)] == ["stalled", "recovered"]
    assert "s3cret" not in str(one.requests)


async def test_a_receiver_gets_what_it_asked_for_and_no_more(tmp_path: Path) -> None:
    async with receiver() as one, receiver() as other:
        configs: list[dict[str, Any]] = [
            {"url": one.url, "name": "a", "on": "drift"},
            {"url": other.url, "name": "b", "on": ["override"]},
        ]
        async with at_work(notifier(tmp_path, configs)) as telling:
            for word in ("drift", "override", "applied"):
                telling.happened(event(word))
            telling.saw(stalled())
            await asyncio.gather(one.wait(1), other.wait(1))

    assert [json.loads(body)["notice"] for _, _, body in one.requests] == ["drift"]
    assert [json.loads(body)["notice"] for _, _, body in other.requests] == ["override"]


async def test_a_receiver_that_is_ill_is_tried_again_in_order_and_one_that_refuses_is_not(tmp_path: Path) -> None:
    async with (
        receiver(answers=[503, 429, 200, 410]) as one,
        at_work(notifier(tmp_path, [{"url": one.url, "name": "a"}])) as telling,
    ):
        for revision in (1, 2, 3):
            telling.happened(event("applied", revision=revision))
        await one.wait(5)
        outcomes = telling.channels["webhook a"].outcomes
        await until(lambda: outcomes.total() == 3)

    told = [json.loads(body) for _, _, body in one.requests]
    assert [body["revision"] for body in told] == [1, 1, 1, 2, 3]
    assert len({body["id"] for body in told}) == 3
    assert outcomes == {"delivered": 2, "failed": 1}


async def test_a_receiver_that_never_answers_delays_neither_the_reconciler_nor_another_receiver(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with hostile(silent) as dead, receiver() as other:
        configs = [{"url": dead, "name": "dead"}, {"url": other.url, "name": "other"}]
        async with at_work(notifier(tmp_path, configs)) as telling:
            began = time.monotonic()
            for number in range(50):
                telling.happened(event("applied", revision=number))
            took = time.monotonic() - began
            await other.wait(50)
            waiting = telling.waiting("webhook dead")

    assert took < 0.5
    assert waiting == 50


async def test_the_queue_of_a_dead_receiver_is_bounded_and_the_oldest_give_way(tmp_path: Path) -> None:
    telling = notifier(tmp_path, [{"url": "https://hooks.example.com/x"}])

    for number in range(150):
        telling.happened(event("applied", revision=number))

    assert telling.waiting("webhook hooks.example.com") == 100
    assert telling.channels["webhook hooks.example.com"].outcomes["dropped"] == 50
    first = telling._ledger.waiting["webhook hooks.example.com"][0]
    assert json.loads(first.content["body"])["revision"] == 50


async def test_what_waits_is_sent_after_a_restart_under_the_same_id_and_nothing_is_told_twice(tmp_path: Path) -> None:
    attempted = asyncio.Event()

    async def dead(request: Request) -> Answer:
        attempted.set()
        raise Unavailable("cannot be reached")

    async with receiver() as one:
        config = [{"url": one.url, "name": "a"}]
        async with at_work(notifier(tmp_path, config, send=dead)) as before:
            before.saw(stalled())
            await attempted.wait()
            id_ = before._ledger.waiting["webhook a"][0].id
        async with at_work(notifier(tmp_path, config)) as after:
            after.saw(stalled())
            await one.wait(1)
            await until(lambda: not after.waiting("webhook a"))
            await after._ledger.save()
        async with at_work(notifier(tmp_path, config)) as again:
            again.saw(stalled())
            again.saw(ready())
            await one.wait(2)

    told = [json.loads(body) for _, _, body in one.requests]
    assert [body["notice"] for body in told] == ["stalled", "recovered"]
    assert told[0]["id"] == id_


async def test_times_of_a_source_outlive_a_restart(tmp_path: Path) -> None:
    before, state = notifier(tmp_path, []), stalled()
    state.unapplied_since, state.last_applied = 100.0, 50.0
    before.saw(state)
    await before._ledger.save()
    fresh = stalled()

    notifier(tmp_path, []).remember(fresh)

    assert (fresh.unapplied_since, fresh.last_applied) == (100.0, 50.0)


async def test_a_message_that_is_a_day_old_is_dropped(tmp_path: Path) -> None:
    clock = FakeClock()
    async with receiver() as one:
        telling = notifier(tmp_path, [{"url": one.url, "name": "a"}], clock=clock)
        telling.happened(event("applied"))
        clock.advance(25 * 3600.0)
        async with at_work(telling):
            await until(lambda: telling.channels["webhook a"].outcomes["dropped"])

    assert one.requests == []


async def test_a_commit_is_shown_by_its_forge_as_what_became_of_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("T0KEN\n")
    async with receiver() as one:
        base = one.url.removesuffix("/hook")
        forge = {"repository": "acme/policy", "token_file": str(tmp_path / "token"), "api_url": base}
        async with at_work(notifier(tmp_path, [], forge=forge)) as telling:
            telling.saw(ready())
            await one.wait(1)
            telling.saw(stalled())
            await one.wait(2)

    paths, headers, bodies = zip(*one.requests, strict=True)
    assert paths == (f"/repos/acme/policy/statuses/{C1}", f"/repos/acme/policy/statuses/{C2}")
    assert [json.loads(body)["state"] for body in bodies] == ["success", "failure"]
    assert json.loads(bodies[0])["context"] == "teleport/acme"
    assert headers[0]["authorization"] == "Bearer T0KEN"


async def test_only_the_newest_status_of_a_commit_waits(tmp_path: Path) -> None:
    forge = {"repository": "acme/policy", "token_file": "/nowhere"}
    telling = notifier(tmp_path, [], forge=forge)

    telling.saw(stalled())
    telling.saw(ready(C2))

    (message,) = telling._ledger.waiting["status git"]
    assert (message.key, message.content["state"]) == (C2, "success")


async def test_neither_secrets_nor_addresses_reach_the_log_the_ledger_or_the_messages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "secret").write_text("S3CRET")

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(4096))
        writer.close()

    async with hostile(rude) as url, receiver(answers=[400, 500]) as other:
        configs = [{"url": url, "name": "rude", "secret_file": str(tmp_path / "secret")},
                   {"url": f"{other.url}?SECRET-IN-URL", "name": "other"},
                   {"url": url, "name": "lost", "secret_file": str(tmp_path / "nowhere")}]  # fmt: skip
        async with at_work(notifier(tmp_path, configs)) as telling:
            telling.happened(event("applied"))
            await other.wait(1)
            await until(lambda: all(channel.failing for channel in telling.channels.values()))

    everything = caplog.text + (tmp_path / "told.json").read_text()
    assert "rude cannot be told: what it says is no answer" in caplog.text
    assert "lost cannot be told" in caplog.text
    assert "S3CRET" not in everything
    assert "SECRET-IN-URL" not in everything


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"told": 1}', '{"told": {}, "times": {}, "waiting": {"a": [{"x": 1}]}}']
)
def test_a_ledger_that_cannot_be_understood_is_no_reason_not_to_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "told.json").write_text(text)

    assert Ledger.open(tmp_path / "told.json").waiting == {}


async def test_a_ledger_that_cannot_be_written_keeps_nobody_from_telling(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with receiver() as one:
        telling = Notifier(
            Ledger.open(tmp_path / "folder" / ".." / "file" / "told.json"), [Receiver(url=one.url)], {}, cluster="acme",
            clock=SystemClock(), send=Sender(), backoff=QUICK,
        )  # fmt: skip
        async with at_work(telling):
            telling.happened(event("applied"))
            await one.wait(1)

    assert len(one.requests) == 1


async def test_a_message_that_cannot_be_made_ends_no_telling(tmp_path: Path) -> None:
    async with receiver() as one:
        telling = notifier(tmp_path, [{"url": one.url, "name": "a"}])
        telling.happened(event("applied", revision=1))
        telling.happened(event("applied", revision=2))
        broken = telling._ledger.waiting["webhook a"][0]
        object.__setattr__(broken, "content", {})
        async with at_work(telling):
            await one.wait(1)

    assert json.loads(one.requests[0][2])["revision"] == 2


async def test_other_receivers_take_the_place_of_those_before_while_it_works(tmp_path: Path) -> None:
    def asked(*them: tuple[str, str]) -> list[Receiver]:
        return [Receiver.model_validate({"url": url, "name": name}) for name, url in them]

    async with receiver() as stays, receiver() as goes, receiver() as comes:
        first, then = asked(("a", stays.url), ("b", goes.url)), asked(("a", stays.url), ("c", comes.url))
        begin = [one.model_dump(exclude_unset=True) for one in first]
        async with at_work(notifier(tmp_path, begin)) as telling:
            telling.happened(event("applied", revision=1))
            await asyncio.gather(stays.wait(1), goes.wait(1))

            telling.take(then)
            telling.happened(event("applied", revision=2))
            await asyncio.gather(stays.wait(2), comes.wait(1))

    assert [len(one.requests) for one in (stays, goes, comes)] == [2, 1, 1]
    assert set(telling.channels) == {"webhook a", "webhook c"}


async def test_a_receiver_that_is_named_no_more_is_not_waited_for(tmp_path: Path) -> None:
    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    asked = asyncio.Event()
    async with (
        hostile(silence) as silent,
        receiver() as other,
        at_work(notifier(tmp_path, [{"url": silent, "name": "a"}])) as telling,
    ):
        telling.happened(event("applied", revision=1))
        await asyncio.wait_for(asked.wait(), 10)

        telling.take([Receiver.model_validate({"url": other.url, "name": "b"})])
        telling.happened(event("applied", revision=2))
        await other.wait(1)

    assert set(telling.channels) == {"webhook b"}
