"""`tsh scp`: the system's scp with our certificate, known hosts and way through the proxy."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from teleport.cli import profile as p
from teleport.cli.clusters import cluster_option, meant
from teleport.cli.freshness import keep_fresh
from teleport.cli.tsh_commands.ssh import (
    Call,
    default_login,
    flags_of,
    quick,
    run_in_place,
    with_second_factor,
)
from teleport.core.errors import BadInput

__all__ = ["CopyCall", "Remote", "remote", "scp"]

_REFUSED = (1, 255)
"""What scp exits with when there was no session."""


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(), metavar="SOURCE... TARGET")
@click.option("-r", "--recursive", is_flag=True, help="Copy folders with all that is in them.")
@click.option("-p", "--preserve", is_flag=True, help="Keep times and permissions.")
@click.option("-q", "quiet", is_flag=True, help="Quiet: no progress.")
@click.option("-v", "verbose", count=True, help="Show what scp does.")
@click.option("-C", "compress", is_flag=True, help="Accepted and ignored: hosts do not compress.")
@click.option("-O", "--legacy", is_flag=True, help="Use the older protocol, for hosts without sftp-server.")
@click.option("-P", "--port", help="Accepted and ignored: hosts are reached through the proxy.")
@click.option("-l", "--limit", metavar="KBIT/S", type=click.IntRange(1), help="At most so fast.")
@click.option("-o", "--option", "options", multiple=True, metavar="OPTION", help="As for ssh.")
@click.option("--login", metavar="LOGIN", help="Log in as, where a path does not say.")
@cluster_option
@click.option("--mfa-code", metavar="CODE", default="", help="A code for a session that needs one, for scripts.")
def scp(paths: tuple[str, ...], **given: object) -> int:
    """Copy files to a host, from a host, or from one to another by way of here.

    A path on a host is [LOGIN@]HOST:PATH; without a slash at its beginning it starts in the login's home.

    Example: tsh scp -r ./site deploy@web-1:/srv/
    """
    profile = keep_fresh(p.current())
    profile.check()
    cluster = meant(profile, str(given["cluster"]))
    if len(paths) < 2:
        raise BadInput("what is copied, and where to?", hint="tsh scp SOURCE... TARGET")
    login = str(given["login"] or "") or default_login(profile)
    ends = tuple(remote(path, login) for path in paths)
    there = [end for end in ends if isinstance(end, Remote)]
    if not there:
        raise BadInput("none of the paths is on a host", hint="a path on a host is [LOGIN@]HOST:PATH")
    call = CopyCall(profile, there[0].login, there[0].host, (), tuple(_flags(given)), cluster=cluster, ends=ends)
    started = time.monotonic()
    status = call.run()
    if status in _REFUSED and quick(started) and len({(end.host, end.login) for end in there}) == 1:
        again = with_second_factor(call, str(given["mfa_code"] or ""))
        return status if again is None else again
    return status


@dataclass(frozen=True)
class Remote:
    """A path on a host."""

    login: str
    host: str
    path: str


def remote(path: str, login: str) -> Remote | str:
    """Which end of a copy a path means: as for scp, it is on a host if there is a colon before any slash."""
    before, colon, rest = path.partition(":")
    if not colon or not before or "/" in before:
        return path
    if rest.startswith("//") and before in ("scp", "sftp"):
        raise BadInput(f"{path!r} is a URI", hint="write [LOGIN@]HOST:PATH")
    own, _, host = before.rpartition("@")
    if not host or host.startswith("-") or own.startswith("-"):
        raise BadInput(f"{path!r} names no host", hint="[LOGIN@]HOST:PATH, or ./PATH for a local one")
    return Remote(own or login, host, rest)


@dataclass(frozen=True)
class CopyCall(Call):
    """One run of scp."""

    ends: tuple[Remote | str, ...] = ()

    def run(self) -> int:
        if shutil.which("scp") is None or shutil.which("ssh") is None:
            from teleport.cli.tsh_commands.builtin_scp import run_builtin

            return run_builtin(self)
        return run_in_place(["scp", *self._through_here(), *self.flags, *self._options(), "--", *self._words()])

    def _through_here(self) -> Sequence[str]:
        *sources, target = self.ends
        between = isinstance(target, Remote) and any(isinstance(source, Remote) for source in sources)
        return ["-3"] if between else []

    def _words(self) -> Iterator[str]:
        for end in self.ends:
            yield end if isinstance(end, str) else f"{end.login}@{self.name_of(end.host)}:{end.path}"


def _flags(given: dict[str, object]) -> Iterator[str]:
    switches = {"recursive": "-r", "preserve": "-p", "quiet": "-q", "legacy": "-O"}
    yield from flags_of(given, switches)
    if given["limit"]:
        yield from ("-l", str(given["limit"]))
