"""Which way `tsh proxy ssh` takes through a network, and what it remembers of that."""

import io
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from teleport.cli import profile as p
from teleport.cli import way
from teleport.core.errors import Unavailable

PROFILE = p.Profile(proxy="proxy.example.com:3080", user="ann", cluster="acme", expires=time.time() + 60)


class Connection:
    """A connection to a proxy that serves what is asked for first."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol

    def selected_alpn_protocol(self) -> str:
        return self.protocol


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    """The protocols that were offered, a tuple an attempt; no host speaks once TLS has ended."""
    attempts: list[tuple[str, ...]] = []

    def connect(_profile: p.Profile, _credentials: Path | None, protocols: tuple[str, ...]) -> Connection:
        attempts.append(protocols)
        return Connection(protocols[0])

    monkeypatch.setenv("TELEPORT_HOME", str(tmp_path))
    monkeypatch.setattr(way, "_connect", connect)
    monkeypatch.setattr(way, "_ask", lambda *_: b"")
    monkeypatch.setattr(way, "_leave", lambda _: None)
    return attempts


def reach() -> None:
    way.reach(PROFILE, None, {"host": "db-1"})


def test_a_network_without_a_way_outside_of_tls_is_tried_once_a_day(tried: list[tuple[str, ...]]) -> None:
    both, keeps = (way._LEAVES, way._KEEPS), (way._KEEPS,)

    reach()
    reach()
    (mark,) = p.home().glob("*.keeps-tls")
    os.utime(mark, (0, time.time() - 90_000))
    reach()

    assert tried == [both, keeps, keeps, both, keeps]


class Answering(Connection):
    """A proxy that answers with these lines."""

    def __init__(self, *lines: str) -> None:
        super().__init__(way._LISTS)
        self._lines = lines

    def sendall(self, _data: bytes) -> None: ...
    def settimeout(self, _seconds: float) -> None: ...
    def close(self) -> None: ...
    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO("".join(f"{line}\n" for line in self._lines).encode())


def listing(monkeypatch: pytest.MonkeyPatch, *lines: str) -> list[dict[str, object]]:
    monkeypatch.setattr(way, "_connect", lambda *_: Answering(*lines))
    return way.listing(replace(PROFILE, expires=time.time() + 60), "leaf")


def test_a_list_is_read_to_its_last_part(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = listing(
        monkeypatch, '{"hosts": [{"uuid": "a"}], "more": true}', '{"hosts": [{"uuid": "b"}], "more": false}'
    )

    assert [host["uuid"] for host in hosts] == ["a", "b"]


def test_a_list_that_breaks_off_is_an_error_and_no_shorter_list(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="before the answer was whole"):
        listing(monkeypatch, '{"hosts": [{"uuid": "a"}], "more": true}')
    with pytest.raises(Unavailable, match="took too long"):
        listing(
            monkeypatch, '{"hosts": [{"uuid": "a"}], "more": true}',
            '{"error": {"code": "unavailable", "message": "the list of hosts took too long"}}',
        )  # fmt: skip


def test_using_what_is_known_does_not_make_it_last_longer(tried: list[tuple[str, ...]]) -> None:
    reach()
    (mark,) = p.home().glob("*.keeps-tls")
    an_hour_ago = time.time() - 3600
    os.utime(mark, (an_hour_ago, an_hour_ago))

    reach()

    assert mark.stat().st_mtime == pytest.approx(an_hour_ago, abs=1)


def test_a_host_that_answers_neither_way_says_nothing_about_the_network(
    tried: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object) -> bytes:
        if len(tried) == 2:
            raise Unavailable("host db-1 is not connected to this proxy")
        return b""

    monkeypatch.setattr(way, "_ask", ask)

    with pytest.raises(Unavailable):
        reach()

    assert list(p.home().glob("*.keeps-tls")) == []


def test_what_cannot_be_written_down_keeps_nobody_out(
    tried: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEPORT_HOME", "/dev/null/nowhere")

    reach()

    assert len(tried) == 2
