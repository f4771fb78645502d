"""The same branch through every transport, from real servers: git's daemon, its HTTP backend behind TLS, and SSH."""

import asyncio
import base64
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from aiohttp import web

from teleport.core.errors import Unavailable
from teleport.gitops.address import GitAddress
from teleport.gitops.mirror import GitCredentials, Mirror
from tests.gitops.repositories import Upstream, role
from tests.service.test_web_tls import pair


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    made = Upstream(tmp_path / "served" / "policy")
    made.git("config", "uploadpack.allowFilter", "true")
    made.commit({"p/a.yaml": role("a"), "big.bin": "x" * 1000})
    return made


async def follow(upstream: Upstream, mirror: Mirror) -> None:
    """Fetch, fetch what is new, and the blobs that are asked for."""
    assert await mirror.fetch() == upstream.head
    upstream.commit({"p/a.yaml": role("a", "ann")})
    head = await mirror.fetch()
    ((name, blob, _),) = await mirror.entries(f"{head}:p")
    await mirror.complete(f"{head}:p", [blob])

    assert head == upstream.head
    assert name == "a.yaml"
    assert (await mirror.content("blob", blob)).decode() == role("a", "ann")
    assert b"?" in await mirror._ask("rev-list", "--objects", "--missing=print", head)


async def test_gits_own_daemon(upstream: Upstream, tmp_path: Path, unused_port: int) -> None:
    daemon = await asyncio.create_subprocess_exec(
        "git", "daemon", "--export-all", f"--base-path={tmp_path / 'served'}", "--listen=127.0.0.1",
        f"--port={unused_port}", "--reuseaddr",
    )  # fmt: skip
    try:
        await listening(unused_port)

        await follow(upstream, Mirror(tmp_path / "m", GitAddress(f"git://127.0.0.1:{unused_port}/policy", "main", "p")))
    finally:
        daemon.terminate()
        await daemon.wait()


async def test_https_with_a_token_and_an_authority_of_ones_own(upstream: Upstream, tmp_path: Path) -> None:
    served = pair(tmp_path, "localhost")
    certificate = Path(served.cert_file)
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    async with https(tmp_path / "served", certificate, Path(served.key_file), "git:s3cret") as port:
        address = GitAddress(f"https://localhost:{port}/policy", "main", "p")
        good = GitCredentials(token_file=str(token), ca_file=str(certificate))

        await follow(upstream, Mirror(tmp_path / "m", address, good))
        for name, bad in {
            "no-token": GitCredentials(ca_file=str(certificate)),
            "no-authority": GitCredentials(token_file=str(token)),
            "no-file": GitCredentials(token_file="/nonexistent", ca_file=str(certificate)),
        }.items():
            with pytest.raises(Unavailable):
                await Mirror(tmp_path / name, address, bad).fetch()


async def test_ssh_with_a_key_and_known_hosts(upstream: Upstream, tmp_path: Path) -> None:
    host, client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    client.write_private_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o600)
    client.write_public_key(tmp_path / "authorized")
    async with ssh(host, tmp_path / "authorized") as port:
        known, wrong = tmp_path / "known", tmp_path / "wrong"
        known.write_text(f"[127.0.0.1]:{port} {host.export_public_key().decode()}")
        wrong.write_text(f"[127.0.0.1]:{port} {client.export_public_key().decode()}")
        address = GitAddress(f"ssh://git@127.0.0.1:{port}{upstream.folder}", "main", "p")

        await follow(
            upstream,
            Mirror(tmp_path / "m", address, GitCredentials(ssh_key=str(tmp_path / "key"), known_hosts=str(known))),
        )
        for why, bad in {
            "Host key verification failed": GitCredentials(ssh_key=str(tmp_path / "key"), known_hosts=str(wrong)),
            "Permission denied": GitCredentials(known_hosts=str(known)),
        }.items():
            with pytest.raises(Unavailable, match=why):
                await Mirror(tmp_path / why, address, bad).fetch()


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


async def listening(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def https(folder: Path, certificate: Path, key: Path, login: str) -> AsyncIterator[int]:
    """`git http-backend` behind a web server that asks for a password."""
    expected = "Basic " + base64.b64encode(login.encode()).decode()

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != expected:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(folder), "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": request.method, "PATH_INFO": request.path, "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""), "REMOTE_USER": "git",
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        }  # fmt: skip
        backend = await asyncio.create_subprocess_exec(
            "git", "http-backend", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment
        )
        out, _ = await backend.communicate(await request.content.read())
        head, _, body = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return web.Response(status=int(headers.pop("Status", "200")[:3]), headers=headers, body=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def carry(source: Any, sink: Any) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.write_eof()


@contextlib.asynccontextmanager
async def ssh(host: asyncssh.SSHKey, authorized: Path) -> AsyncIterator[int]:
    """A server that runs what git asks for."""

    async def serve(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        program, _, rest = (process.command or "").partition(" ")
        assert program == "git-upload-pack"
        version = process.env.get("GIT_PROTOCOL", "")
        child = await asyncio.create_subprocess_exec(
            program, rest.strip("'"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "GIT_PROTOCOL": str(version)},
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        upward = asyncio.create_task(carry(process.stdin, child.stdin))
        await carry(child.stdout, process.stdout)
        upward.cancel()
        process.exit(await child.wait())

    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=str(authorized), encoding=None,
        process_factory=serve,
    )  # fmt: skip
    try:
        yield server.get_port()
    finally:
        server.close()
        await server.wait_closed()
