"""Threads that are there before anybody needs them."""

import threading

import pytest

from teleport.core.aio import started_threads


def test_the_threads_are_there_before_anything_is_asked_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = started_threads(3)
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread is started"))
    together = threading.Barrier(3)

    arrived = [pool.submit(together.wait, 10) for _ in range(3)]

    assert sorted(one.result() for one in arrived) == [0, 1, 2]
    pool.shutdown()
