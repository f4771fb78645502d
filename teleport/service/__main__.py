"""The command `teleport`: starts services, writes and checks configurations, restores backups."""

import sys
from pathlib import Path
from typing import Any

import click

from teleport.core.completion import completion_command
from teleport.core.output import to_json, write
from teleport.core.program import Group, run_program

__all__ = ["main"]


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="teleport-py", prog_name="teleport")
def cli() -> None:
    """Access governed from git: certificate authority, proxy and SSH agent in one program.

    Example: teleport start --policies ./policies
    """


@cli.command()
@click.option("-c", "--config", "config_file", type=click.Path(path_type=Path), help="teleport.yaml to read.")
@click.option("--policies", metavar="DIR|git+URL", help="Folder, or git+URL#BRANCH:PATH, that governs the cluster.")
@click.option("--data-dir", metavar="DIR", help="Where everything is kept.")
@click.option("--listen", metavar="HOST:PORT", help="The one TLS port (127.0.0.1:3080).")
@click.option("--cluster-name", metavar="NAME", help="Name of the cluster; fixed at the first start.")
@click.option("--nodename", metavar="NAME", help="Name of this host.")
@click.option("--roles", metavar="LIST", help="Services to run, of auth,proxy,node.")
@click.option("--token", metavar="TOKEN", help="Join token, or a file that holds it (starting with /).")
@click.option("--auth-server", metavar="HOST:PORT", help="The auth service to join, for a proxy.")
@click.option("--proxy-server", metavar="HOST:PORT", help="The proxy to join through, for an agent.")
@click.option("--ca-pin", metavar="PIN", multiple=True, help="Pin of the cluster to join; see `tctl status`.")
@click.option("--diag-addr", metavar="HOST:PORT", help="Serve /healthz, /readyz and /metrics there.")
@click.option("--demo", is_flag=True, help="Serve SSH to the service's own user, for trying things out.")
@click.option("-d", "--debug", is_flag=True, help="Log everything.")
def start(**options: object) -> None:
    """Start the services of this host and stay in the foreground.

    Without a file, auth, proxy and SSH agent run on loopback, port 3080. When everything is up, one line on
    standard output says so: ready: https://HOST:PORT cluster NAME ca-pin sha256:…

    Example: teleport start --policies examples/policies --cluster-name acme --demo
    """
    from teleport.service.start import run

    run(options)


@cli.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a new file, not standard output.")
@click.option("--check", type=click.Path(path_type=Path), metavar="FILE", help="Only check a file.")
@click.option("--cluster-name", metavar="NAME", help="Name of the cluster.")
@click.option("--nodename", metavar="NAME", help="Name of this host.")
@click.option("--roles", metavar="LIST", default="auth,proxy,node", help="Services to run, of auth,proxy,node.")
@click.option("--policies", metavar="DIR|git+URL", help="Folder, or git+URL#BRANCH:PATH, that governs the cluster.")
@click.option("--data-dir", metavar="DIR", help="Where everything is kept.")
@click.option("--listen", metavar="HOST:PORT", help="The one TLS port.")
@click.option("--public-addr", metavar="HOST:PORT", help="Where people reach the proxy.")
@click.option("--token", metavar="TOKEN", help="Join token, or a file that holds it (starting with /).")
@click.option("--proxy", metavar="HOST:PORT", help="The proxy to join through, for an agent.")
@click.option("--auth-server", metavar="HOST:PORT", help="The auth service to join, for a proxy.")
@click.option("--ca-pin", metavar="PIN", multiple=True, help="Pin of the cluster to join; see `tctl status`.")
@click.option("--diag-addr", metavar="HOST:PORT", help="Serve /healthz, /readyz and /metrics there.")
def configure(output: Path | None, check: Path | None, **options: Any) -> None:
    """Write a commented teleport.yaml, filled in with what the options say; or check one.

    Checking exits with 0, or with 2 and every problem with its place.

    Example: teleport configure --roles node --proxy teleport.example.com:443 --ca-pin sha256:… --token /run/token
    """
    from teleport.service.configure import check_file, write_example

    if check is not None:
        check_file(check)
    else:
        write_example(options, output)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--data-dir", type=click.Path(path_type=Path), help="The data directory to restore into.")
@click.option("--discard-secrets", is_flag=True, help="Give up authorities, passwords and tokens: the key is lost.")
@click.option("--force", is_flag=True, help="Move the store that is there aside.")
def restore(file: Path, data_dir: Path | None, discard_secrets: bool, force: bool) -> None:
    """Make a backup of `tctl backup` the store of a data directory that no process uses.

    The sealing key is not part of a backup: put sealing.key beside it. What to do if it is lost: docs/backup.md.

    Example: teleport restore /backup/teleport-monday --data-dir /var/lib/teleport
    """
    import os
    import time

    from teleport.service.config import own_data_dir
    from teleport.service.restore import restore as run

    place = data_dir or Path(own_data_dir())
    done = run(file, place, discard_secrets=discard_secrets, force=force, now=time.time(), environment=os.environ)
    write(f"restored: cluster {done.cluster} at revision {done.revision} into {place}")
    for path in done.aside:
        write(f"moved aside: {path}")
    if done.key_missing:
        write(f"teleport: hint: put the sealing key at {place}/sealing.key before the start", stream=sys.stderr)
    if discard_secrets:
        write("teleport: hint: the next start makes new authorities; see docs/backup.md", stream=sys.stderr)


@cli.group(cls=Group)
def join() -> None:
    """Make something of this host part of a cluster that is no service of this program.

    Example: teleport join openssh --proxy teleport.example.com:443 --ca-pin sha256:… --token /run/token
    """


@join.command()
@click.option("--proxy", metavar="HOST:PORT", default="", help="The proxy to join through.")
@click.option("--token", metavar="TOKEN", default="", help="Join token, or a file that holds it (starting with /).")
@click.option("--ca-pin", metavar="PIN", multiple=True, help="Pin of the cluster to join; see `tctl status`.")
@click.option("--name", metavar="NAME", default="", help="Name of this host, as it is declared.")
@click.option(
    "--config", type=click.Path(path_type=Path), default=Path("/etc/ssh/sshd_config"), help="sshd's configuration."
)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where keys are kept: `teleport` beside the configuration."
)
@click.option("--reload", "reload_", metavar="COMMAND", default="", help="Run this when sshd has to read it again.")
@click.option("--undo", is_flag=True, help="Configure sshd as it was before.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the answer.")
def openssh(
    proxy: str, token: str, ca_pin: tuple[str, ...], name: str, config: Path, folder: Path | None, reload_: str,
    undo: bool, output: str,
) -> None:  # fmt: skip
    """Prepare this host's sshd, so that people reach it through the cluster's proxy.

    sshd then takes certificates of this cluster's openssh authority, made for one login here, and shows a host
    certificate. Once joined, the command needs no options: run it again, from a timer, to renew the certificate.

    Example: teleport join openssh --proxy teleport.example.com:443 --ca-pin sha256:… --token /run/token
    """
    from teleport.service import join_openssh

    place = (folder or config.absolute().parent / "teleport").absolute()
    wanted = join_openssh.Wanted(config.absolute(), place, proxy, name, token, ca_pin, reload_)
    if undo:
        changed = join_openssh.undo(wanted)
        text = "sshd is configured as before" if changed else "there is nothing to undo"
        write(to_json({"changed": changed}) if output == "json" else text)
        return
    done = join_openssh.join(wanted)
    if output == "json":
        write(to_json({"name": done.name, "cluster": done.cluster, "expires": done.expires, "changed": done.changed}))
        return
    write(f"joined: {done.name} of cluster {done.cluster}{'' if done.changed else ', nothing changed'}")
    if done.changed and not reload_:
        write("teleport: hint: sshd has to read it: systemctl reload ssh", stream=sys.stderr)
    write(f"\nIts declaration, for the policy:\n\n{done.manifest}")


@cli.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the answer.")
def version(output: str) -> None:
    """Print the version of this program.

    Example: teleport version -o json
    """
    import platform

    import teleport

    about = {"version": teleport.__version__, "python": platform.python_version()}
    write(to_json(about) if output == "json" else f"teleport {about['version']} (Python {about['python']})")


cli.add_command(completion_command("teleport"))


def main() -> None:
    """Entry point."""
    run_program("teleport", cli)


if __name__ == "__main__":
    main()
