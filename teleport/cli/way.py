"""A connection to a host by way of the proxy. Plain sockets and nothing heavy: ssh starts it for every session.

Not even click: the program `tsh` begins here (`begin`), and goes on at `teleport.cli.tsh` with everything else.
"""

import errno
import json
import os
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from teleport.cli import profile as p
from teleport.cli.freshness import is_damaged, keep_fresh
from teleport.core.errors import BadInput, TeleportError, Unauthenticated, Unavailable, from_wire

__all__ = ["begin", "carry", "lead", "question", "reach", "split"]

_KEEPS, _LEAVES = "teleport-proxy-ssh", "teleport-proxy-ssh-leaving"
_PATIENCE = 60.0
"""Seconds for the proxy to answer: longer than it waits for a host itself."""
_BANNER_PATIENCE = 40.0
"""Seconds for a host's first bytes, which it says unasked."""
_CHUNK = 64 * 1024
_LATER = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


def begin() -> None:
    """Entry point of `tsh`: straight on for what `tsh config` makes ssh run; all else is for click."""
    words = sys.argv[1:]
    if words[:3] != ["proxy", "ssh", "--proxy"] or words[4:5] != ["--fdpass"] or len(words) != 6 or words[5][:1] == "-":
        from teleport.cli.tsh import main

        main()
        return
    try:
        lead(p.current(words[3]), words[5], fdpass=True)
    except TeleportError as error:
        from teleport.core.output import complain

        sys.exit(complain("tsh", error))
    except KeyboardInterrupt:
        sys.exit(130)


def lead(
    profile: p.Profile, destination: str, *, cluster: str = "", credentials: Path | None = None, fdpass: bool = False
) -> None:
    """Join standard input and output with a host's SSH server, or pass the connection on. Raises TeleportError."""
    login, host = split(destination)
    profile.check()
    if credentials is None and is_damaged(profile):
        profile = keep_fresh(profile)
    connection, rest = reach(profile, credentials, question(profile, login, host, cluster))
    if not fdpass:
        carry(connection, rest, sys.stdin.fileno(), sys.stdout.fileno())
    elif isinstance(connection, ssl.SSLSocket):
        _carry_in_background(connection, rest)
    else:
        _pass_on(connection)


def question(profile: p.Profile, login: str, host: str, cluster: str) -> dict[str, str]:
    """What the proxy is asked for."""
    return {"host": host.removesuffix(f".{profile.cluster}"), "login": login, "cluster": cluster}


def reach(profile: p.Profile, credentials: Path | None, wanted: dict[str, str]) -> tuple[socket.socket, bytes]:
    """The connection to the host, and what it has said already.

    Where the cluster has it so, TLS ends here and SSH protects its own bytes. A network that does not let that pass is
    noticed by the host's silence, and remembered for a day.
    """
    network = p.home() / f"{profile.proxy.replace(':', '-')}.keeps-tls"
    known = _is_fresh(network)
    if not known:
        connection = _connect(profile, credentials, (_LEAVES, _KEEPS))
        rest = _ask(connection, wanted)
        if connection.selected_alpn_protocol() == _KEEPS:
            return connection, rest
        plain = _leave(connection)
        if plain is not None:
            return plain, b""
    connection = _connect(profile, credentials, (_KEEPS,))
    rest = _ask(connection, wanted)
    if not known:
        with suppress(OSError):  # a day of trying twice, where nothing can be written
            network.touch(mode=0o600)
    return connection, rest


def _is_fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < 86400
    except OSError:
        return False


def _leave(connection: ssl.SSLSocket) -> socket.socket | None:
    """The plain socket, once the host has spoken on it; None if it does not."""
    try:
        connection.unwrap()  # reads to the peer's close_notify and not a byte further
        plain = socket.socket(fileno=connection.detach())
    except (OSError, ValueError):
        connection.close()
        return None
    plain.settimeout(_BANNER_PATIENCE)
    try:
        if plain.recv(1, socket.MSG_PEEK):
            return plain
    except OSError:
        pass
    plain.close()
    return None


def _pass_on(connection: socket.socket) -> None:
    """Give ssh the connection; it waits for a byte with a descriptor on our standard output (ssh_config(5))."""
    try:
        with socket.socket(fileno=os.dup(sys.stdout.fileno())) as ssh_waits:
            socket.send_fds(ssh_waits, [b"\0"], [connection.fileno()])
    except OSError as error:
        raise Unavailable(
            f"standard output takes no connection: {error}", hint="--fdpass goes with `ssh -o ProxyUseFdpass=yes`"
        ) from None


def _carry_in_background(connection: ssl.SSLSocket, rest: bytes) -> None:
    """Give ssh one end of a pair, and carry between the other and TLS after this program has ended for ssh."""
    ours, theirs = socket.socketpair()
    _pass_on(theirs)
    theirs.close()
    if os.fork():
        return
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(nowhere, standard)
    try:
        carry(connection, rest, ours.fileno(), os.dup(ours.fileno()))
    finally:
        os._exit(0)


def split(destination: str) -> tuple[str, str]:
    login, _, rest = destination.rpartition("@")
    host, colon, port = rest.rpartition(":")
    if not colon or not port.isdigit():
        host = rest
    if not host:
        raise BadInput(f"{destination!r} names no host", hint="LOGIN@HOST:PORT")
    return login, host.strip("[]")


def _connect(profile: p.Profile, credentials: Path | None, protocols: Sequence[str]) -> ssl.SSLSocket:
    """Mutual TLS with the proxy. Raises Unavailable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    certificate = credentials / "tls.crt" if credentials else profile.tls_certificate
    key = credentials / "tls.key" if credentials else profile.tls_key
    try:
        context.load_verify_locations(profile.host_authorities)
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise Unauthenticated(f"the login's files cannot be read: {error}", hint="log in again: tsh login") from None
    context.set_alpn_protocols(list(protocols))
    try:
        plain = through(profile.address)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(plain, server_hostname=f"proxy.{profile.cluster}")
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(f"the proxy {profile.proxy} is not reached: {error}") from None


def through(address: tuple[str, int]) -> socket.socket:
    """A connection to the proxy."""
    return socket.create_connection(address, timeout=_PATIENCE)


def _ask(connection: ssl.SSLSocket, wanted: dict[str, str]) -> bytes:
    """The question, and the answer's line; what follows it belongs to SSH."""
    try:
        connection.sendall(json.dumps(wanted).encode() + b"\n")
        buffer = b""
        connection.settimeout(_PATIENCE)
        while b"\n" not in buffer:
            chunk = connection.recv(4096)
            if not chunk or len(buffer) > 1 << 16:
                raise Unavailable("the proxy closed the connection")
            buffer += chunk
        line, _, rest = buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
    except (OSError, ValueError) as error:
        raise Unavailable(f"the proxy did not answer: {error}") from None
    if "error" in answer:
        raise from_wire(answer)
    return rest


class _Interest:
    """Which readiness of which descriptors is waited for."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wanted: dict[int, int] = {}

    def want(self, descriptor: int, *, read: bool = False, write: bool = False) -> None:
        events = selectors.EVENT_READ * read | selectors.EVENT_WRITE * write
        before = self._wanted.get(descriptor, 0)
        if events == before:
            return
        self._wanted[descriptor] = events
        if not events:
            self._selector.unregister(descriptor)
        elif before:
            self._selector.modify(descriptor, events)
        else:
            self._selector.register(descriptor, events)

    def wait(self) -> set[int]:
        """The descriptors that are ready."""
        return {key.fd for key, _ in self._selector.select()}


def carry(connection: socket.socket, rest: bytes, source: int, sink: int) -> None:
    """Both ways until either ends, in one thread, with buffers that make the faster side wait."""
    wire = connection.fileno()
    connection.setblocking(False)
    for descriptor in (source, sink):
        os.set_blocking(descriptor, False)
    inward, outward = bytearray(rest), bytearray()
    interest, source_open = _Interest(), True
    while True:
        _flush(sink, inward)
        if not _send(connection, outward) or not (source_open or outward):
            return
        received = _receive(connection) if len(inward) < _CHUNK else b""
        if received is None:
            _drain(sink, inward)
            return
        if received:
            inward += received
            continue
        interest.want(wire, read=len(inward) < _CHUNK, write=bool(outward))
        interest.want(sink, write=bool(inward))
        interest.want(source, read=source_open and len(outward) < _CHUNK)
        if source in interest.wait():
            data = _read(source)
            source_open = data is not None
            outward += data or b""


def _flush(sink: int, buffer: bytearray) -> None:
    try:
        while buffer:
            written = os.write(sink, buffer[:_CHUNK])
            del buffer[:written]
    except BlockingIOError:
        pass


def _drain(sink: int, buffer: bytearray) -> None:
    os.set_blocking(sink, True)
    _flush(sink, buffer)


def _send(connection: socket.socket, buffer: bytearray) -> bool:
    try:
        while buffer:
            sent = connection.send(bytes(buffer[:_CHUNK]))
            del buffer[:sent]
    except _LATER:
        pass
    except OSError:
        return False
    return True


def _receive(connection: socket.socket) -> bytes | None:
    """What is there, empty for nothing yet, None for the end."""
    try:
        return connection.recv(_CHUNK) or None
    except _LATER:
        return b""
    except (ssl.SSLError, OSError):
        return None


def _read(source: int) -> bytes | None:
    try:
        return os.read(source, _CHUNK) or None
    except BlockingIOError:
        return b""
    except OSError as error:
        if error.errno == errno.EIO:
            return None
        raise
