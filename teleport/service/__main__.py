"""The command `teleport`: starts services, writes and checks configurations, restores backups."""

import sys
from pathlib import Path

import click

from teleport.core.errors import TeleportError
from teleport.core.output import complain

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="teleport-py", prog_name="teleport")
def cli() -> None:
    """Access governed from git: certificate authority, proxy and SSH agent in one program.

    Example: teleport start --policies ./policies
    """


@cli.command()
@click.option("-c", "--config", "config_file", type=click.Path(path_type=Path), help="teleport.yaml to read.")
@click.option("--policies", metavar="DIR", help="Folder of YAML that governs the cluster.")
@click.option("--data-dir", metavar="DIR", help="Where everything is kept.")
@click.option("--listen", metavar="HOST:PORT", help="The one TLS port (127.0.0.1:3080).")
@click.option("--cluster-name", metavar="NAME", help="Name of the cluster; fixed at the first start.")
@click.option("--nodename", metavar="NAME", help="Name of this host.")
@click.option("--roles", metavar="LIST", help="Services to run, of auth,proxy,node.")
@click.option("--token", metavar="TOKEN", help="Join token, or a file that holds it (starting with /).")
@click.option("--auth-server", metavar="HOST:PORT", help="The auth service to join through.")
@click.option("--proxy-server", metavar="HOST:PORT", help="The proxy to join through.")
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


def main() -> None:
    """Entry point."""
    try:
        cli.main(standalone_mode=True)
    except TeleportError as error:
        sys.exit(complain("teleport", error))


if __name__ == "__main__":
    main()
