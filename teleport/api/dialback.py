"""What agents, proxies and clients say to each other before SSH begins: lines of JSON inside mutual TLS.

Control connection (agent → proxy): the agent says `Hello`, the proxy answers `Welcome`; then the proxy sends
`Dial` for each session, `Cut` where a visitor's is to end, and gives back each `Ping` that the agent sends. Dial-back
(agent → proxy): the agent shows the ticket of one `Dial`, the proxy answers `Accepted`, and SSH follows. Client
(→ proxy): `Route`, answered by `Accepted`.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError

from teleport.api.models import HostRow, Line, Message, PassageText, Short, Sid
from teleport.core.errors import BadInput, TeleportError, from_wire

__all__ = [
    "PULSE",
    "Accepted",
    "Checking",
    "Cut",
    "Dial",
    "Entry",
    "Hello",
    "HostsPart",
    "Listing",
    "Ping",
    "Pulse",
    "Route",
    "TicketShown",
    "Wants",
    "Welcome",
    "parse",
    "refusal",
]

TICKET_BYTES = 16
TICKET_SECONDS = 10.0


@dataclass(frozen=True)
class Pulse:
    """Seconds between signs of life on a control connection, and of silence after which it counts as lost."""

    ping: float = 12.0
    silence: float = 27.0
    doubt: float = 5.0
    """How long a peer has to answer when something suggests that the connection is dead."""


PULSE = Pulse()


class Hello(Message):
    """An agent introduces itself; who it is its certificate says."""

    hello: Literal["agent"] = "agent"
    version: Short
    services: tuple[Short, ...] = ("ssh",)


class Welcome(Message):
    welcome: Literal["agent"] = "agent"
    proxy_id: Short
    spread: float = Field(default=1.0, ge=0, le=60)
    """Seconds over which the agents of this proxy should spread their return, if all of them lose it at once."""


class Dial(Message):
    """Connect back for one session. The user is whom the client's TLS certificate named; the SSH one must agree."""

    dial: Literal["ssh"] = "ssh"
    ticket: Short
    session: Sid
    proxy_id: Short
    host_id: Short
    client_address: Short
    client_port: int = 0
    user: Short
    user_uid: Short
    cluster: Short
    scope: tuple[Short, ...] | None = None
    target: Short = ""
    passage: PassageText = ""
    """Of a user from another cluster, what lets that user in."""


class Cut(Message):
    """A user lost the right to be on the way to another cluster; whoever serves that connection may say so and end it.

    From the proxy at home to the other cluster's, and from there to the agent.
    """

    cut: Sid
    """The connection, as the passage calls it."""
    cluster: Short
    """The user's."""


class Ping(Message):
    ping: int


class TicketShown(Message):
    """An agent comes back for a session."""

    ticket: Short


class Route(Message):
    """A client wants to reach a host."""

    host: Short
    login: Short = ""
    cluster: Short = ""


Wants = Literal["way", "hosts", "verdict"]
"""Of another cluster: to be led to one host, to see those that the user reaches, or what one of them would say."""


class Entry(Message):
    """A user of the root comes by this connection. Answered by `Accepted`, by `HostsPart`s, or by `AccessVerdict`."""

    passage: PassageText
    wants: Wants = "way"


class Listing(Message):
    """A client wants to see the hosts of another cluster."""

    lists: Short


class Checking(Message):
    """A client wants to know what would be decided about one host of another cluster."""

    checks: Short
    host: Short
    login: Short


class HostsPart(Message):
    """Hosts that the user reaches."""

    hosts: tuple[HostRow, ...]
    more: bool = False
    """Whether another part follows."""


class Accepted(Message):
    """Go ahead; the rest of the connection is SSH."""

    ok: Literal[True] = True
    host_id: Short = ""
    session: Line = ""


def parse(kind: type[Message], message: dict[str, Any]) -> Any:
    """A received message as what it should be. Raises the error it carries, or BadInput.

    The first field of each kind says what it is, and must be there: silence is no consent.
    """
    if "error" in message:
        raise from_wire(message)
    if next(iter(kind.model_fields)) not in message:
        raise BadInput("the peer's message is of another kind than expected")
    try:
        return kind.model_validate(message)
    except ValidationError as error:
        raise BadInput(f"the peer's message cannot be understood: {error.errors()[0]['msg']}") from None


def refusal(error: TeleportError) -> dict[str, Any]:
    """How an error is said on such a connection."""
    return error.to_wire()
