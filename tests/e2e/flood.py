"""Strangers who come to a cluster's port at a bounded rate, for a bounded time, and from loopback only.

Started as a process of its own with HOST PORT SECONDS RATE and a folder with a stranger's certificate (tls.crt,
tls.key); prints what became of them as JSON.
"""

import contextlib
import json
import selectors
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

QUIET = ("silent", "garbage", "half a hello")
KINDS = ("silent", "garbage", "half a hello", "no certificate", "wrong certificate", "guess")
_MOST = 3000
"""Connections that are held at once."""
_TALKERS = 20
"""Who shake hands or wait for an answer at once."""
_HELLO = bytes.fromhex("1603010200010001fc0303")


@dataclass
class Flood:
    address: tuple[str, int]
    folder: Path
    became: Counter[str] = field(default_factory=Counter)
    open: list[socket.socket] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, seconds: float, rate: float) -> None:
        began, count = time.monotonic(), 0
        talking: list[threading.Thread] = []
        while (passed := time.monotonic() - began) < seconds:
            if count >= passed * rate or len(self.open) >= _MOST:
                time.sleep(0.01)
                continue
            kind = KINDS[count % len(KINDS)]
            if kind in QUIET:
                self._come(kind, count)
            elif len(talking) < _TALKERS:
                talker = threading.Thread(target=self._come, args=(kind, count))
                talker.start()
                talking.append(talker)
            count += 1
            talking = [one for one in talking if one.is_alive()]
        for one in talking:
            one.join()

    def _come(self, kind: str, number: int) -> None:
        try:
            sock = socket.create_connection(self.address, timeout=5, source_address=(_source(kind, number), 0))
        except OSError:
            self._note(f"{kind}: not connected")
            return
        self._note(kind)
        try:
            self._speak(kind, sock)
        except OSError as error:
            self._note(f"{kind}: {type(error).__name__}")
            sock.close()

    def _speak(self, kind: str, sock: socket.socket) -> None:
        if kind == "garbage":
            sock.sendall(b"\x00\xff" * 200)
        elif kind == "half a hello":
            sock.sendall(_HELLO)
        elif kind == "no certificate":
            self.open.append(self._tls(sock, "http/1.1"))
            return
        elif kind == "wrong certificate":
            with self._tls(sock, "teleport-proxy-ssh", certificate=True) as tls:
                self._note("wrong certificate: let in" if tls.recv(100) else "wrong certificate: refused")
            return
        elif kind == "guess":
            self._guess(sock)
            return
        self.open.append(sock)

    def _guess(self, sock: socket.socket) -> None:
        body = json.dumps(
            {
                "user": "ann",
                "password": "wrong wrong wrong",
                "code": "000000",
                "ssh_public_key": "x",
                "tls_public_key": "x",
            }
        ).encode()
        head = (
            f"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        with self._tls(sock, "teleport-auth@acme") as tls:
            tls.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
            self._note(f"guess: {tls.recv(100).split(b' ')[1].decode()}")

    def _tls(self, sock: socket.socket, protocol: str, *, certificate: bool = False) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        if certificate:
            context.load_cert_chain(self.folder / "tls.crt", self.folder / "tls.key")
        return context.wrap_socket(sock)

    def _note(self, what: str) -> None:
        with self._lock:
            self.became[what] += 1

    def staying(self) -> int:
        """How many of those who are held have not been hung up on."""
        with selectors.DefaultSelector() as selector:
            for sock in self.open:
                selector.register(sock, selectors.EVENT_READ)
            ready = {key.fileobj for key, _ in selector.select(0)}
        return sum(sock not in ready or bool(_peeked(sock)) for sock in self.open)


def _peeked(sock: socket.socket) -> bytes:
    with contextlib.suppress(OSError, ValueError):
        plain = socket.socket(fileno=sock.fileno())
        try:
            plain.setblocking(False)
            return plain.recv(1, socket.MSG_PEEK)
        finally:
            plain.detach()
    return b""


def _source(kind: str, number: int) -> str:
    """The silent all come from one address, the others from many."""
    return "127.0.0.66" if kind == "silent" else f"127.0.2.{number % 200 + 1}"


def main(host: str, port: str, seconds: str, rate: str, folder: str) -> None:
    flood = Flood((host, int(port)), Path(folder))
    flood.run(float(seconds), float(rate))
    sys.stdout.write(json.dumps({**flood.became, "staying": flood.staying()}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
