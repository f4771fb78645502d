"""Starts the folder that governs the cluster as a source of policy."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from teleport.core.errors import BadInput
from teleport.gitops.folder import FolderSource
from teleport.gitops.loop import Loop, SourceState
from teleport.gitops.watch import watch_folder
from teleport.service.auth import AuthService
from teleport.service.config import Config
from teleport.service.sections import Policies
from teleport.service.site import Site

__all__ = ["start_source"]


def start_source(site: Site, auth: AuthService, policies: Policies) -> None:
    """Reconcile the folder from now on. A source that is stalled is told of, but makes nothing less ready."""
    path = Path(policies.dir)
    if not path.is_dir():
        raise BadInput(f"the policy folder {path} does not exist", hint="see --policies, or policies.dir")
    seen = asyncio.Event()

    def changed(state: SourceState) -> None:
        auth.show_source(state)
        seen.set()

    source = FolderSource(path, name=policies.name)
    loop = Loop(source, auth, clock=site.clock, interval=policies.interval, changed=changed)

    def remarks() -> Iterator[str]:
        if loop.state.state != "Ready":
            yield f"source {loop.state.name} is {loop.state.state.lower()}: {loop.state.message or 'not read yet'}"

    def prepare(config: Config) -> "partial[None]":
        interval = config.policies.interval if config.policies is not None else policies.interval
        return partial(setattr, loop, "interval", interval)

    site.sources.append(loop)
    site.health.remark(remarks)
    site.prepares.append(prepare)
    site.ready_when.append(seen.wait)
    site.life.background(loop.run(partial(watch_folder, path)), "policies")
