"""`tsh ssh`: the system's ssh with our certificate, known hosts and way through the proxy."""

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from teleport.cli import profile as p
from teleport.cli.clusters import cluster_option, known_hosts_of, meant
from teleport.cli.freshness import keep_fresh, program
from teleport.cli.tsh_commands.ssh_switches import as_for_ssh, handed_on
from teleport.core.errors import BadInput, TeleportError

__all__ = [
    "Call", "default_login", "flags_of", "in_one_session", "options_for", "proxy_command", "proxy_words", "quick",
    "quoted", "run_in_place", "ssh", "with_second_factor",
]  # fmt: skip

_QUICK_SECONDS = 30.0


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.argument("destination", metavar="[LOGIN@]HOST|LABEL=VALUE[,...]")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("-l", "--login", metavar="LOGIN", help="Log in as.")
@click.option("-p", "--port", help="Accepted and ignored: hosts are reached through the proxy.")
@click.option("-t", "--tty", "tty", count=True, help="Ask for a terminal for a command too; twice: without one here.")
@click.option("-T", "--no-tty", is_flag=True, help="No terminal.")
@click.option("-N", "--no-exec", is_flag=True, help="Run nothing.")
@click.option("-f", "--fork", is_flag=True, help="Go to the background once connected.")
@click.option("-n", "stdin_null", is_flag=True, help="No standard input.")
@click.option("-q", "quiet", is_flag=True, help="Quiet.")
@click.option("-v", "verbose", count=True, help="Show what ssh does.")
@click.option("-A", "--forward-agent", is_flag=True, help="Forward the ssh-agent.")
@click.option("-X", "--x11", is_flag=True, help="Forward X11.")
@click.option("-Y", "--x11-trusted", is_flag=True, help="Forward X11, trusting the host with the display.")
@click.option("-L", "--forward", "local", multiple=True, metavar="SPEC", help="Forward a local port.")
@click.option("-R", "--remote-forward", "remote", multiple=True, metavar="SPEC", help="Forward a remote port.")
@click.option("-D", "--dynamic-forward", "dynamic", multiple=True, metavar="SPEC", help="SOCKS proxy.")
@click.option("-W", "--stdio-forward", "stdio", metavar="HOST:PORT", help="Join standard input and output to a port.")
@click.option("-o", "--option", "options", multiple=True, metavar="OPTION", help="As for ssh.")
@as_for_ssh
@click.option("--mfa-code", metavar="CODE", default="", help="A code for a session that needs one, for scripts.")
@click.option(
    "--parallel",
    metavar="N",
    default=20,
    show_default=True,
    type=click.IntRange(1, 500),
    help="With labels: on so many hosts at a time.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="With labels: form of the result.",
)
@click.option(
    "--log-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="With labels: also write HOST.stdout and HOST.stderr there.",
)
@cluster_option
def ssh(destination: str, command: tuple[str, ...], **given: object) -> int:
    """Open a shell on a host, or run a command there.

    With labels instead of a host the command runs on every host you reach that has all of them: each line of output
    begins with the host, a summary comes last. The exit status is 0 if the command succeeded everywhere, otherwise 1,
    and 130 after Ctrl-C, which ends it everywhere.

    \b
    Example: tsh ssh root@db-1 systemctl status postgresql
    Example: tsh ssh root@env=prod,team=web uptime
    """
    profile = keep_fresh(p.current())
    profile.check()
    cluster = meant(profile, str(given["cluster"]))
    if "=" in destination:
        return _on_labels(profile, destination, command, {**given, "cluster": cluster})
    login, _, host = destination.rpartition("@")
    if not host:
        raise BadInput(f"{destination!r} names no host", hint="tsh ssh LOGIN@HOST")
    login = login or str(given["login"] or "") or default_login(profile)
    call = Call(profile, login, host, tuple(command), tuple(_flags(given)), cluster=cluster)
    started = time.monotonic()
    status = call.run()
    if status == 255 and quick(started):
        again = with_second_factor(call, str(given["mfa_code"] or ""))
        if again is not None:
            return again
    return status


def _on_labels(
    profile: p.Profile, destination: str, command: tuple[str, ...], given: Mapping[str, object]
) -> int:  # fmt: skip
    from teleport.cli.tsh_commands.many import Many, run_on_many, split

    login, labels = split(destination)
    login = login or str(given["login"] or "") or default_login(profile)
    parallel, log_dir = given["parallel"], given["log_dir"]
    assert isinstance(parallel, int)
    assert log_dir is None or isinstance(log_dir, Path)
    call = Call(profile, login, "", command, tuple(_flags(given)), cluster=str(given["cluster"]))
    return run_on_many(Many(call, labels, parallel, str(given["form"]), log_dir))


@dataclass(frozen=True)
class Call:
    """One run of ssh."""

    profile: p.Profile
    login: str
    host: str
    command: tuple[str, ...]
    flags: tuple[str, ...]
    key: Path | None = None
    certificate: Path | None = None
    tls: Path | None = None
    """A folder with the TLS pair for one session, instead of the profile's."""
    cluster: str = ""
    """The host's, if that is another than one's own."""

    @property
    def host_name(self) -> str:
        """As the host's certificate has it."""
        return self.name_of(self.host)

    def name_of(self, host: str) -> str:
        cluster = self.cluster or self.profile.cluster
        return f"{host.removesuffix(f'.{cluster}')}.{cluster}"

    def run(self) -> int:
        if shutil.which("ssh") is None:
            from teleport.cli.tsh_commands.builtin_ssh import run_builtin

            return run_builtin(self)
        return run_in_place(self.arguments())

    def arguments(self) -> list[str]:
        """The command line of ssh."""
        options = self._options(HostKeyAlias=self.host_name)
        return ["ssh", *self.flags, *options, "-l", self.login, "--", self.host, *self.command]

    def _options(self, **more: str) -> Iterator[str]:
        profile = self.profile
        pairs = options_for(
            profile, key=self.key or profile.ssh_key, certificate=self.certificate or profile.ssh_certificate,
            command=proxy_command(profile, tls=self.tls, cluster=self.cluster),
        )  # fmt: skip
        if self.cluster:
            pairs["UserKnownHostsFile"] = quoted(str(known_hosts_of(profile, self.cluster)))
        for key, value in {**pairs, **more}.items():
            yield from ("-o", f"{key}={value}")


def quick(started: float) -> bool:
    """Whether a session that ended was too short for somebody to have worked in."""
    return time.monotonic() - started < _QUICK_SECONDS


def run_in_place(arguments: list[str]) -> int:
    """Run ssh or scp in our place: what the terminal sends it gets itself, what is sent to us alone is passed on."""
    with subprocess.Popen(arguments) as program:
        passed_on = (signal.SIGTERM, signal.SIGHUP)
        previous = {number: signal.signal(number, lambda sent, _: program.send_signal(sent)) for number in passed_on}
        previous[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return program.wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def options_for(profile: p.Profile, *, key: Path, certificate: Path, command: str) -> dict[str, str]:
    """What ssh is told, on its command line or in a configuration file."""
    return {
        "ProxyCommand": command,
        "ProxyUseFdpass": "yes",
        "IdentityFile": quoted(str(key)),
        "CertificateFile": quoted(str(certificate)),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": quoted(str(profile.known_hosts)),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "CheckHostIP": "no",
        "PreferredAuthentications": "publickey",
    }


def proxy_command(profile: p.Profile, *, tls: Path | None = None, cluster: str = "") -> str:
    """What ssh runs to reach a host, as its configuration spells it, good in other environments too."""
    words = [*proxy_words(profile, tls=tls, cluster=cluster), "--fdpass"]
    if "TELEPORT_HOME" in os.environ:
        words[:0] = ["/usr/bin/env", f"TELEPORT_HOME={p.home()}"]
    return " ".join(_shell_quoted(word) for word in words) + " %r@%h:%p"


def proxy_words(profile: p.Profile, *, tls: Path | None = None, cluster: str = "") -> list[str]:
    """The command that reaches a host, without the host. The way here is written out: ssh may have another PATH."""
    words = [program(), "proxy", "ssh", "--proxy", profile.proxy]
    if tls is not None:
        words += ["--credentials", str(tls)]
    if cluster:
        words += ["--cluster", cluster]
    return words


def _shell_quoted(word: str) -> str:
    import shlex

    return shlex.quote(word).replace("%", "%%")


def quoted(path: str) -> str:
    escaped = path.replace("%", "%%")
    return f'"{escaped}"' if " " in escaped else escaped


def default_login(profile: p.Profile) -> str:
    local = getpass.getuser()
    return local if local in profile.logins or not profile.logins else profile.logins[0]


def _flags(given: Mapping[str, object]) -> Iterator[str]:
    switches = {
        "no_tty": "-T", "no_exec": "-N", "fork": "-f", "stdin_null": "-n", "quiet": "-q",
        "forward_agent": "-A", "x11": "-X", "x11_trusted": "-Y",
    }  # fmt: skip
    terminal = given["tty"]
    yield from ["-t"] * (terminal if isinstance(terminal, int) else 0)
    yield from flags_of(given, switches)
    yield from handed_on(given)
    if given["stdio"]:
        yield from ("-W", str(given["stdio"]))
    for name, flag in (("local", "-L"), ("remote", "-R"), ("dynamic", "-D")):
        values = given[name]
        assert isinstance(values, Sequence)
        for value in values:
            yield from (flag, str(value))


def flags_of(given: Mapping[str, object], switches: Mapping[str, str]) -> Iterator[str]:
    """What was given of switches, of `-v` and of `-o`, as ssh and scp take it."""
    yield from (flag for name, flag in switches.items() if given[name])
    verbose, options = given["verbose"], given["options"]
    assert isinstance(options, Sequence)
    yield from ["-v"] * (verbose if isinstance(verbose, int) else 0)
    for option in options:
        yield from ("-o", str(option))


def with_second_factor(call: Call, code: str) -> int | None:
    """If the session was refused for want of a second factor: ask for it and try again."""
    from teleport.cli.connect import run

    try:
        needs = _needs_elsewhere(call) if call.cluster else run(_needs(call))
    except TeleportError:
        return None
    if needs.get("mfa") != "required":
        return None
    return in_one_session(call, code)


def in_one_session(call: Call, code: str) -> int:
    """Run with certificates for this one session, against a second factor, which is asked for if none is given."""
    from teleport.cli.connect import run

    code = code or click.prompt("Code from the authenticator app, for this session", err=True)
    with _one_session(call.profile) as folder:
        run(_obtain(call, code, folder))
        return replace(call, key=folder / "ssh", certificate=folder / "ssh-cert.pub", tls=folder).run()


async def _needs(call: Call) -> dict[str, str]:
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.connect import api_client

    async with api_client(call.profile) as client:
        verdict = await client.call(r.CHECK, m.AccessCheck(host=_plain(call), login=call.login))
    return dict(verdict.needs)


def _needs_elsewhere(call: Call) -> dict[str, str]:
    """As the other cluster says."""
    from teleport.cli.way import verdict

    return dict(verdict(call.profile, call.cluster, call.login, call.host).get("needs", {}))


async def _obtain(call: Call, code: str, folder: Path) -> None:
    """Keys and certificates that are good for this one session."""
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.connect import api_client
    from teleport.pki.keys import new_ssh_key, new_tls_key, private_pem, public_pem, ssh_line, ssh_private

    ssh_key, tls_key = new_ssh_key(), new_tls_key()
    request = m.SessionCertificateRequest(
        code=code, host=_plain(call), ssh_public_key=ssh_line(ssh_key.public_key()),
        tls_public_key=public_pem(tls_key.public_key()),
    )  # fmt: skip
    async with api_client(call.profile) as client:
        answer = await client.call(r.SESSION_CERTIFICATE, request)
    p.write_private(folder / "ssh", ssh_private(ssh_key))
    p.write_private(folder / "ssh-cert.pub", answer.ssh_certificate + "\n")
    p.write_private(folder / "tls.key", private_pem(tls_key))
    p.write_private(folder / "tls.crt", answer.tls_certificate)


def _plain(call: Call) -> str:
    """The host as auth at home calls it: with the cluster, if it is another's."""
    if call.cluster:
        return call.host_name
    return call.host.removesuffix(f".{call.profile.cluster}")


@contextlib.contextmanager
def _one_session(_profile: p.Profile) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tsh-session-") as folder:
        yield Path(folder)
