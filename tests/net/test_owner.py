"""Whose program holds the other end of a connection, from the kernel's table and from tables as they are written."""

import os
import socket
from pathlib import Path

import pytest

from teleport.net.owner import owner_of_peer

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


class Connection:
    """An accepted connection: the peer's address, and ours."""

    def __init__(self, peer: tuple[object, ...], ours: tuple[object, ...]) -> None:
        self._peer, self._ours = peer, ours

    def getpeername(self) -> tuple[object, ...]:
        return self._peer

    def getsockname(self) -> tuple[object, ...]:
        return self._ours


def owner(tmp_path: Path, rows: list[str], *, peer: tuple[object, ...], ours: tuple[object, ...]) -> int | None:
    table = tmp_path / "tcp"
    table.write_text(HEAD + "".join(f"   0: {row} 0\n" for row in rows))
    return owner_of_peer(Connection(peer, ours), tables=(table,))  # type: ignore[arg-type]


def row(local: str, remote: str, uid: int, *, state: str = "01") -> str:
    return f"{local} {remote} {state} 00000000:00000000 00:00000000 00000000 {uid:5} 0 12345"


HERE = {"peer": ("127.0.0.1", 0xBEEF), "ours": ("127.0.0.1", 0x0D3D)}


def test_the_entry_of_the_other_end_names_the_user(tmp_path: Path) -> None:
    rows = [row("0100007F:0D3D", "0100007F:BEEF", 1), row("0100007F:BEEF", "0100007F:0D3D", 1001)]

    assert owner(tmp_path, rows, **HERE) == 1001


@pytest.mark.parametrize("state", ["02", "04", "05", "06", "07", "08"])
def test_what_a_program_has_left_is_nobodys_and_not_roots(tmp_path: Path, state: str) -> None:
    rows = [row("0100007F:BEEF", "0100007F:0D3D", 0, state=state)]

    assert owner(tmp_path, rows, **HERE) is None


@pytest.mark.parametrize(
    ("local", "remote"),
    [
        ("0100007F:BEEE", "0100007F:0D3D"), ("0100007F:BEEF", "0100007F:0D3E"), ("0200007F:BEEF", "0100007F:0D3D"),
        ("0100007F:BEEF", "00000000:0000"),
    ],
)  # fmt: skip
def test_another_connection_says_nothing_about_this_one(tmp_path: Path, local: str, remote: str) -> None:
    assert owner(tmp_path, [row(local, remote, 1001)], **HERE) is None


def test_an_address_of_the_older_family_may_be_written_as_one_of_the_newer(tmp_path: Path) -> None:
    mapped = "0000000000000000FFFF00000100007F"

    assert owner(tmp_path, [row(f"{mapped}:BEEF", f"{mapped}:0D3D", 1001)], **HERE) == 1001


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the system keeps no table")
@pytest.mark.parametrize(
    ("family", "address", "to"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"), (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET, "127.0.0.1", "::ffff:127.0.0.1"),
    ],
)  # fmt: skip
def test_the_kernel_knows_who_connected(family: socket.AddressFamily, address: str, to: str) -> None:
    with (
        socket.create_server((address, 0), family=family) as server,
        socket.create_connection((to, server.getsockname()[1])),
        server.accept()[0] as connection,
    ):
        found = owner_of_peer(connection)

    assert found == os.geteuid()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the system keeps no table")
def test_who_has_gone_again_is_not_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
        connection, _ = server.accept()
        with connection:
            found = owner_of_peer(connection)

    assert found is None


def test_without_a_table_it_is_said(tmp_path: Path) -> None:
    connection = Connection(("127.0.0.1", 1), ("127.0.0.1", 2))

    with pytest.raises(OSError):
        owner_of_peer(connection, tables=(tmp_path / "none",))  # type: ignore[arg-type]
