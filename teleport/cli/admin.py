"""How `tctl` reaches a cluster: identity file, socket on the auth host, or the tsh login, in this order."""

import json
import os
from pathlib import Path
from typing import TypeVar

from teleport.api.client import ApiClient
from teleport.api.models import Message
from teleport.api.routes import Route
from teleport.cli.connect import api_client, client_with, run
from teleport.cli.profile import current
from teleport.cli.tctl import Target
from teleport.core.errors import AccessDenied, BadInput, NotFound, Unavailable

__all__ = ["administer", "ask"]

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)

_SOCKET = Path("run/admin.sock")
_WHO = "be root or the user that auth runs as, or have `admins` in teleport.yaml map you to a role"


def administer(target: Target) -> ApiClient:
    """A client of the API with an administrator's means. Raises what is missing."""
    if target.identity is not None:
        return _by_identity(target.identity, target.auth_server)
    named, closed = target.data_dir is not None or target.config is not None, False
    for directory in _data_directories(target):
        socket = directory / _SOCKET
        try:
            socket.stat()
            return ApiClient.at_socket(socket)
        except PermissionError:
            closed = True
        except OSError:
            if named:
                raise Unavailable(
                    f"no auth service answers at {socket}", hint="is `teleport start` running with this data directory?"
                ) from None
    if closed and named:
        raise AccessDenied("the auth service of this host is not open to you", hint=_WHO)
    try:
        return api_client(current())
    except NotFound:
        here = "the auth service of this host is not open to you" if closed else "no auth service runs on this host"
        hint = _WHO if closed else "use --data-dir DIR on the auth host, -i IDENTITY elsewhere, or log in: tsh login"
        raise Unavailable(f"{here}, and nobody is logged in with tsh", hint=hint) from None


def ask(target: Target, route: Route[RequestT, ResponseT], request: RequestT) -> ResponseT:
    """One question and its answer."""

    async def work() -> ResponseT:
        async with administer(target) as client:
            return await client.call(route, request)

    return run(work())


def _data_directories(target: Target) -> list[Path]:
    if target.data_dir is not None:
        return [target.data_dir]
    if target.config is not None:
        return [_data_dir_of(target.config)]
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "teleport"
    return [Path("/var/lib/teleport"), home]


def _data_dir_of(config: Path) -> Path:
    """`teleport.data_dir` of a configuration; the rest of it is not this command's business."""
    from teleport.resources.yaml_reader import read

    try:
        documents, problems = read(config.read_bytes(), file=str(config))
    except OSError as error:
        raise BadInput(f"{config} cannot be read: {error.strerror}") from None
    if problems or not documents or not isinstance(documents[0].value, dict):
        raise BadInput(f"{config} is not a teleport.yaml", hint="teleport configure --check says what is wrong")
    section = documents[0].value.get("teleport")
    return Path((section or {}).get("data_dir", "/var/lib/teleport"))


def _by_identity(path: Path, server: str | None) -> ApiClient:
    try:
        body = json.loads(path.read_text())
        certificate, key, trust = body["tls_certificate"], body["tls_key"], body["host_authorities"]
        return client_with(certificate, key, trust, body["cluster"], server or body["proxy"])
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError):
        raise BadInput(f"{path} is not an identity file", hint="make one with `tctl auth sign`") from None
