"""Attacks on a host's SSH server by amounts: floods, windows, tiny packets. Others are not kept waiting."""

import asyncio
import json
from pathlib import Path

import pytest
from asyncssh.packet import String, UInt32

from tests.attacks.host import pty, scene
from tests.net.sockets import wait_until


async def test_who_reads_nothing_has_no_memory_filled_whatever_window_is_offered(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open(window=2**32 - 1)
        for _ in range(5):
            channel.adjust(2**32 - 1)
        at.eve.connection._transport.pause_reading()  # type: ignore[union-attr]
        channel.tell(b"exec", String(b"cat /dev/zero"))
        await wait_until(lambda: at.host.buffered, within=20)

        assert await at.bystander_is_fine()

        assert at.host.buffered < 4 << 20


@pytest.mark.parametrize("size", [1, 16, 256])
async def test_tiny_packets_do_not_keep_others_waiting(tmp_path: Path, size: int) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open(window=2**31, size=size)
        if channel.opened:
            await channel.grants(b"exec", String(b"cat /dev/zero"))

        assert await at.bystander_is_fine()


async def test_input_that_the_program_does_not_read_is_left_with_the_client(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"exec", String(b"sleep 60"))

        for _ in range(62):
            channel.data(b"x" * 32_000)

        assert await at.fine()


async def test_more_input_than_the_window_allows_ends_at_most_the_attackers_own_connection(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"exec", String(b"sleep 60"))

        for _ in range(100):
            channel.data(b"x" * 32_000)

        assert await at.bystander_is_fine()


async def test_a_flood_of_tiny_messages_does_not_keep_others_waiting(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        for _ in range(10_000):
            at.eve.send(2, String(b""))

        assert await at.bystander_is_fine()
        assert await at.eve.works()


async def test_a_flood_of_window_changes_is_recorded_as_fast_as_it_can_be_and_the_last_one_counts(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"pty-req", *pty())
        assert await channel.grants(b"exec", String(b"echo up; read x; stty size"))
        await channel.prints(b"up")

        for number in range(3000):
            channel.tell(b"window-change", UInt32(80 + number % 100), UInt32(24), UInt32(0), UInt32(0))
        channel.tell(b"window-change", UInt32(77), UInt32(31), UInt32(0), UInt32(0))
        channel.data(b"\n")

        await channel.prints(b"31 77")
        await asyncio.wait_for(channel.closed, 20)
        events = map(json.loads, at.host.spool._events.read_text().splitlines())
        sizes = [event["size"] for event in events if event["event"] == "session.resize"]
        assert len(sizes) < 1000
        assert sizes[-1] == "77:31"
        assert await at.fine()
