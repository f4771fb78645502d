"""Starts the auth service: opens it, declares what teleport.yaml says of the cluster, and serves the API.

On the port the caller is whoever the certificate names; at the administration socket whoever the operating system
says is at the other end.
"""

import contextlib
import os
import pwd
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.server import ApiServer
from teleport.auth.join import HOST_TTL
from teleport.auth.references import References
from teleport.core.errors import Unavailable
from teleport.core.identity import Identity
from teleport.net import alpn
from teleport.service.address import DEFAULT_PORT, Address
from teleport.service.auth import AuthService, open_auth
from teleport.service.config import Config
from teleport.service.connections import run_application
from teleport.service.credentials import HostCredentials, HostKeys, Subject, new_credentials
from teleport.service.emergency import permit_emergencies
from teleport.service.guards import guarded, new_guards
from teleport.service.policies import may_adopt
from teleport.service.remotes import forget_undeclared
from teleport.service.roots import Roots
from teleport.service.secrets import Secrets, references
from teleport.service.settings import declare_settings
from teleport.service.site import Site

__all__ = ["ADMIN_SOCKET", "start_auth"]

ADMIN_SOCKET: Final = "run/admin.sock"


async def start_auth(site: Site) -> AuthService:
    """Open the auth service of this process and serve its API."""
    config, section = site.config, site.config.auth_service
    checks, people = guarded(config)
    service = await open_auth(
        site.data_dir, section.cluster_name, site.life.stack, clock=site.clock, retention=section.audit_retention,
        newborn=config.nodename, hasher=site.hasher, closed=section.closed_kinds, checks=checks, people=people,
        permitted=_permitted(site),
        may_adopt=lambda source, owner: may_adopt(site.config.policies, source, owner),
    )  # fmt: skip
    site.auth = service
    site.prepares.append(partial(new_guards, service.reviewer))
    surroundings = service.auth.surroundings
    surroundings.demo, surroundings.proxy_address = config.demo, _proxy_address(site)
    permit_emergencies(site, service.auth.emergencies)
    site.health.subscribe(partial(setattr, surroundings, "warnings"))
    site.health.require(lambda: service.auth.audit.failure)
    await declare_settings(service, config, site.health)
    await _serve(site, service)
    site.life.background(Roots(service, _permitted(site), clock=site.clock).run(), "trusted clusters")
    site.life.background(forget_undeclared(service), "remote clusters")
    return service


def _permitted(site: Site) -> References:
    """Which secrets policy may refer to."""
    policies = site.config.policies
    return references(policies.secrets if policies is not None else Secrets(), site.data_dir)


async def _serve(site: Site, service: AuthService) -> None:
    cluster, port = service.authorities.cluster, site.port
    credentials = await _own_credentials(site, service)
    server = ApiServer(
        service.auth.handlers(), r.ROUTES, service.auth.policy, clock=site.clock, addresses=port.addresses,
        local=partial(_local_user, site, cluster), hosts=service.auth.enlisted.admit,
    )  # fmt: skip
    runner = await run_application(server.application(), site.life)
    context = partial(credentials.server, [alpn.api(cluster), alpn.HTTP], clients="optional")
    port.serve_http(alpn.API_PREFIX, runner, context)
    if "proxy" not in site.config.roles:
        port.serve_http(alpn.HTTP, runner, context)
    await _open_admin_socket(site, runner)


async def _own_credentials(site: Site, service: AuthService) -> HostCredentials:
    """The auth service certifies itself: afresh at every start, and again before that runs out."""

    async def certify(keys: HostKeys, subject: Subject) -> m.HostCertificates:
        identity = Identity(
            kind="host", name=subject.hostname, uid="auth", cluster=service.authorities.cluster,
            system_roles=("Auth",), expires=site.clock.time() + HOST_TTL,
        )  # fmt: skip
        return service.auth.joining.certify(identity, keys.ssh_public, keys.tls_public)

    subject = Subject(site.config.nodename)
    credentials = await new_credentials(None, certify, subject)
    site.credentials["auth"] = credentials
    site.life.background(credentials.keep_fresh(certify, subject, clock=site.clock), "auth certificates")
    return credentials


def _proxy_address(site: Site) -> str:
    """Where people reach the proxy, as far as this host can tell."""
    if "proxy" in site.config.roles:
        return site.public_address
    public = site.config.proxy_service.public_addr
    return str(Address.parse(public[0], DEFAULT_PORT)) if public else ""


def _local_user(site: Site, cluster: str, uid: int) -> Identity | None:
    """Who may administer at the socket: root, the service's own user, and whom teleport.yaml names."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    shown = f"{name} (uid {uid})"
    if uid in (0, os.geteuid()):
        return Identity("admin", shown, f"local:{uid}", cluster, local_uid=uid)
    for mapping in site.config.admins:
        if mapping.uid == uid or (mapping.user and mapping.user == name):
            return Identity("admin", shown, f"local:{uid}", cluster, requested_roles=(mapping.role,), local_uid=uid)
    return None


async def _open_admin_socket(site: Site, runner: web.AppRunner) -> None:
    path = site.data_dir / ADMIN_SOCKET
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            await web.UnixSite(runner, str(path)).start()
        finally:
            os.umask(old)
    except OSError as error:
        raise Unavailable(
            f"the administration socket {path} cannot be opened: {error.strerror or error}",
            hint="a socket's path may have about 100 characters: use a shorter data directory",
        ) from None
    site.life.stack.callback(_remove, path)
    site.prepares.append(lambda config: partial(_let_in, site, config))
    _let_in(site, site.config)


def _remove(socket: Path) -> None:
    with contextlib.suppress(
        OSError
    ):  # gone already, or on a disk that cannot be written: the next start takes it away
        socket.unlink()


def _let_in(site: Site, config: Config) -> None:
    """The way to the socket is open to others only if there are others: who they are is judged at the other end."""
    socket = site.data_dir / ADMIN_SOCKET
    modes: tuple[int, int, int] = (0o711, 0o711, 0o666) if config.admins else (0o700, 0o700, 0o600)
    for path, mode in zip((site.data_dir, socket.parent, socket), modes, strict=True):
        if path.stat().st_mode & 0o777 != mode:
            path.chmod(mode)
