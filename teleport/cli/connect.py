"""Reaching a cluster from a command line: recognising the proxy, and the API with a user's certificate."""

import asyncio
import ipaddress
import re
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.cli.profile import Profile, Trust, load_trust, save_trust, split_address
from teleport.core.errors import BadInput, Unauthenticated, Unavailable
from teleport.net import alpn
from teleport.net.tls import client_context, pinless_context
from teleport.pki.authority import TrustedAuthority

__all__ = ["anonymous_client", "api_client", "recognise_proxy", "run"]

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's work."""
    return asyncio.run(work)


async def recognise_proxy(proxy: str, *, pins: Sequence[str], insecure: bool) -> Trust:
    """How to know this proxy again: by a pin, by what was learned before, or by the system's trust store.

    Raises BadInput when a pin does not fit, and for `insecure` beyond loopback.
    """
    host, _ = split_address(proxy)
    for pin in pins:
        _check_pin(pin)
    if pins:
        trust = _pinned(await _authorities(proxy), pins)
    elif (known := load_trust(proxy)) is not None:
        return known
    elif insecure:
        if not _is_loopback(host):
            raise BadInput(
                f"--insecure is only for a loopback address, not {host}",
                hint="use --ca-pin, as the invitation prints it",
            )
        authorities = await _authorities(proxy)
        trust = Trust(authorities[0].cluster, _host_authority(authorities).certificates)
    else:
        trust = Trust((await _ping_by_system_trust(proxy)).cluster, None)
    save_trust(proxy, trust)
    return trust


async def _authorities(proxy: str) -> list[TrustedAuthority]:
    async with ApiClient(f"https://{_url(proxy)}", tls=pinless_context([alpn.HTTP])) as client:
        answer = await client.call(r.AUTHORITIES, m.Empty())
    return [TrustedAuthority.decode(text) for text in answer.authorities]


def _host_authority(authorities: Sequence[TrustedAuthority]) -> TrustedAuthority:
    for authority in authorities:
        if authority.kind == "host" and authority.keys:
            return authority
    raise Unavailable("the proxy does not name its host authority")


def _check_pin(pin: str) -> None:
    """Raises BadInput for what cannot be one: half a pin that was copied is no sign of another server."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", pin):
        raise BadInput(
            f"{pin!r} is not a pin", hint="sha256: and 64 hexadecimal digits, as the invitation and `tctl status` print"
        )


def _pinned(authorities: Sequence[TrustedAuthority], pins: Sequence[str]) -> Trust:
    authority = _host_authority(authorities)
    if not set(authority.pins) <= set(pins):
        raise BadInput(
            "the proxy's certificate authority does not have the pinned key",
            hint="do not go on: this may be another server. Ask for the pin again (`tctl status`)",
        )
    return Trust(authority.cluster, authority.certificates)


async def _ping_by_system_trust(proxy: str) -> m.Ping:
    try:
        async with ApiClient(f"https://{_url(proxy)}", tls=client_context(trust=None, alpn=[alpn.HTTP])) as client:
            return await client.call(r.PING, m.Empty())
    except Unavailable as error:
        if "certificate is not trusted" not in error.message:
            raise
        raise Unavailable(
            f"the certificate of {proxy} is not trusted by this system",
            hint="add --ca-pin sha256:…, as the invitation and `tctl status` print it",
        ) from error


def anonymous_client(proxy: str, trust: Trust) -> ApiClient:
    """The proxy's HTTPS side, before there is a certificate."""
    context = client_context(trust=trust.authority, alpn=[alpn.HTTP])
    name = f"proxy.{trust.cluster}" if trust.authority is not None else None
    return ApiClient(f"https://{_url(proxy)}", tls=context, server_name=name)


def api_client(profile: Profile) -> ApiClient:
    """The cluster's API with the certificate of a profile. Raises Unauthenticated once it has expired."""
    profile.check()
    try:
        certificate, key = profile.tls_certificate.read_text(), profile.tls_key.read_text()
        trust = profile.host_authorities.read_text()
    except OSError as error:
        raise Unauthenticated(f"the login's files are incomplete: {error}", hint="log in again: tsh login") from None
    return client_with(certificate, key, trust, profile.cluster, profile.proxy)


def client_with(certificate: str, key: str, trust: str, cluster: str, address: str) -> ApiClient:
    """The API with a certificate in hand."""
    context = client_context(trust=trust, certificate=certificate, key=key, alpn=[alpn.api(cluster)])
    return ApiClient(f"https://{_url(address)}", tls=context, server_name=f"auth.{cluster}")


def _url(address: str) -> str:
    host, port = split_address(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
