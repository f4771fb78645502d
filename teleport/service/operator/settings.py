"""What an operator is told by its environment: where the cluster is, how to recognise it, and how to join."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teleport.core.errors import BadInput
from teleport.service.address import DEFAULT_PORT, Address

__all__ = ["Settings"]

_PROOF: Final = "/var/run/secrets/teleport/serviceaccount/token"


@dataclass(frozen=True)
class Settings:
    """See the module. Secrets are read from their files when they are needed: projected tokens change."""

    address: Address
    through_proxy: bool
    pins: tuple[str, ...]
    method: str
    token_name: str
    proof: Path
    hostname: str
    peer_seconds: int
    """How long another operator believes that this one lives, after its last sign of life."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Raises BadInput with the name of the variable that is wrong."""
        found = {name: environment.get(f"TELEPORT_{name}", "").strip() for name in ("ADDRESS", "CA_PIN", "TOKEN")}
        for name, value in found.items():
            if not value:
                raise BadInput(f"TELEPORT_{name} is not set", hint="operator/README.md says what an operator needs")
        method = environment.get("TELEPORT_JOIN_METHOD", "token").strip()
        if method not in ("token", "kubernetes"):
            raise BadInput(f"TELEPORT_JOIN_METHOD is {method}", hint="token or kubernetes")
        return cls(
            Address.parse(found["ADDRESS"], DEFAULT_PORT),
            environment.get("TELEPORT_THROUGH", "proxy") != "auth",
            tuple(pin.strip() for pin in found["CA_PIN"].split(",") if pin.strip()),
            method,
            found["TOKEN"],
            Path(environment.get("TELEPORT_PROOF", _PROOF)),
            environment.get("HOSTNAME") or socket.gethostname(),
            _seconds(environment.get("TELEPORT_PEER_SECONDS", "30")),
        )

    @property
    def secrets(self) -> tuple[str, str]:
        """The join token, and the proof that goes with it. Raises BadInput."""
        token = _read(Path(self.token_name)) if self.token_name.startswith("/") else self.token_name
        return token, _read(self.proof) if self.method == "kubernetes" else ""


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 2 <= int(text) <= 600:
        raise BadInput(f"TELEPORT_PEER_SECONDS is {text}", hint="a number from 2 to 600")
    return int(text)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
