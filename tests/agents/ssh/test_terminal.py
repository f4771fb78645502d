"""Terminals: ownership, size, and the modes that clients ask for."""

import fcntl
import os
import pwd
import struct
import termios

import pytest

from teleport.agents.ssh.terminal import open_terminal, resize

ME = pwd.getpwuid(os.geteuid())


def size_of(descriptor: int) -> tuple[int, int]:
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


@pytest.fixture
def opened() -> list[int]:
    return []


def make(opened: list[int], modes: dict[int, int], rows: int = 24, columns: int = 80) -> int:
    master, slave = open_terminal(ME, modes, rows, columns)
    opened += [master, slave]
    return slave


@pytest.fixture(autouse=True)
def close_all(opened: list[int]) -> object:
    yield
    for descriptor in opened:
        os.close(descriptor)
    return None


def test_a_terminal_has_the_size_that_was_asked_for_and_takes_another(opened: list[int]) -> None:
    slave = make(opened, {}, 33, 101)
    first = size_of(slave)

    resize(opened[0], 50, 132)

    assert (first, size_of(slave)) == ((33, 101), (50, 132))


def test_an_absurd_size_is_cut_to_what_a_terminal_can_have(opened: list[int]) -> None:
    slave = make(opened, {}, 2**32 - 1, 2**32 - 1)

    assert size_of(slave) == (65535, 65535)


def test_modes_switch_flags_and_characters(opened: list[int]) -> None:
    slave = make(opened, {53: 0, 36: 0, 1: 7, 42: 1})

    attributes = termios.tcgetattr(slave)

    assert not attributes[3] & termios.ECHO
    assert not attributes[0] & termios.ICRNL
    assert attributes[0] & 0o40000
    assert attributes[6][termios.VINTR] == b"\x07"


def test_a_terminal_has_the_speeds_that_the_clients_has(opened: list[int]) -> None:
    slave = make(opened, {128: 9600, 129: 9600})

    assert termios.tcgetattr(slave)[4:6] == [termios.B9600, termios.B9600]


def test_unknown_and_wild_modes_are_ignored(opened: list[int]) -> None:
    slave = make(opened, dict.fromkeys(range(100, 160), 2**32 - 1))

    assert termios.tcgetattr(slave)[3] & termios.ECHO


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives terminals away")
def test_a_terminal_belongs_to_its_user(opened: list[int]) -> None:
    nobody = pwd.getpwnam("nobody")

    master, slave = open_terminal(nobody, {}, 24, 80)
    opened += [master, slave]

    status = os.fstat(slave)
    assert (status.st_uid, status.st_mode & 0o777) == (nobody.pw_uid, 0o620)
