"""A program built on paramiko, as people write them: one command with input, one file there and back. Tells as JSON."""

import argparse
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import paramiko


def way(given: argparse.Namespace) -> Any:
    """What carries the connection, where it is not an address."""
    if given.command:
        return paramiko.ProxyCommand(given.command)
    return socket.create_connection(("127.0.0.1", given.through)) if given.through else None


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("host", "login", "hosts", "key", "password-file", "command"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--port", type=int, default=22)
    parser.add_argument("--through", type=int)
    given = parser.parse_args()
    key = paramiko.Ed25519Key.from_private_key_file(given.key) if given.key else None
    if key is not None:
        key.load_certificate(f"{given.key}-cert.pub")
    password = Path(given.password_file).read_text().strip() if given.password_file else None
    client = paramiko.SSHClient()  # unknown hosts are refused, as it does by itself
    client.load_host_keys(given.hosts)
    client.connect(
        given.host, given.port, given.login, password, pkey=key, sock=way(given), look_for_keys=False, allow_agent=False
    )
    stdin, stdout, _ = client.exec_command("tr a-z A-Z; exit 4")
    stdin.write("here")
    stdin.channel.shutdown_write()
    told = {"output": stdout.read().decode(), "status": stdout.channel.recv_exit_status()}
    content, name = os.urandom(1_000_000), f"paramiko-{os.getpid()}"
    sftp = client.open_sftp()
    with sftp.open(name, "wb") as file:
        file.write(content)
    with sftp.open(name, "rb") as file:
        told["copied"] = file.read() == content
    sftp.remove(name)
    client.close()
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
