"""Pseudo-terminals: opening one for a user, its size, and the modes a client asks for (RFC 4254, section 8)."""

import contextlib
import fcntl
import os
import pwd
import struct
import termios
from collections.abc import Mapping
from typing import Final

__all__ = ["open_terminal", "resize"]

_INPUT, _OUTPUT, _CONTROL, _LOCAL = 0, 1, 2, 3

_CHARACTERS: Final[Mapping[int, str]] = {
    1: "VINTR", 2: "VQUIT", 3: "VERASE", 4: "VKILL", 5: "VEOF", 6: "VEOL", 7: "VEOL2", 8: "VSTART", 9: "VSTOP",
    10: "VSUSP", 12: "VREPRINT", 13: "VWERASE", 14: "VLNEXT", 18: "VDISCARD",
}  # fmt: skip
_FLAGS: Final[Mapping[int, tuple[int, str]]] = {
    30: (_INPUT, "IGNPAR"), 31: (_INPUT, "PARMRK"), 32: (_INPUT, "INPCK"), 33: (_INPUT, "ISTRIP"),
    34: (_INPUT, "INLCR"), 35: (_INPUT, "IGNCR"), 36: (_INPUT, "ICRNL"), 38: (_INPUT, "IXON"), 39: (_INPUT, "IXANY"),
    40: (_INPUT, "IXOFF"), 41: (_INPUT, "IMAXBEL"), 50: (_LOCAL, "ISIG"), 51: (_LOCAL, "ICANON"), 53: (_LOCAL, "ECHO"),
    54: (_LOCAL, "ECHOE"), 55: (_LOCAL, "ECHOK"), 56: (_LOCAL, "ECHONL"), 57: (_LOCAL, "NOFLSH"),
    58: (_LOCAL, "TOSTOP"), 59: (_LOCAL, "IEXTEN"), 60: (_LOCAL, "ECHOCTL"), 61: (_LOCAL, "ECHOKE"),
    62: (_LOCAL, "PENDIN"), 70: (_OUTPUT, "OPOST"), 72: (_OUTPUT, "ONLCR"), 73: (_OUTPUT, "OCRNL"),
    74: (_OUTPUT, "ONOCR"), 75: (_OUTPUT, "ONLRET"), 90: (_CONTROL, "CS7"), 91: (_CONTROL, "CS8"),
    92: (_CONTROL, "PARENB"), 93: (_CONTROL, "PARODD"),
}  # fmt: skip
_IUTF8_OPCODE, _IUTF8 = 42, 0o40000
_SPEEDS: Final[Mapping[int, int]] = {128: 4, 129: 5}
"""Where the speeds of input and output stand among the attributes."""


def open_terminal(user: pwd.struct_passwd, modes: Mapping[int, int], rows: int, columns: int) -> tuple[int, int]:
    """Master and slave of a new terminal that belongs to a user. Raises OSError."""
    master, slave = os.openpty()
    try:
        _apply(slave, modes)
        resize(master, rows, columns)
        if os.geteuid() == 0:
            os.fchown(slave, user.pw_uid, _tty_group(user.pw_gid))
            os.fchmod(slave, 0o620)
        os.set_blocking(master, False)
    except OSError:
        os.close(master)
        os.close(slave)
        raise
    return master, slave


def resize(master: int, rows: int, columns: int) -> None:
    """Set the window size; programs in the terminal receive SIGWINCH."""
    size = struct.pack("HHHH", min(rows, 0xFFFF), min(columns, 0xFFFF), 0, 0)
    with contextlib.suppress(OSError):
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)


def _apply(slave: int, modes: Mapping[int, int]) -> None:
    attributes = termios.tcgetattr(slave)
    characters: list[bytes | int] = attributes[6]
    for opcode, value in modes.items():
        if opcode in _CHARACTERS:
            index = getattr(termios, _CHARACTERS[opcode], None)
            if index is not None:
                characters[index] = bytes([value & 0xFF]) if value != 255 else b"\x00"
        elif opcode in _FLAGS:
            where, name = _FLAGS[opcode]
            flag = getattr(termios, name, 0)
            attributes[where] = attributes[where] | flag if value else attributes[where] & ~flag
        elif opcode in _SPEEDS:
            attributes[_SPEEDS[opcode]] = getattr(termios, f"B{value}", attributes[_SPEEDS[opcode]])
        elif opcode == _IUTF8_OPCODE:
            attributes[_INPUT] = attributes[_INPUT] | _IUTF8 if value else attributes[_INPUT] & ~_IUTF8
    with contextlib.suppress(termios.error):
        termios.tcsetattr(slave, termios.TCSANOW, attributes)


def _tty_group(fallback: int) -> int:
    import grp

    try:
        return grp.getgrnam("tty").gr_gid
    except KeyError:
        return fallback
