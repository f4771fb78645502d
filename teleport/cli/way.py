"""A connection to a host by way of the proxy. Plain sockets and nothing heavy, not even click: ssh starts it.

What ssh takes for every session is `straight`, as long as everything is as usual; this does the rest of it.
"""

import _socket
import errno
import json
import os
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from teleport.cli import profile as p
from teleport.cli import straight
from teleport.cli.freshness import is_damaged, keep_fresh
from teleport.core.errors import BadInput, TeleportError, Unauthenticated, Unavailable, from_wire

__all__ = [
    "carry",
    "go_on",
    "keep",
    "lead",
    "lead_by",
    "lead_keeping",
    "listing",
    "not_passed_on",
    "question",
    "reach",
    "refuse",
    "split",
    "unanswered",
    "unreached",
    "verdict",
]

_KEEPS, _LEAVES = "teleport-proxy-ssh", "teleport-proxy-ssh-leaving"
_LISTS = "teleport-leaf-hosts"
_PATIENCE, _BANNER_PATIENCE = straight.PATIENCE, straight.BANNER_PATIENCE
_CHUNK = 64 * 1024
_LONGEST_LINE = 128 * 1024
_LATER = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


def go_on(rest: "straight.Rest") -> None:
    """What `straight` has left to do, and the end of the program."""
    try:
        rest(sys.modules[__name__])
    except TeleportError as error:
        from teleport.core.output import complain

        sys.exit(complain("tsh", error))
    except KeyboardInterrupt:
        sys.exit(130)


def lead_by(proxy: str, destination: str) -> None:
    """The whole way by a proxy, and ssh gets the connection. Raises TeleportError."""
    lead(p.current(proxy), destination, fdpass=True)


def lead_keeping(proxy: str, destination: str) -> None:
    """The way in TLS alone, which a network needs that has just swallowed the other. Raises TeleportError."""
    profile = p.current(proxy)
    keep(*_reach_keeping(profile, None, question(profile, *split(destination), ""), remember=True))


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
        keep(connection, rest)
    else:
        _pass_on(connection)


def question(profile: p.Profile, login: str, host: str, cluster: str) -> dict[str, str]:
    """What the proxy is asked for."""
    return {"host": host.removesuffix(f".{cluster or profile.cluster}"), "login": login, "cluster": cluster}


def reach(profile: p.Profile, credentials: Path | None, wanted: dict[str, str]) -> tuple[socket.socket, bytes]:
    """The connection to the host, and what it has said already.

    Where the cluster has it so, TLS ends here and SSH protects its own bytes. A network that does not let that pass is
    noticed by the host's silence, and remembered for a day.
    """
    if not _is_fresh(_network(profile)):
        connection = _connect(profile, credentials, (_LEAVES, _KEEPS))
        rest = _ask(connection, wanted)
        if connection.selected_alpn_protocol() == _KEEPS:
            return connection, rest
        plain = _leave(connection)
        if plain is not None:
            return plain, b""
        return _reach_keeping(profile, credentials, wanted, remember=True)
    return _reach_keeping(profile, credentials, wanted, remember=False)


def _reach_keeping(
    profile: p.Profile, credentials: Path | None, wanted: dict[str, str], *, remember: bool
) -> tuple[ssl.SSLSocket, bytes]:
    connection = _connect(profile, credentials, (_KEEPS,))
    rest = _ask(connection, wanted)
    if remember:
        with suppress(OSError):  # a day of trying twice, where nothing can be written
            _network(profile).touch(mode=0o600)
    return connection, rest


def _network(profile: p.Profile) -> Path:
    """What is remembered of the network to a proxy."""
    return p.home() / f"{profile.proxy.replace(':', '-')}.keeps-tls"


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
    try:
        straight.pass_on(_socket, connection, sys.stdout.fileno())
    except OSError as error:
        raise not_passed_on(error) from None


def keep(connection: "ssl.SSLSocket | straight.Kept", rest: bytes) -> None:
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
        raise unreached(profile.proxy, error) from None


def through(address: tuple[str, int]) -> socket.socket:
    """A connection to the proxy."""
    return socket.create_connection(address, timeout=_PATIENCE)


def listing(profile: p.Profile, cluster: str) -> list[dict[str, Any]]:
    """The hosts that the user reaches in another cluster. Raises TeleportError."""
    return [host for answer in _answers(profile, {"lists": cluster}) for host in answer["hosts"]]


def verdict(profile: p.Profile, cluster: str, login: str, host: str) -> dict[str, Any]:
    """What a host of another cluster would decide. Raises TeleportError."""
    question = {"checks": cluster, "host": host.removesuffix(f".{cluster}"), "login": login}
    return _answers(profile, question)[0]


def _answers(profile: p.Profile, asked: dict[str, str]) -> list[dict[str, Any]]:
    """What another cluster answers, all parts of it."""
    profile.check()
    connection = _connect(profile, None, (_LISTS,))
    try:
        connection.sendall(json.dumps(asked).encode() + b"\n")
        connection.settimeout(_PATIENCE)
        with connection.makefile("rb") as answers:
            return list(_parts(answers))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unanswered(error) from None
    finally:
        connection.close()


def _parts(answers: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Raises what the proxy has answered."""
    more = True
    while more:
        line = answers.readline(_LONGEST_LINE)
        if not line:
            raise Unavailable("the proxy closed the connection before the answer was whole")
        answer = json.loads(line)
        if "error" in answer:
            refuse(answer)
        yield answer
        more = bool(answer.get("more"))


def _ask(connection: ssl.SSLSocket, wanted: dict[str, str]) -> bytes:
    """The question, and the answer's line; what follows it belongs to SSH."""
    return _exchange(connection, wanted)[1]


def _exchange(connection: ssl.SSLSocket, wanted: dict[str, str]) -> tuple[dict[str, Any], bytes]:
    """The answer to a question, and what follows it. Raises what the proxy has answered."""
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
        raise unanswered(error) from None
    if "error" in answer:
        refuse(answer)
    return answer, rest


# -- what goes wrong


def unreached(proxy: str, error: Exception) -> TeleportError:
    return Unavailable(f"the proxy {proxy} is not reached: {error}")


def unanswered(error: Exception) -> TeleportError:
    return Unavailable(f"the proxy did not answer: {error}")


def refuse(answer: dict[str, Any]) -> None:
    """Raises what the proxy has answered."""
    raise from_wire(answer)


def not_passed_on(error: OSError) -> TeleportError:
    return Unavailable(
        f"standard output takes no connection: {error}", hint="--fdpass goes with `ssh -o ProxyUseFdpass=yes`"
    )


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


def carry(connection: "socket.socket | straight.Kept", rest: bytes, source: int, sink: int) -> None:
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


def _send(connection: "socket.socket | straight.Kept", buffer: bytearray) -> bool:
    try:
        while buffer:
            sent = connection.send(bytes(buffer[:_CHUNK]))
            del buffer[:sent]
    except _LATER:
        pass
    except OSError:
        return False
    return True


def _receive(connection: "socket.socket | straight.Kept") -> bytes | None:
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
