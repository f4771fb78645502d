"""Starts what tells others of the policy, from what teleport.yaml says of them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from teleport.service.auth import AuthService
from teleport.service.config import Config
from teleport.service.ledger import Ledger
from teleport.service.notifications import CommitStatus
from teleport.service.notify import Notifier
from teleport.service.outgoing import Sender
from teleport.service.policies import Policies
from teleport.service.site import Site

__all__ = ["start_notifier"]

_FILE: Final = "sources/told.json"


def start_notifier(site: Site, auth: AuthService, policies: Policies) -> None:
    """Watch sources and audit log from now on. Call it before the sources are started."""
    ledger = Ledger.open(site.data_dir / _FILE)
    sender = Sender()
    site.life.stack.callback(sender.close)
    notifier = Notifier(
        ledger, policies.notify, _forges(policies), cluster=site.home.name, clock=site.clock, send=sender
    )
    site.notifier = notifier
    auth.watchers.append(notifier.saw)
    auth.auth.audit.subscribe(notifier.happened)
    site.life.stack.push_async_callback(ledger.save)
    site.life.background(notifier.run(), "notifications")
    site.prepares.append(partial(_new_receivers, notifier))


def _new_receivers(notifier: Notifier, config: Config) -> Callable[[], None]:
    """Those of another configuration. The forges belong to their sources, which stay as they are."""
    return partial(notifier.take, config.policies.notify if config.policies is not None else ())


def _forges(policies: Policies) -> Mapping[str, CommitStatus]:
    """By source."""
    found = {one.name: one.git.commit_status for one in policies.all if one.git is not None}
    return {name: forge for name, forge in found.items() if forge is not None}
