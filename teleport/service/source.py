"""Starts the folder or repository that governs the cluster as a source of policy."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

from teleport.core.errors import BadInput
from teleport.gitops.folder import FolderSource
from teleport.gitops.git import GitSettings, GitSource
from teleport.gitops.loop import Loop, SourceState
from teleport.gitops.mirror import GitCredentials
from teleport.gitops.signatures import Verification
from teleport.gitops.watch import watch_folder
from teleport.service.auth import AuthService
from teleport.service.config import Config
from teleport.service.policies import Git, Policies
from teleport.service.site import Site

__all__ = ["start_source"]


def start_source(site: Site, auth: AuthService, policies: Policies) -> None:
    """Reconcile it from now on. A source that is stalled is told of, but makes nothing less ready."""
    seen = asyncio.Event()

    def changed(state: SourceState) -> None:
        auth.show_source(state)
        seen.set()

    watch: Callable[[], AsyncIterator[None]] | None = None
    if policies.git is not None:
        loop = _git(site, auth, policies.source, policies.git, changed)
    else:
        path = Path(policies.dir or "")
        if not path.is_dir():
            raise BadInput(f"the policy folder {path} does not exist", hint="see --policies, or policies.dir")
        source = FolderSource(path, name=policies.source)
        loop = Loop(source, auth, clock=site.clock, interval=policies.interval, changed=changed)
        site.prepares.append(partial(_new_interval, loop))
        watch = partial(watch_folder, path)

    def remarks() -> Iterator[str]:
        if loop.state.state != "Ready":
            yield f"source {loop.state.name} is {loop.state.state.lower()}: {loop.state.message or 'not read yet'}"

    surroundings = auth.auth.surroundings
    surroundings.again = {**surroundings.again, policies.source: (loop.poke,)}
    site.sources.append(loop)
    site.health.remark(remarks)
    site.ready_when.append(seen.wait)
    site.life.background(_run(loop, auth, watch), "policies")


async def _run(loop: Loop, auth: AuthService, watch: Callable[[], AsyncIterator[None]] | None) -> None:
    loop.state.applied_commit = await auth.auth.writer.applied_commit(loop.state.name)
    await loop.run(watch)


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
    return loop


def _new_interval(loop: Loop, config: Config) -> "partial[None]":
    interval = config.policies.interval if config.policies is not None else loop.interval
    return partial(setattr, loop, "interval", interval)
