"""`tctl status`, `tctl nodes` and `tctl backup`: the state of the cluster, and a copy of it."""

from pathlib import Path

import click

from teleport.cli.options import output_option
from teleport.cli.tctl import Target
from teleport.core.output import printable, table, to_json, write
from teleport.core.program import Group

__all__ = ["backup", "nodes", "status"]


@click.command()
@output_option()
@click.pass_obj
def status(target: Target, /, form: str) -> None:
    """Show the cluster: name, version, pins for clients, policy revision, audit log, warnings.

    Example: tctl status
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    found = ask(target, r.STATUS, m.Empty())
    if form == "json":
        write(to_json(found.model_dump(mode="json")))
        return
    rows = [
        ("Cluster", found.cluster),
        ("Version", found.version),
        ("Proxy", found.proxy_address or "none that has told its address"),
        *(("CA pin", pin) for pin in found.ca_pins),
        ("Hosts", str(found.hosts)),
        ("Policy", f"revision {found.policy_revision}"),
        ("Audit log", f"{found.audit_events} events, head {found.audit_head[:16]}"),
    ]
    if found.demo:
        rows.append(("Demo", "sessions of the service's own user can read the certificate authority"))
    rows += [("Warning", text) for text in found.warnings]
    write("".join(f"{name + ':':<11}{printable(value)}\n" for name, value in rows))


@click.group(cls=Group)
def nodes() -> None:
    """List the hosts of the cluster."""


@nodes.command()
@output_option()
@click.pass_obj
def ls(target: Target, /, form: str) -> None:
    """List the hosts that are connected now, with the labels that decisions see.

    Example: tctl nodes ls
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    hosts = ask(target, r.HOSTS, m.Empty()).hosts
    if form == "json":
        rows = [{"hostname": one.hostname, "uuid": one.uuid, "labels": dict(one.labels)} for one in hosts]
        write(to_json(rows))
        return
    write(table(("Host", "UUID", "Labels"), [(one.hostname, one.uuid, _labels(dict(one.labels))) for one in hosts]))


def _labels(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "-"


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def backup(target: Target, /, file: Path) -> None:
    """Copy everything in the store to a new file, while the cluster runs. Only on the auth host.

    The copy holds the policy, the users' credentials and the certificate authorities. Secrets in it are sealed with
    the key in the data directory: keep a copy of that key too, elsewhere. `teleport restore` reads it.

    Example: tctl backup /var/backups/teleport-2030-01-31.db
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    path = file.absolute()
    done = ask(target, r.BACKUP, m.BackupRequest(path=str(path)))
    write(f"{printable(str(path))} holds the store at revision {done.revision}")
