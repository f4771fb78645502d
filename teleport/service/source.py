"""Starts the folders, repositories and namespaces that govern the cluster as sources of policy."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from teleport.auth import keys
from teleport.auth.endpoints.parts import Fed
from teleport.auth.endpoints.sources import suspension
from teleport.core.errors import BadInput, NotFound
from teleport.gitops.ceiling import Ceiling
from teleport.gitops.folder import FolderSource
from teleport.gitops.git import GitSettings, GitSource
from teleport.gitops.loop import Loop, SourceState
from teleport.gitops.mirror import GitCredentials
from teleport.gitops.signatures import Verification
from teleport.gitops.watch import watch_folder
from teleport.service.auth import AuthService
from teleport.service.config import Config
from teleport.service.fed import FedEverywhere, FedNamespace, NamespaceSource
from teleport.service.governed import GovernedSource
from teleport.service.history import SourceHistory
from teleport.service.policies import Git, Policies, PolicySource, ceiling_of
from teleport.service.settling import Settling
from teleport.service.site import Site

__all__ = ["start_sources"]

_FIRST_SECONDS: Final = 10.0
"""How long a source that is read for the first time waits for the one before it."""


def start_sources(site: Site, auth: AuthService, policies: Policies) -> None:
    """Reconcile them from now on. A source that is stalled is told of, but makes nothing less ready."""
    before: Loop | None = None
    for one in policies.all:
        if one.everywhere:
            _everywhere(site, auth, policies, one)
        else:
            before = _start(site, auth, one, before)
    site.prepares.append(partial(_new_settings, site))


def _start(site: Site, auth: AuthService, entry: PolicySource, before: Loop | None) -> Loop:
    def changed(state: SourceState) -> None:
        auth.show_source(state, ceiling_of(site.config.policies, entry.name))
        _try_again(site.sources, state)

    watch: Callable[[], AsyncIterator[None]] | None = None
    if entry.git is not None:
        loop = _git(site, auth, entry.name, entry.git, changed)
    elif entry.kubernetes is not None:
        loop = _fed(site, auth, entry, entry.kubernetes.namespace, changed)
    else:
        path = Path(entry.dir or "")
        if not path.is_dir():
            raise BadInput(f"the policy folder {path} does not exist", hint="see --policies, or policies.dir")
        source = FolderSource(path, name=entry.name)
        loop = Loop(source, auth, clock=site.clock, interval=entry.interval, changed=changed)
        watch = partial(watch_folder, path)

    def remarks() -> Iterator[str]:
        if loop.state.state != "Ready":
            yield f"source {loop.state.name} is {loop.state.state.lower()}: {loop.state.message or 'not read yet'}"

    site.sources.append(loop)
    surroundings = auth.auth.surroundings
    surroundings.again = {**surroundings.again, entry.name: (loop.poke,)}
    governed = GovernedSource(loop, entry.git, clock=site.clock)
    surroundings.governed = {**surroundings.governed, entry.name: governed}
    site.health.remark(remarks)
    site.ready_when.append(loop.looked.wait)
    site.life.background(_run(site, loop, auth, watch, before), f"policies {entry.name}")
    return loop


def _try_again(loops: Iterable[Loop], state: SourceState) -> None:
    """What another source lacked may be there now: references resolve over all of them."""
    if state.news:
        for loop in loops:
            if loop.state is not state and loop.state.state == "Stalled":
                loop.poke()


async def _run(
    site: Site, loop: Loop, auth: AuthService, watch: Callable[[], AsyncIterator[None]] | None, before: Loop | None
) -> None:
    """Of two that are read for the first time and declare one object, the one that is named first owns it."""
    name = loop.state.name
    if before is not None and not await auth.auth.writer.owned_by(before.state.name):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_SECONDS):
                await before.looked.wait()
    if site.notifier is not None:
        site.notifier.remember(loop.state)
    loop.state.applied_commit = await auth.auth.writer.applied_commit(name)
    revision, found = await auth.auth.writer.stored()
    loop.state.objects = sum(one.owner == name for one in found.values())
    loop.state.revision = revision if loop.state.objects else 0
    note = await auth.store.get(keys.suspended(name))
    loop.suspended = suspension(json.loads(note.value)) if note is not None else ""
    await loop.run(watch)


def _everywhere(site: Site, auth: AuthService, policies: Policies, entry: PolicySource) -> None:
    """Each namespace becomes a source when it is fed first, and is one from then on."""
    surroundings = auth.auth.surroundings

    def start(namespace: str) -> Fed:
        source = entry.within(namespace)
        _start(site, auth, source, None)
        return auth.auth.surroundings.fed[source.name]

    others = [one.kubernetes.namespace for one in policies.all if one.kubernetes is not None]
    everywhere = FedEverywhere(entry.name, others, start)
    surroundings.fed = {**surroundings.fed, entry.name: everywhere}

    async def remember() -> None:
        prefix = keys.fed(f"{entry.name}/")
        for record in (await auth.store.list(prefix)).records:
            with contextlib.suppress(NotFound):
                everywhere.started(record.key.removeprefix(prefix))

    site.ready_when.append(remember)


def _fed(
    site: Site, auth: AuthService, entry: PolicySource, namespace: str, changed: Callable[[SourceState], None]
) -> Loop:
    source, settling = NamespaceSource(entry.name, namespace, auth), Settling(entry.name, auth, clock=site.clock)
    loop = Loop(
        source, auth, clock=site.clock, interval=entry.interval, changed=changed, retry=entry.interval, settle=settling
    )

    def ceiling() -> Ceiling | None:
        return ceiling_of(site.config.policies, entry.name)

    surroundings = auth.auth.surroundings
    surroundings.fed = {**surroundings.fed, entry.name: FedNamespace(source, settling, loop, auth, ceiling)}
    return loop


def _git(site: Site, auth: AuthService, name: str, git: Git, changed: Callable[[SourceState], None]) -> Loop:
    verify, own = git.verify, git.credentials
    verification = None
    if verify is not None:
        revoked = Path(verify.revoked) if verify.revoked else None
        verification = Verification(Path(verify.allowed_signers), verify.required, revoked)
    settings = GitSettings(
        git.address,
        GitCredentials(
            token_file=own.token_file or "", username=own.username, ssh_key=own.ssh_key or "",
            known_hosts=own.known_hosts or "", ca_file=own.ca_file or "",
        ),
        verification,
    )  # fmt: skip
    folder = site.data_dir / "sources" / f"git-{quote(name, safe='')}"
    source = GitSource(
        folder, settings, name=name, clock=site.clock, remembered=partial(auth.auth.writer.applied_commit, name)
    )
    if verification is not None:
        auth.reviewer.signed[name] = source
    loop = Loop(
        source, auth, clock=site.clock, interval=git.interval, changed=changed, applied=source.applied,
        retry=git.interval,
    )  # fmt: skip

    async def accept(commit: str) -> str:
        full = await source.accept(commit)
        loop.poke()
        return full

    surroundings = auth.auth.surroundings
    surroundings.rollbacks = {**surroundings.rollbacks, name: accept}
    history = SourceHistory(source, partial(auth.auth.writer.applied_commit, name), clock=site.clock)
    surroundings.histories = {**surroundings.histories, name: history}
    surroundings.commits = {**surroundings.commits, name: source.within}
    return loop


def _new_settings(site: Site, config: Config) -> Callable[[], None]:
    """Intervals of folders; and whoever has another ceiling now is judged anew."""
    if config.policies is None:
        return lambda: None
    fresh, old = config.policies, site.config.policies

    def take() -> None:
        intervals = {one.name: one.interval for one in fresh.all if one.git is None}
        for loop in site.sources:
            name = loop.state.name
            loop.interval = intervals.get(name.partition("/")[0], loop.interval)
            if ceiling_of(old, name) != ceiling_of(fresh, name):
                loop.poke()

    return take
