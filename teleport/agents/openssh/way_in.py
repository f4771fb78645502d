"""Into a host without an agent: a certificate from auth against the client's own login, then SSH to its sshd."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import asyncssh

from teleport.agents.openssh.ends import RemoteGround
from teleport.agents.openssh.running import RemoteRunner
from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.api.dialback import Dial
from teleport.core.errors import AccessDenied, Unavailable
from teleport.net.asyncssh_host import HostConnection, Trust, connect_to_host
from teleport.pki.authority import TrustedAuthority
from teleport.pki.keys import new_ssh_key, ssh_line, ssh_private
from teleport.resources.node import Node
from teleport.wire.ssh_userauth import Login

__all__ = ["Inside", "WayIn", "trust_of"]

_GONE: Final = "the host closed the connection"


@dataclass(frozen=True)
class WayIn:
    """How hosts without agents are entered. A proxy has nothing of its own that opens one."""

    client: ApiClient
    timeout: Callable[[], float]
    """Seconds for a host to answer in."""

    async def shown(self, node: str, public_key: str, assignment: Dial) -> str:
        """What to show a client of a host as its key. Raises TeleportError."""
        passage = assignment.passage
        request = m.PlainChallengeRequest(
            host_id=node, ssh_public_key=public_key, root=assignment.cluster if passage else "", passage=passage
        )  # fmt: skip
        return (await self.client.call(r.OPENSSH_CHALLENGE, request)).ssh_certificate

    async def enter(self, node: Node, login: Login, *, as_login: str, address: str, trust: Trust) -> "Inside":
        """Raises TeleportError."""
        key = new_ssh_key()
        request = m.PlainLoginRequest(
            proof=_told(login), ssh_public_key=ssh_line(key.public_key()), client_address=address
        )
        issued = await self.client.call(r.OPENSSH_LOGIN, request)
        try:
            connection = await connect_to_host(
                node.address, as_login, key=ssh_private(key), certificate=issued.ssh_certificate, trust=trust,
                timeout=self.timeout(),
            )  # fmt: skip
        except asyncssh.HostKeyNotVerifiable:
            raise Unavailable(_not_verified(node, trust)) from None
        except asyncssh.PermissionDenied:
            raise AccessDenied(
                f"the sshd of {node.hostname} does not take the certificate for {as_login}",
                hint="is there such a login, and was the host prepared with `teleport join openssh`?",
            ) from None
        except TimeoutError:
            raise Unavailable(f"host {node.hostname} does not answer at {node.spec.addr}") from None
        except (OSError, asyncssh.Error) as error:
            raise Unavailable(f"host {node.hostname} is not reached at {node.spec.addr}: {error}") from None
        return Inside(connection)


class Inside:
    """A connection to a host, as the client's connection stands on it; see `agents.ssh.server.Entered`."""

    def __init__(self, connection: HostConnection) -> None:
        self._connection = connection
        self.runner, self.ground = RemoteRunner(connection), RemoteGround(connection)
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection.lost.add_done_callback(self._is_lost)

    def _is_lost(self, _: object) -> None:
        if not self.lost.done():
            self.lost.set_result(_GONE)

    async def close(self) -> None:
        self._connection.abort()
        await asyncio.wait([self._connection.lost])


def trust_of(node: Node, cluster: str, authorities: tuple[TrustedAuthority, ...]) -> Trust:
    """Who may be the host: the declared keys, or else a certificate of this cluster's host authority for its name."""
    name = f"{node.hostname}.{cluster}"
    if node.spec.host_keys:
        return Trust(name, node.spec.host_keys, ())
    own = [one for one in authorities if one.kind == "host" and one.cluster == cluster]
    return Trust(name, (), tuple(key.ssh_public for one in own for key in one.keys))


def _not_verified(node: Node, trust: Trust) -> str:
    wanted = "one of its declared keys" if trust.keys else f"a certificate of this cluster for {trust.name}"
    return f"what answers at {node.spec.addr} is not {node.hostname}: it does not show {wanted}"


def _told(login: Login) -> m.LoginProved:
    exchange = login.exchange
    parts: dict[str, Any] = {
        name: base64.b64encode(getattr(exchange, name)).decode()
        for name in (
            "client_version", "server_version", "client_init", "server_init", "host_key", "public_values", "secret",
        )
    }  # fmt: skip
    request, signature = (base64.b64encode(data).decode() for data in (login.request, login.signature))
    return m.LoginProved(hash_name=exchange.hash_name, **parts, request=request, signature=signature)
