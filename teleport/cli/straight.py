"""`tsh proxy ssh` as ssh runs it for every session, when everything is as usual; the program `tsh` begins here.

Only modules below the standard library's are imported: what `ssl`, `socket`, `json` and `pathlib` load takes longer
than the interpreter's start and the connection together. Whatever is not as usual (a login that has expired, a file
that is damaged, a proxy or a network that keeps TLS, a refusal) is left to `teleport.cli.way`, which does it whole.
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    Rest = Callable[[Any], None]
    """What is left to do, given the module `teleport.cli.way`."""

__all__ = ["BANNER_PATIENCE", "PATIENCE", "Kept", "begin", "go", "pass_on"]

PATIENCE = 60.0
"""Seconds for the proxy to answer: longer than it waits for a host itself."""
BANNER_PATIENCE = 40.0
"""Seconds for a host's first bytes, which it says unasked."""
_LEAVES, _KEEPS = b"teleport-proxy-ssh-leaving", b"teleport-proxy-ssh"
_MAX_ANSWER = 1 << 16
_USUAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
"""Of names: nothing that JSON, a path or a resolver reads differently."""


def begin() -> None:
    """Entry point of `tsh`: straight on for what `tsh config` makes ssh run; all else is for click."""
    words = sys.argv[1:]
    if words[:3] != ["proxy", "ssh", "--proxy"] or words[4:5] != ["--fdpass"] or len(words) != 6 or words[5][:1] == "-":
        from teleport.cli.tsh import main

        main()
        return
    rest = go(words[3], words[5])
    if rest is None:
        os._exit(0)  # there is nothing to tidy up
    from teleport.cli import way

    way.go_on(rest)


def go(proxy: str, destination: str, *, out: int = 1) -> "Rest | None":
    """Give ssh the connection by its end of `out`; None when it has it, otherwise what is left to do."""
    try:
        login = _Login(proxy, destination)
        import _socket as sockets
        import _ssl as openssl

        plain = _connected(sockets, login.address)
    except TimeoutError as error:
        return _raising("unreached", proxy, error)  # it is not waited for again
    except Exception:  # whatever it is: nothing has been asked yet, and the whole way says what is wrong
        return lambda way: way.lead_by(proxy, destination)
    try:
        tls = login.context(openssl)._wrap_socket(plain, False, f"proxy.{login.cluster}")
        tls.do_handshake()
    except Exception as error:
        plain.close()
        if isinstance(error, TimeoutError):
            return _raising("unreached", proxy, error)
        return lambda way: way.lead_by(proxy, destination)
    rest = _ask(tls, plain, login.question)
    if rest is not None:
        return rest
    if not _has_left(tls, plain, sockets.MSG_PEEK):
        plain.close()
        return lambda way: way.lead_keeping(proxy, destination)
    try:
        pass_on(sockets, plain, out)
    except OSError as error:
        return _raising("not_passed_on", error)
    finally:
        plain.close()
    return None


def _ask(tls: "Any", plain: "Any", question: bytes) -> "Rest | None":
    """None if the proxy has accepted, and TLS is to be left."""
    try:
        tls.write(question)
        answer, said = _answer(tls)
    except (OSError, ValueError, StopIteration) as error:
        plain.close()
        return _raising("unanswered", error)
    if "error" in answer:
        plain.close()
        return lambda way: way.refuse(answer)
    if tls.selected_alpn_protocol() != _LEAVES.decode():
        return lambda way: way.keep(Kept(tls, plain), said)
    return None


def _raising(name: str, *about: object) -> "Rest":
    """What is left is to say what went wrong, with an error that `way` makes."""

    def fail(way: "ModuleType") -> None:
        raise getattr(way, name)(*about)

    return fail


class _Login:
    """The files of a login, as `profile` and `freshness` write them. Raises where anything is to be done about them."""

    def __init__(self, proxy: str, destination: str) -> None:
        host, _, port = proxy.rpartition(":")
        if not _is_usual(host) or not port.isdigit():
            raise ValueError(proxy)
        self.address = host, int(port)
        home = os.environ.get("TELEPORT_HOME") or os.path.expanduser("~/.tsh")
        with open(f"{home}/{host}-{port}.json") as file:
            profile = parsed(file.read())
        self.cluster, user = profile["cluster"], profile["user"]
        self._authorities = f"{home}/cas/{self.cluster}.pem"
        self._folder, self._user = f"{home}/keys/{host}-{port}", user
        if time.time() >= profile["expires"] or os.path.exists(f"{home}/{host}-{port}.keeps-tls"):
            raise ValueError(profile)
        self._check_whole(f"{home}/known_hosts")
        self.question = self._question(destination)

    def _question(self, destination: str) -> bytes:
        """What the proxy is asked for; in the words of `way.question`."""
        login, _, rest = destination.rpartition("@")
        host = rest.rpartition(":")[0]
        if not (_is_usual(login) and _is_usual(host)):
            raise ValueError(destination)
        return f'{{"host": "{host.removesuffix(f".{self.cluster}")}", "login": "{login}", "cluster": ""}}\n'.encode()

    def _check_whole(self, known_hosts: str) -> None:
        """As `freshness.is_damaged` does: the sums of the files are those that were written down."""
        from zlib import crc32

        with open(known_hosts) as file:
            start = f"@cert-authority *.{self.cluster} "
            ours = "\n".join(line for line in file.read().splitlines() if line.startswith(start))
        sums = []
        for path in (f"{self._folder}/{self._user}", f"{self._folder}/{self._user}-cert.pub", self._authorities):
            with open(path, "rb") as raw:
                sums.append(crc32(raw.read()))
        with open(f"{self._folder}/.refreshed") as file:
            if parsed(file.read()) != [*sums, crc32(ours.encode())]:
                raise ValueError(known_hosts)

    def context(self, openssl: "Any") -> "Any":
        """TLS 1.3, the proxy verified by the cluster's authority and by name, and our certificate."""
        context = openssl._SSLContext(openssl.PROTOCOL_TLS_CLIENT)
        if context.verify_mode != openssl.CERT_REQUIRED or not context.check_hostname:
            raise ValueError("what verifies peers by default does not")
        context.minimum_version = openssl.PROTO_TLSv1_3
        context.load_verify_locations(self._authorities)
        context.load_cert_chain(f"{self._folder}/{self._user}.crt", f"{self._folder}/{self._user}.key")
        context._set_alpn_protocols(b"".join(bytes([len(name)]) + name for name in (_LEAVES, _KEEPS)))
        return context


def _is_usual(name: str) -> bool:
    return bool(name) and _USUAL.issuperset(name)


def parsed(text: str) -> "Any":
    """What a text of JSON says. Raises ValueError or StopIteration."""
    from _json import make_scanner  # `json` would load regular expressions first

    class Reading:
        strict, object_hook, object_pairs_hook = True, None, None
        parse_float, parse_int, parse_constant = float, int, float

    scan: Any = make_scanner(Reading)  # type: ignore[arg-type]
    return scan(text, 0)[0]


def _connected(sockets: "Any", address: tuple[str, int]) -> "Any":
    """A socket to the first address of the proxy that answers."""

    class Plain(sockets.socket):  # type: ignore[misc]  # of the bare one TLS can keep no weak reference
        pass

    failure: OSError = OSError("the proxy has no address")
    host, port = address[0].encode(), address[1]  # of a text the resolver would make an international name
    for family, kind, protocol, _, place in sockets.getaddrinfo(host, port, 0, sockets.SOCK_STREAM):
        sock = Plain(family, kind, protocol)
        sock.settimeout(PATIENCE)
        try:
            sock.connect(place)
            sock.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _answer(tls: "Any") -> "tuple[dict[str, Any], bytes]":
    """The proxy's line, and what the host has said after it."""
    buffer = b""
    while b"\n" not in buffer:
        chunk = tls.read(4096)
        if not chunk or len(buffer) > _MAX_ANSWER:
            raise OSError("it closed the connection")
        buffer += chunk
    line, _, rest = buffer.partition(b"\n")
    answer = parsed(line.decode())
    if not isinstance(answer, dict):
        raise ValueError("it answered something else")
    return answer, rest


def _has_left(tls: "Any", plain: "Any", peek: int) -> bool:
    """Whether TLS has ended on both sides, and the host speaks on the plain socket."""
    try:
        tls.shutdown()  # reads to the peer's close_notify and not a byte further
        plain.settimeout(BANNER_PATIENCE)
        return bool(plain.recv(1, peek))
    except (OSError, ValueError):
        return False


def pass_on(sockets: "Any", connection: "Any", out: int) -> None:
    """Give ssh the connection; it waits for a byte with a descriptor on our standard output (ssh_config(5))."""
    ssh_waits = sockets.socket(fileno=os.dup(out))
    descriptor = connection.fileno().to_bytes(4, sys.byteorder)
    try:
        ssh_waits.sendmsg([b"\0"], [(sockets.SOL_SOCKET, sockets.SCM_RIGHTS, descriptor)])
    finally:
        ssh_waits.close()


class Kept:
    """A connection that stays in TLS, as `way.carry` takes one."""

    def __init__(self, tls: "Any", plain: "Any") -> None:
        self._tls, self._plain = tls, plain
        self.fileno, self.setblocking, self.close = plain.fileno, plain.setblocking, plain.close
        self.send, self.recv = tls.write, tls.read
