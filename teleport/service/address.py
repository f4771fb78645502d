"""HOST:PORT as teleport.yaml and flags write it."""

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

__all__ = ["DEFAULT_AUTH_PORT", "DEFAULT_DIAG_PORT", "DEFAULT_PORT", "Address", "AddressText"]

DEFAULT_PORT: Final = 3080
DEFAULT_AUTH_PORT: Final = 3025
DEFAULT_DIAG_PORT: Final = 3000
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on, not a decision to
_WRITTEN: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]\s/]+))(?::([0-9]{1,5}))?")


@dataclass(frozen=True)
class Address:
    """A host and a port. The host is a name or an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def everywhere(self) -> bool:
        """Whether listening here is listening on every interface."""
        return self.host in _LOOPBACK

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def from_here(self) -> "Address":
        """Where this very machine reaches what listens here."""
        return replace(self, host=_LOOPBACK.get(self.host, self.host))

    @classmethod
    def parse(cls, text: str, default_port: int) -> "Address":
        """`HOST`, `HOST:PORT` or `[V6]:PORT`. Raises ValueError."""
        match = _WRITTEN.fullmatch(text)
        port = int(match[3]) if match and match[3] else default_port
        if match is None or not 0 <= port <= 65535:
            raise ValueError(f"{text!r} is not HOST:PORT")
        return cls(match[1] or match[2], port)


def _address(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("an address is HOST:PORT")
    Address.parse(value, 0)
    return value


AddressText = Annotated[str, BeforeValidator(_address), WithJsonSchema({"type": "string", "format": "address"})]
"""An address as written, checked."""
