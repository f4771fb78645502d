"""`tsh proxy ssh --local`: a listener on this machine's loopback that leads to one host, for any SSH client.

It serves programs of the user who started it, and of nobody else; the two ways of serving one are `Terminated`
(local_ssh.py), and here the one that hands bytes on and lets the client authenticate at the host.
"""

import asyncio
import ipaddress
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from teleport.cli import profile as p
from teleport.cli.freshness import keep_fresh
from teleport.cli.way import carry, question, reach
from teleport.core.errors import BadInput, TeleportError, Unauthenticated, Unavailable
from teleport.core.output import complain, printable, write
from teleport.net.owner import owner_of_peer

__all__ = ["Destination", "in_background", "run"]

T = TypeVar("T")

Serve = Callable[[socket.socket], Awaitable[None]]
"""Serves one connection to its end."""

_CHUNK: Final = 64 * 1024


@dataclass(frozen=True)
class Destination:
    """A host, and as whom in the cluster it is reached. Without a login, the client says which."""

    proxy: str
    user: str
    login: str
    host: str
    cluster: str = ""

    def present(self) -> p.Profile:
        """The login to the cluster as it is now. Raises Unauthenticated where it ended or is another's."""
        profile = keep_fresh(p.current(self.proxy))
        profile.check()
        if profile.user != self.user:
            raise Unauthenticated(f"{self.user} is not logged in any more", hint="start `tsh proxy ssh --local` again")
        return profile

    def connect(self, login: str) -> socket.socket:
        """A connection to the host's SSH server. Waits for it. Raises TeleportError."""
        profile = self.present()
        connection, rest = reach(profile, None, question(profile, login, self.host, self.cluster))
        if not rest and type(connection) is socket.socket:
            return connection
        ours, theirs = socket.socketpair()
        threading.Thread(target=_carry, args=(connection, rest, ours), daemon=True).start()
        return theirs

    def __str__(self) -> str:
        return f"{self.login}@{self.host}" if self.login else self.host


def _carry(connection: socket.socket, rest: bytes, ours: socket.socket) -> None:
    with connection, ours:
        carry(connection, rest, ours.fileno(), os.dup(ours.fileno()))


def run(there: Destination, listen: str, *, end_to_end: bool, form: str) -> None:
    """Listen until interrupted. Raises BadInput for an address that others reach, Unavailable for one that is taken."""
    if end_to_end and not there.login:
        raise BadInput(
            "the client authenticates by itself: as whom?", hint="tsh proxy ssh --local --end-to-end LOGIN@HOST"
        )
    with _listener(listen) as listener, ExitStack() as stack:
        port = listener.getsockname()[1]
        more: Mapping[str, str] = {}
        if end_to_end:
            serve = _handed_on(there)
        else:
            from teleport.cli.tsh_commands.local_ssh import Terminated

            terminated = stack.enter_context(Terminated.opened(there, port))
            serve, more = terminated.serve, terminated.about
        asyncio.run(_serve(listener, serve, ready=lambda: _say(there, listener, more, form)))


def _listener(address: str) -> socket.socket:
    host, port = p.split_address(address if ":" in address else f"127.0.0.1:{address}")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise BadInput(f"{host} is no address of the loopback", hint="--listen 127.0.0.1:PORT, or [::1]:PORT")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise Unavailable(f"{address} cannot be listened on: {error.strerror or error}") from None


def _say(there: Destination, listener: socket.socket, more: Mapping[str, str], form: str) -> None:
    address, port = listener.getsockname()[:2]
    if form == "json":
        about = {"address": address, "port": port, "login": there.login, "host": there.host, **more}
        click.echo(json.dumps(about))  # a line: programs read on while we go on
    else:
        write(f"Listening on {address} port {port} for {printable(str(there))}, until interrupted.")
        for name, value in more.items():
            write(f"{name.replace('_', ' ').capitalize() + ':':<15}{printable(value)}")
    sys.stdout.flush()


async def _serve(listener: socket.socket, serve: Serve, *, ready: Callable[[], None]) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopped.set)
    ready()
    listener.setblocking(False)
    accepting = asyncio.create_task(_accept(listener, serve))
    await asyncio.wait([accepting, asyncio.create_task(stopped.wait())], return_when=asyncio.FIRST_COMPLETED)
    if accepting.done():
        accepting.result()


async def _accept(listener: socket.socket, serve: Serve) -> None:
    loop, connections = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    while True:
        connection, _ = await loop.sock_accept(listener)
        if not _is_ours(connection):
            connection.close()
            continue
        task = asyncio.create_task(_until_its_end(connection, serve))
        connections.add(task)
        task.add_done_callback(connections.discard)


def _is_ours(connection: socket.socket) -> bool:
    """Whether a program of our own user connected: nobody else on this machine gets as far as a password."""
    try:
        owner = owner_of_peer(connection)
    except OSError:  # not a Linux: the password has to do, and end to end the certificate
        return True
    if owner != os.geteuid():
        write(f"tsh: note: a connection of {_named(owner)} was refused", stream=sys.stderr)
    return owner == os.geteuid()


def _named(owner: int | None) -> str:
    return "a program that has left already" if owner is None else f"another user of this machine (uid {owner})"


async def _until_its_end(connection: socket.socket, serve: Serve) -> None:
    try:
        with connection:
            await serve(connection)
    except TeleportError as error:
        complain("tsh", error)
    except OSError:
        pass  # either side went away


async def in_background(work: Callable[[], T]) -> T:
    """What blocks, in a thread that the end of the program does not wait for."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(setter: Callable[[Any], None], value: Any) -> None:
        if not result.done():
            setter(value)

    def thread() -> None:
        try:
            loop.call_soon_threadsafe(settle, result.set_result, work())
        except Exception as error:
            loop.call_soon_threadsafe(settle, result.set_exception, error)

    threading.Thread(target=thread, daemon=True).start()
    return await result


def _handed_on(there: Destination) -> Serve:
    async def serve(near: socket.socket) -> None:
        far = await in_background(lambda: there.connect(there.login))
        with far:
            near.setblocking(False)
            far.setblocking(False)
            async with asyncio.TaskGroup() as both:
                both.create_task(_hand_on(near, far))
                both.create_task(_hand_on(far, near))

    return serve


async def _hand_on(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, _CHUNK):
        await loop.sock_sendall(sink, data)
    sink.shutdown(socket.SHUT_WR)
