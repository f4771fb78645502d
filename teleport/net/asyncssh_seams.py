"""Every touch of asyncssh's internals, in one place; `pyproject.toml` pins the versions it was checked against.

- The raw certificate: asyncssh's decoder drops extensions it does not know and compares `source-address` with the
  peer of the socket, which here is the proxy. So the whole validation of a certificate is ours.
- Requests that concern the whole connection, and channels that forward: keep-alives are answered, what asks for
  forwarding goes unread to whoever forwards, all others are refused. asyncssh would end the connection, with every
  session on it, over some of them.
- Bounds on what a client may pile up: requests and variables on a channel, attempts and bytes before it has logged in.
- Fairness: what comes in is worked off in portions, so that a flood of tiny packets (each costs a copy of all that
  waits) leaves time for other connections; what goes out waits when the transport is full, whatever window a client
  offers, and packets are not cut into crumbs for it.
- What was hashed and signed when somebody logged in, as a third party needs it that is to believe it.
- Speed: packets of one turn of the loop leave together, the empty message that asyncssh puts before each of them (it
  makes the vectors of CBC, which is not offered, unpredictable) is left out, and data goes the way of `asyncssh_bulk`.
- Starting a server connection on a transport that exists already (TLS inside, or a plain socket).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, Final, Protocol

import asyncssh
from asyncssh.channel import SSHForwardChannel, SSHServerChannel
from asyncssh.connection import SSHServerConnection, SSHServerConnectionOptions
from asyncssh.constants import MSG_GLOBAL_REQUEST
from asyncssh.kex import get_kex_algs
from asyncssh.kex_dh import _KexDHBase
from asyncssh.packet import SSHPacket, String

from teleport.net.asyncssh_flow import MIN_PACKET, BoundedChannel, PacedConnection
from teleport.wire.ssh_userauth import Exchange, Login

__all__ = [
    "ALGORITHMS", "Channel", "Connection", "CredentialCheck", "ForwardChannel", "Forwards", "available",
    "new_connection", "server_options",
]  # fmt: skip

log = logging.getLogger(__name__)

CredentialCheck = Callable[[str, bytes, bool], Awaitable[str | None]]
"""`(login, certificate line, proved) -> the OpenSSH line of the key that must sign`, None to refuse.

Called first when a key is offered, then once its signature is proved."""


class Forwards(Protocol):
    """Whoever forwards for a connection."""

    async def open(self, kind: bytes, body: bytes) -> "asyncssh.SSHTCPSession[bytes]":
        """Serve a channel. Raises asyncssh.ChannelOpenError, whose text the client reads."""

    async def asked(self, name: bytes, body: bytes) -> bool | bytes:
        """Answer a request that concerns the whole connection: granted or not, or granted with this answer."""


_KEEP_ALIVE: Final = b"keepalive@openssh.com"
_MAX_ENVIRONMENT: Final = 64
_MAX_VARIABLE: Final = 4096
_MAX_OF_THE_CONNECTION: Final = 128
"""Requests that concern the whole connection and wait for their answer."""
_MAX_FORWARD: Final = 4096
"""Bytes of a request to forward something."""
_MAX_FORWARDS: Final = 512
"""Channels that forward, or that somebody asked for and has no answer about yet."""
_FORWARD_WINDOW: Final = 1 << 20
_MAX_ATTEMPTS: Final = 20
"""Certificates, good or bad, that a client may offer or prove on one connection."""
_MAX_BEFORE_LOGIN: Final = 256 * 1024
"""Bytes from a client who has not logged in: key exchange and every permitted attempt need less."""
ALGORITHMS: Final[dict[str, Any]] = {
    "kex_algs": [
        "mlkem768x25519-sha256", "sntrup761x25519-sha512@openssh.com", "curve25519-sha256",
        "curve25519-sha256@libssh.org",
    ],
    "encryption_algs": ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com",
                        "aes256-ctr", "aes128-ctr"],
    "mac_algs": ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"],
    "compression_algs": None,
    "signature_algs": ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
                       "rsa-sha2-512", "rsa-sha2-256", "sk-ssh-ed25519@openssh.com",
                       "sk-ecdsa-sha2-nistp256@openssh.com"],
}  # fmt: skip
"""What is offered, where the installation has it: no SHA-1, no CBC, no NIST curves, encrypt-then-MAC alone."""


_SIGNATURES: Final = frozenset(name.encode() for name in ALGORITHMS["signature_algs"])


def available(algorithms: dict[str, Any]) -> dict[str, Any]:
    """As far as this installation has them."""
    exchanges = {name.decode() for name in get_kex_algs()}
    return {**algorithms, "kex_algs": [name for name in algorithms["kex_algs"] if name in exchanges]}


def server_options(host_key: str, host_certificate: str, **more: Any) -> SSHServerConnectionOptions:
    """Options shared by all connections of a host. Everything but public keys and sessions is off."""
    key = asyncssh.import_private_key(host_key)
    certificate = asyncssh.import_certificate(host_certificate)
    return SSHServerConnectionOptions(
        server_factory=asyncssh.SSHServer,
        server_host_keys=[(key, certificate)],
        password_auth=False, kbdint_auth=False, host_based_auth=False, gss_host=None, public_key_auth=True,
        agent_forwarding=False, x11_forwarding=False, allow_pty=True, allow_scp=False, sftp_factory=None,
        line_editor=False, encoding=None, config=[], server_version="Teleport", tcp_keepalive=True,
        **available(ALGORITHMS), **more,
    )  # fmt: skip


class Channel(BoundedChannel, SSHServerChannel[bytes]):
    """A session channel with bounds on what a client may request before anything starts."""

    def _process_env_request(self, packet: SSHPacket) -> bool:
        if len(self._env) >= _MAX_ENVIRONMENT:
            return False
        known = dict(self._env)
        accepted = super()._process_env_request(packet)
        added = {key: value for key, value in self._env.items() if known.get(key) != value}
        if any(len(key) + len(value) > _MAX_VARIABLE for key, value in added.items()):
            self._env = known
            return False
        return accepted

    def _process_exec_request(self, packet: SSHPacket) -> bool:
        """As asyncssh has it, but a command is bytes: names of files in it need be no UTF-8."""
        command = packet.get_string()
        packet.check_end()
        return self._start_session(command=command.decode("utf-8", "surrogateescape"))

    def _process_auth_agent_req_at_openssh_dot_com_request(self, packet: SSHPacket) -> None:
        self._answer_later(self._session.agent_requested())  # type: ignore[attr-defined]

    def _process_x11_req_request(self, packet: SSHPacket) -> None:
        self._answer_later(self._session.x11_requested(packet.get_remaining_payload()))  # type: ignore[attr-defined]

    def _answer_later(self, granted: "asyncio.Future[bool]") -> None:
        granted.add_done_callback(self._answer)

    def _answer(self, granted: "asyncio.Future[bool]") -> None:
        yes = not granted.cancelled() and granted.exception() is None and granted.result()
        if self._connection is not None:
            self._report_response(yes)


class ForwardChannel(BoundedChannel, SSHForwardChannel[bytes]):
    """A channel that carries a forwarded connection."""

    def __init__(self, connection: "Connection") -> None:
        super().__init__(connection, connection._loop, None, "strict", _FORWARD_WINDOW, connection._max_pktsize)

    async def open(self, session: "asyncssh.SSHTCPSession[bytes]", kind: bytes, *parts: bytes) -> None:
        """Ask the client to take it. Raises asyncssh.Error."""
        await self._open(kind, *parts)
        if self._connection is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the client took it and closed it at once")
        self._session = session
        session.connection_made(self)  # type: ignore[arg-type]
        session.session_started()
        self._connection.create_task(self._start_reading())

    def process_open_confirmation(self, send_chan: int, send_window: int, send_pktsize: int, packet: SSHPacket) -> None:
        if send_pktsize < MIN_PACKET:
            raise asyncssh.ProtocolError("packets as small as that are not sent")
        super().process_open_confirmation(send_chan, send_window, send_pktsize, packet)

    _packet_handlers = BoundedChannel._packet_handlers


class _Opening:
    """A channel about to be served. Nothing is begun until it is awaited, which it may never be."""

    def __init__(self, open_it: Callable[[], Awaitable[Any]]) -> None:
        self._open = open_it

    def __await__(self) -> Generator[Any, None, Any]:
        return self._open().__await__()


class Connection(PacedConnection, SSHServerConnection):
    """A server connection whose certificates we judge ourselves."""

    check: CredentialCheck
    client: tuple[str, int]
    """Address and port of the client, from the dial-back ticket: the socket's peer is the proxy."""
    forwards: Forwards | None = None
    """Who forwards, once the client is in."""
    login: Login | None = None
    """The login that was proved last."""
    _exchange: Exchange | None = None
    _attempts = 0
    _before_login = 0

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._in_turn: list[asyncio.Future[None]] = []
        """Sessions that open when all requests of the whole connection are answered."""

    # -- what comes in

    def _may_say(self, count: int) -> bool:
        if self._auth_complete:
            return True
        self._before_login += count
        if self._before_login > _MAX_BEFORE_LOGIN:
            self._force_close(asyncssh.ProtocolError("too much was said before the login"))
        return self._before_login <= _MAX_BEFORE_LOGIN

    # -- what concerns the whole connection, and what forwards

    def _process_global_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """Requests are answered in their order, whatever each takes."""
        name, answer = packet.get_string(), packet.get_boolean()
        if len(self._global_request_queue) >= _MAX_OF_THE_CONNECTION:
            if answer:
                raise asyncssh.ProtocolError("too many requests are waiting on the connection")
            return
        serve: Any = partial(self._serve_global, name, packet.get_remaining_payload())
        self._global_request_queue.append((serve, SSHPacket(b""), answer))
        if len(self._global_request_queue) == 1:
            self._service_next_global_request()

    def _serve_global(self, name: bytes, body: bytes, _: SSHPacket) -> None:
        if name == _KEEP_ALIVE or self.forwards is None or len(body) > _MAX_FORWARD:
            self._report_global_response(name == _KEEP_ALIVE)
        else:
            self.create_task(self._answer_global(self.forwards, name, body))

    async def _answer_global(self, forwards: Forwards, name: bytes, body: bytes) -> None:
        answer: bool | bytes = False
        try:
            answer = await forwards.asked(name, body)
        except Exception:
            log.exception("a request to forward failed")
        if self._transport is not None:
            self._report_global_response(answer)

    def _report_global_response(self, result: bool | bytes) -> None:
        super()._report_global_response(result)
        if not self._global_request_queue:
            for waiting in self._in_turn:
                if not waiting.done():
                    waiting.set_result(None)
            self._in_turn.clear()

    def _cleanup(self, exc: Exception | None) -> None:
        super()._cleanup(exc)
        for waiting in self._in_turn:
            waiting.cancel()

    def _process_session_open(self, packet: SSHPacket) -> Any:
        """A session opens when what was asked before it is answered: its program may rely on a port that listens."""
        channel, session = super()._process_session_open(packet)
        if not self._global_request_queue:
            return channel, session
        answered: asyncio.Future[None] = self._loop.create_future()
        self._in_turn.append(answered)

        async def open_in_turn() -> Any:
            await answered
            return session

        return channel, _Opening(open_in_turn)

    def _forward(self, kind: bytes, packet: SSHPacket) -> tuple[ForwardChannel, Any]:
        body, forwards = packet.get_remaining_payload(), self.forwards
        if forwards is None or len(body) > _MAX_FORWARD:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "that is not forwarded")
        if len(self._channels) - self.session_count >= _MAX_FORWARDS:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too much is being forwarded")
        return ForwardChannel(self), _Opening(lambda: forwards.open(kind, body))

    def _process_direct_tcpip_open(self, packet: SSHPacket) -> Any:
        return self._forward(b"direct-tcpip", packet)

    def _process_direct_streamlocal_at_openssh_dot_com_open(self, packet: SSHPacket) -> Any:
        return self._forward(b"direct-streamlocal@openssh.com", packet)

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        if not self._session_id:
            kex, host_key = self._kex, self.get_server_host_key()
            assert isinstance(kex, _KexDHBase)
            assert host_key is not None
            self._exchange = Exchange(
                kex._hash_alg().name, self._client_version, self._server_version, self._client_kexinit,
                self._server_kexinit, host_key.public_data,
                kex._gex_data + kex._format_client_key() + kex._format_server_key(), k,
            )  # fmt: skip
        super().send_newkeys(k, h)

    _packet_handlers = {  # noqa: RUF012
        **SSHServerConnection._packet_handlers,
        MSG_GLOBAL_REQUEST: _process_global_request,
    }

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        """First asked without a signature whether a key would do, then with it. Errors refuse; they cut no one else."""
        self._attempts += 1
        if self._attempts > _MAX_ATTEMPTS:
            raise asyncssh.DisconnectError(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many attempts to log in")
        try:
            line = _as_line(key_data)
            expected = await self.check(username, line, False)
            if expected is None:
                return False
            if not msg:
                return True
            key = asyncssh.import_public_key(expected)
            if _algorithm(signature) not in _SIGNATURES:
                return False
            if not key.verify(String(self._session_id) + msg, signature):
                return False
            assert self._exchange is not None
            self.login = Login(self._exchange, msg, signature)
            return await self.check(username, line, True) is not None
        except (ValueError, asyncssh.Error):
            return False

    # -- what goes out

    def open_channel(self) -> Channel:
        """The channel for a session request."""
        return Channel(
            self, self._loop, self._allow_pty, self._line_editor, self._line_echo, self._line_history,
            self._max_line_length, self._encoding, self._errors, self._window, self._max_pktsize,
        )  # fmt: skip

    async def wait_heard(self) -> None:
        """Until the client has taken in what was sent so far: it answers a keep-alive, whatever it thinks of it."""
        await self._make_global_request(_KEEP_ALIVE)

    def say_disconnect(self, code: int, reason: str) -> None:
        """Send the last message without cutting off what is still on its way, as `disconnect` would."""
        self._send_disconnect(code, reason, "en")
        self._together.flush()

    @property
    def session_count(self) -> int:
        return sum(isinstance(channel, Channel) for channel in self._channels.values())


def _algorithm(signature: bytes) -> bytes:
    size = int.from_bytes(signature[:4], "big")
    return signature[4 : 4 + size]


def _as_line(key_data: bytes) -> bytes:
    """A key blob as OpenSSH writes it in a file. Raises ValueError."""
    import base64

    size = int.from_bytes(key_data[:4], "big")
    kind = key_data[4 : 4 + size]
    if len(key_data) < 4 or len(kind) != size or not 0 < size < 128 or not kind.isascii() or b" " in kind:
        raise ValueError("not a key")
    return kind + b" " + base64.b64encode(key_data)


def new_connection(
    options: SSHServerConnectionOptions, owner: asyncssh.SSHServer, *,
    check: CredentialCheck, client: tuple[str, int],
) -> Connection:  # fmt: skip
    """An SSH server connection, to be given to a transport as its protocol."""
    connection = Connection(asyncio.get_running_loop(), options, wait=None)
    connection._protocol_factory = lambda: owner
    connection.check, connection.client = check, client
    return connection
