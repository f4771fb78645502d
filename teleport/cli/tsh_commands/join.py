"""`tsh join`: look on at a live session, by the same way as `tsh ssh` goes."""

import os
import shutil
import sys
from typing import Final

import click

from teleport.cli import profile as p
from teleport.cli.clusters import check_cluster, cluster_option
from teleport.cli.freshness import keep_fresh
from teleport.cli.tsh_commands.sessions import find
from teleport.cli.tsh_commands.ssh import Call, in_one_session
from teleport.core.errors import BadInput
from teleport.core.joining import MODES, MODES_SERVED, Wish

__all__ = ["join"]

_ONLY_LOOKING: Final = (
    "-o", "ClearAllForwardings=yes", "-o", "ForwardAgent=no", "-o", "ForwardX11=no", "-o", "ControlPath=none",
    "-o", "RemoteCommand=none",
)  # fmt: skip
"""Whatever somebody's own configuration of ssh asks for in other sessions."""


@click.command()
@click.argument("session", metavar="ID")
@click.option("--mode", type=click.Choice(MODES), default="observer", show_default=True, help="As what to take part.")
@click.option("--mfa-code", metavar="CODE", default="", help="A code for a session that needs one, for scripts.")
@cluster_option
def join(session: str, mode: str, mfa_code: str, cluster: str) -> int:
    """Look on at a live session: its screen appears here, and nothing you type reaches it.

    The beginning of an id is enough where only one session has it. Whoever is in the session reads that you came and
    went, and it is audited. Ctrl-C leaves. What the session prints drives your terminal, as it drives theirs.

    Example: tsh sessions ls && tsh join 4f1c
    """
    profile = keep_fresh(p.current())
    profile.check()
    check_cluster(profile, cluster)
    if mode not in MODES_SERVED:
        raise BadInput(f"sessions cannot be joined as {mode} yet", hint="join as observer: you see, and type nothing")
    row = find(profile, session)
    if os.environ.get("SSH_SESSION_ID") == row.sid:
        raise BadInput("this is the session itself: it would show you what it shows you, without end")
    call = Call(profile, Wish(mode, row.sid).login, row.server_hostname, (), _flags())
    if row.needs.get("mfa") == "required":
        return in_one_session(call, mfa_code)
    return call.run()


def _flags() -> tuple[str, ...]:
    terminal = () if sys.stdin.isatty() and sys.stdout.isatty() else ("-T",)
    return (*_ONLY_LOOKING, *terminal) if shutil.which("ssh") is not None else terminal
