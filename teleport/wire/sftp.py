"""SFTP version 3 (draft-ietf-secsh-filexfer-02, with OpenSSH's extensions), watched. Bytes in, operations out; no I/O.

Both directions are fed as they pass, each piece before it is passed on. An operation is reported once the server
has answered it. What cannot be followed raises Unfollowable before its last byte is passed on, so that no server
does anything that was not understood. Memory is bounded, given that the client is not read from while `congested`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["MAX_PACKET", "Operation", "Unfollowable", "Watch"]

MAX_PACKET: Final = 256 * 1024
"""Bytes that OpenSSH's server takes, and gives, in one packet."""
_KEPT: Final = 16 * 1024
"""Bytes of a packet that are looked at: two paths of the longest kind that a system takes, and some."""
_KEPT_OF_DATA: Final = 512
_MAX_HANDLE: Final = 256
_MAX_FILES: Final = 4096
_MAX_WAITING: Final = 4096
_MAX_WAITING_BYTES: Final = 1 << 20

_INIT, _VERSION, _OPEN, _CLOSE, _READ, _WRITE = 1, 2, 3, 4, 5, 6
_SETSTAT, _FSETSTAT, _OPENDIR, _REMOVE, _MKDIR, _RMDIR = 9, 10, 11, 13, 14, 15
_RENAME, _SYMLINK, _EXTENDED = 18, 20, 200
_STATUS, _HANDLE, _DATA = 101, 102, 103
_WITHOUT_TRACE: Final = frozenset({7, 8, 12, 16, 17, 19})
"""lstat, fstat, readdir, realpath, stat, readlink: they change nothing and read no file."""
_ANSWERS: Final = frozenset({_STATUS, _HANDLE, _DATA, 104, 105, 201})

_STATUSES: Final[Mapping[int, str]] = {
    1: "end of file", 2: "no such file", 3: "permission denied", 4: "it failed", 5: "bad message",
    6: "no connection", 7: "connection lost", 8: "not supported",
}  # fmt: skip
_ATTRIBUTES: Final = (
    (1, (("size", 8),)),
    (2, (("uid", 4), ("gid", 4))),
    (4, (("permissions", 4),)),
    (8, (("atime", 4), ("mtime", 4))),
)


class Unfollowable(Exception):
    """The peer breaks the protocol, or asks for more than is kept track of."""

    told: "tuple[Operation, ...]" = ()
    """What the same bytes completed before."""


@dataclass(frozen=True)
class Operation:
    """Something that was done to files, or tried.

    `path` is what it was done to, as the client named it; `target` where that went, or what a link leads to.
    """

    action: str
    path: bytes
    target: bytes = b""
    flags: int = 0
    """Of an open: the sum of 1 read, 2 write, 4 append, 8 create, 16 truncate, 32 exclusively."""
    attributes: Mapping[str, int] = field(default_factory=dict)
    read: int = 0
    written: int = 0
    """Of a close: bytes in all."""
    error: str = ""
    answered: bool = True
    """False if the end came before the server's answer: it may have been done or not."""


@dataclass(slots=True)
class _File:
    path: bytes
    listing: bool = False
    read: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class _Request:
    """A request that waits for its answer. `action` is empty if none of it is to be told."""

    kind: int
    action: str = ""
    path: bytes = b""
    target: bytes = b""
    handle: bytes = b""
    target_handle: bytes = b""
    flags: int = 0
    attributes: Mapping[str, int] = field(default_factory=dict)
    length: int = 0

    @property
    def size(self) -> int:
        return len(self.path) + len(self.target) + len(self.handle) + len(self.target_handle)


class Watch:
    """Follows one connection between an SFTP client and its server."""

    def __init__(self) -> None:
        self._requests, self._answers = _Packets(_WRITE), _Packets(_DATA)
        self._waiting: dict[int, _Request] = {}
        self._waiting_bytes = 0
        self._files: dict[bytes, _File] = {}

    @property
    def congested(self) -> bool:
        """Whether the client should be read from no further until the server has answered more."""
        return len(self._waiting) >= _MAX_WAITING or self._waiting_bytes >= _MAX_WAITING_BYTES

    def client(self, data: bytes) -> None:
        """Bytes on their way to the server. Raises Unfollowable: then none of them may get there."""
        for kind, fields in self._requests.feed(data):
            if kind == _INIT:
                continue
            number = fields.number(4)
            if number in self._waiting:
                raise Unfollowable(f"request {number} is asked again before it is answered")
            request = _request(kind, fields)
            self._waiting[number] = request
            self._waiting_bytes += request.size

    def server(self, data: bytes) -> list[Operation]:
        """Bytes on their way to the client; the operations that they complete, in order. Raises Unfollowable."""
        told: list[Operation] = []
        try:
            for kind, fields in self._answers.feed(data):
                operation = self._answered(kind, fields)
                if operation is not None:
                    told.append(operation)
        except Unfollowable as error:
            error.told = tuple(told)
            raise
        return told

    def end(self) -> list[Operation]:
        """The connection is over: what was asked and not answered, and every file that was not closed."""
        waiting = [one for one in self._waiting.values() if one.kind != _CLOSE]
        asked = [told for one in waiting if (told := self._operation(one, "", answered=False)) is not None]
        files = [one for one in self._files.values() if not one.listing]
        self._waiting, self._waiting_bytes, self._files = {}, 0, {}
        return asked + [Operation("close", one.path, read=one.read, written=one.written) for one in files]

    def _answered(self, kind: int, fields: "_Fields") -> Operation | None:
        if kind == _VERSION:
            if fields.number(4) > 3:
                raise Unfollowable("the server speaks a later version than 3")
            return None
        if kind not in _ANSWERS:
            raise Unfollowable(f"the server answers with the unknown type {kind}")
        request = self._waiting.pop(fields.number(4), None)
        if request is None:
            return None
        self._waiting_bytes -= request.size
        status = fields.number(4) if kind == _STATUS else 0
        error = "" if not status else _STATUSES.get(status, f"status {status}")
        if not error:
            self._account(request, kind, fields)
        operation = self._operation(request, error)
        if request.kind == _CLOSE:
            self._files.pop(request.handle, None)  # whatever the server says: a handle that is closed twice is none
        return operation

    def _account(self, request: _Request, kind: int, fields: "_Fields") -> None:
        """Note what a request that succeeded means for the files that are open."""
        if request.kind in (_OPEN, _OPENDIR) and kind == _HANDLE:
            if len(self._files) >= _MAX_FILES:
                raise Unfollowable(f"more than {_MAX_FILES} files are open")
            self._files[fields.string(_MAX_HANDLE)] = _File(request.path, request.kind == _OPENDIR)
        elif (file := self._files.get(request.handle)) is None:
            return
        elif request.kind == _READ and kind == _DATA:
            file.read += fields.data_length()
        elif request.kind == _WRITE:
            file.written += request.length

    def _operation(self, request: _Request, error: str, *, answered: bool = True) -> Operation | None:
        """What is told of a request; nothing if it touched nothing, or what nobody had opened."""
        file, other = self._files.get(request.handle), self._files.get(request.target_handle)
        if not request.action or (request.handle and file is None):
            return None
        if request.kind != _CLOSE or file is None:
            path, target = (
                request.path or (file.path if file else b""),
                request.target or (other.path if other else b""),
            )
            return Operation(
                request.action, path, target, request.flags, request.attributes, error=error, answered=answered
            )
        return (
            None if file.listing else Operation("close", file.path, read=file.read, written=file.written, error=error)
        )


class _Fields:
    """Takes fields off a packet of which the beginning was kept."""

    def __init__(self, kept: bytes, length: int) -> None:
        self._kept, self._length, self._at = kept, length, 0

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def string(self, limit: int = _KEPT) -> bytes:
        size = self.number(4)
        if size > limit:
            raise Unfollowable(f"a name or handle of {size} bytes")
        return self._take(size)

    def data_length(self) -> int:
        """The length of a string that is the packet's last field, and of which nothing need be kept."""
        size = self.number(4)
        if size > self._length - self._at:
            raise Unfollowable("a field is longer than its packet")
        return size

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._kept):
            raise Unfollowable("a field is longer than its packet, or than anything that is kept")
        taken, self._at = self._kept[self._at : end], end
        return taken


class _Packets:
    """Cuts one direction into packets and keeps the beginning of each; `data` is the type that carries file data."""

    def __init__(self, data: int) -> None:
        self._data = data
        self._begin()

    def _begin(self) -> None:
        self._head, self._wanted, self._rest, self._length = bytearray(), 5, 0, 0

    def feed(self, data: bytes) -> Iterator[tuple[int, _Fields]]:
        """Types and fields of the packets that these bytes complete."""
        at, end = 0, len(data)
        while at < end:
            if len(self._head) < self._wanted:
                part = data[at : at + self._wanted - len(self._head)]
                self._head += part
                at += len(part)
                if len(self._head) == 5 == self._wanted:
                    self._measure()
            else:
                step = min(self._rest, end - at)
                self._rest -= step
                at += step
            if len(self._head) == self._wanted and not self._rest:
                kind, fields = self._head[4], _Fields(bytes(self._head[5:]), self._length - 1)
                self._begin()
                yield kind, fields

    def _measure(self) -> None:
        self._length = int.from_bytes(self._head[:4], "big")
        if not 5 <= self._length <= MAX_PACKET:
            raise Unfollowable(f"a packet of {self._length} bytes")
        kept = min(self._length, _KEPT_OF_DATA if self._head[4] == self._data else _KEPT)
        self._wanted, self._rest = 4 + kept, self._length - kept


def _request(kind: int, fields: _Fields) -> _Request:
    if kind in _WITHOUT_TRACE:
        return _Request(kind)
    read = _READERS.get(kind)
    if read is None:
        raise Unfollowable(f"a request of the unknown type {kind}")
    return read(fields)


def _open(fields: _Fields) -> _Request:
    return _Request(_OPEN, "open", fields.string(), flags=fields.number(4))


def _read(fields: _Fields) -> _Request:
    return _Request(_READ, handle=fields.string(_MAX_HANDLE))


def _write(fields: _Fields) -> _Request:
    handle, _ = fields.string(_MAX_HANDLE), fields.number(8)
    return _Request(_WRITE, handle=handle, length=fields.data_length())


def _setstat(fields: _Fields) -> _Request:
    return _Request(_SETSTAT, "setstat", fields.string(), attributes=_attributes(fields))


def _fsetstat(fields: _Fields) -> _Request:
    return _Request(_FSETSTAT, "fsetstat", handle=fields.string(_MAX_HANDLE), attributes=_attributes(fields))


def _attributes(fields: _Fields) -> Mapping[str, int]:
    present = fields.number(4)
    return {name: fields.number(size) for bit, group in _ATTRIBUTES if present & bit for name, size in group}


def _symlink(fields: _Fields) -> _Request:
    """What the link leads to comes first: OpenSSH's order, not the draft's."""
    target = fields.string()
    return _Request(_SYMLINK, "symlink", fields.string(), target)


def _extended(fields: _Fields) -> _Request:
    read = _EXTENSIONS.get(fields.string())
    return read(fields) if read is not None else _Request(_EXTENDED)


def _hardlink(fields: _Fields) -> _Request:
    target = fields.string()
    return _Request(_EXTENDED, "link", fields.string(), target)


def _copy_data(fields: _Fields) -> _Request:
    handle, _, _ = fields.string(_MAX_HANDLE), fields.number(8), fields.number(8)
    return _Request(_EXTENDED, "copy", handle=handle, target_handle=fields.string(_MAX_HANDLE))


def _on_path(kind: int, action: str) -> Callable[[_Fields], _Request]:
    return lambda fields: _Request(kind, action, fields.string())


_READERS: Final[Mapping[int, Callable[[_Fields], _Request]]] = {
    _OPEN: _open,
    _CLOSE: lambda fields: _Request(_CLOSE, "close", handle=fields.string(_MAX_HANDLE)),
    _READ: _read,
    _WRITE: _write,
    _SETSTAT: _setstat,
    _FSETSTAT: _fsetstat,
    _OPENDIR: _on_path(_OPENDIR, "opendir"),
    _REMOVE: _on_path(_REMOVE, "remove"),
    _MKDIR: _on_path(_MKDIR, "mkdir"),
    _RMDIR: _on_path(_RMDIR, "rmdir"),
    _RENAME: lambda fields: _Request(_RENAME, "rename", fields.string(), fields.string()),
    _SYMLINK: _symlink,
    _EXTENDED: _extended,
}
_EXTENSIONS: Final[Mapping[bytes, Callable[[_Fields], _Request]]] = {
    b"posix-rename@openssh.com": lambda fields: _Request(_EXTENDED, "rename", fields.string(), fields.string()),
    b"hardlink@openssh.com": _hardlink,
    b"lsetstat@openssh.com": _setstat,
    b"copy-data": _copy_data,
}
