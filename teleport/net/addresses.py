"""Where clients really are: the peer of the socket, or what a trusted balancer said of it."""

import ipaddress
from collections import OrderedDict
from typing import Any, Final

__all__ = ["ClientAddresses", "holder", "plain"]

_SIZE: Final = 100_000


class ClientAddresses:
    """Remembers, for connections that came through a balancer, whose they are; bounded."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], tuple[str, int]] = OrderedDict()

    def note(self, peer: tuple[str, int], client: tuple[str, int]) -> None:
        """The connection from `peer` is that of `client`."""
        self._known.pop(peer, None)
        if peer != client:
            self._known[peer] = client
            if len(self._known) > _SIZE:
                self._known.popitem(last=False)

    def of(self, transport: Any) -> tuple[str, int]:
        """Address and port of the client of a transport; empty where it has none."""
        peer = transport.get_extra_info("peername") if transport is not None else None
        if not isinstance(peer, tuple):
            return "", 0
        key = (str(peer[0]), int(peer[1]))
        return self._known.get(key, key)


def plain(address: str) -> str:
    """An address as everybody writes it: what listens on IPv6 sees those of IPv4 inside others."""
    if not address.startswith("::ffff:"):
        return address
    mapped = ipaddress.IPv6Address(address).ipv4_mapped
    return str(mapped) if mapped is not None else address


def holder(address: str) -> str:
    """What counts as one client: in IPv6 the network, because everybody has billions of addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))
