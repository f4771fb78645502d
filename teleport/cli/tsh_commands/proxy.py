"""`tsh proxy ssh`: what ssh runs as its ProxyCommand. Plain sockets and nothing heavy: it starts for every session."""

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

import click

from teleport.cli import profile as p
from teleport.cli.clusters import check_cluster, cluster_option
from teleport.cli.freshness import is_damaged, keep_fresh
from teleport.cli.options import output_option
from teleport.core.errors import BadInput, Unauthenticated, Unavailable, from_wire
from teleport.core.program import Group

__all__ = ["carry", "proxy", "question", "reach"]

_KEEPS, _LEAVES = "teleport-proxy-ssh", "teleport-proxy-ssh-leaving"
_PATIENCE = 60.0
"""Seconds for the proxy to answer: longer than it waits for a host itself."""
_BANNER_PATIENCE = 40.0
"""Seconds for a host's first bytes, which it says unasked."""
_CHUNK = 64 * 1024
_LATER = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


@click.group(cls=Group)
def proxy() -> None:
    """Connections for other programs."""


@proxy.command(name="ssh")
@click.argument("destination", metavar="LOGIN@HOST[:PORT]")
@click.option("--proxy", "address", metavar="HOST:PORT", help="The proxy (the one logged in to last).")
@cluster_option
@click.option("--credentials", type=click.Path(path_type=Path), help="A folder with tls.crt and tls.key.")
@click.option("--fdpass", is_flag=True, help="Pass the connection on and end: for `ssh -o ProxyUseFdpass=yes`.")
@click.option("--local", is_flag=True, help="Listen for any SSH client on this machine, and authenticate for it.")
@click.option("--end-to-end", is_flag=True, help="With --local: the client has the certificate and authenticates.")
@click.option("--listen", metavar="ADDRESS:PORT", help="With --local: where, on the loopback (127.0.0.1, a free port).")
@output_option()
def ssh(
    destination: str, address: str | None, cluster: str, credentials: Path | None, fdpass: bool, local: bool,
    end_to_end: bool, listen: str | None, form: str,
) -> None:  # fmt: skip
    """Carry standard input and output to a host's SSH server, for `ssh -o ProxyCommand`.

    With --fdpass nothing is carried: ssh gets the connection itself, and this program ends.

    With --local it goes on until it is interrupted, for clients that know neither certificates nor a ProxyCommand:
    they connect to the address it prints, with the password that it wrote to a file only you can read.

    Example: ssh -o ProxyCommand="tsh proxy ssh %r@%h:%p" root@db-1
    """
    profile = p.current(address)
    login, host = _split(destination)
    profile.check()
    check_cluster(profile, cluster)
    if local:
        from teleport.cli.tsh_commands import local as listener

        there = listener.Destination(profile.proxy, profile.user, login, host, cluster)
        listener.run(there, listen or "127.0.0.1:0", end_to_end=end_to_end, form=form)
        return
    if end_to_end or listen:
        raise BadInput("--end-to-end and --listen go with --local")
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


def _split(destination: str) -> tuple[str, str]:
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
