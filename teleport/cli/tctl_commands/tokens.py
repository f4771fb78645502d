"""`tctl tokens`: how services come to join. A token's name is a secret: it is shown once, and masked afterwards."""

import shlex
from typing import TYPE_CHECKING

import click

from teleport.cli.options import output_option, parse_labels, seconds
from teleport.cli.tctl import Target
from teleport.core.errors import BadInput, NotFound
from teleport.core.output import table, to_json, write
from teleport.core.program import Group

if TYPE_CHECKING:
    from teleport.api import models as m

__all__ = ["tokens"]


@click.group(cls=Group)
def tokens() -> None:
    """Make, list and remove join tokens."""


@tokens.command()
@click.option(
    "--type",
    "types",
    required=True,
    metavar="LIST",
    help="What may join: node, proxy, node,proxy, operator or trusted_cluster.",
)
@click.option("--ttl", default="30m", show_default=True, metavar="DURATION", help="How long it can be used.")
@click.option("--value", default="", metavar="TOKEN", help="Use this secret instead of a random one.")
@click.option("--labels", default="", metavar="K=V,...", help="Labels that hosts get which join with it.")
@click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="A source of policy that an operator may feed."
)
@output_option()
@click.pass_obj
def add(target: Target, /, types: str, ttl: str, value: str, labels: str, sources: tuple[str, ...], form: str) -> None:
    """Make a token, and print it with the command to run on the host that is to join.

    Whoever has the token can join until it expires: pass it on like a password.

    Example: tctl tokens add --type node --ttl 1h --labels env=prod
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    roles = tuple(word.strip() for word in types.split(",") if word.strip())
    request = m.TokenRequest(roles=roles, ttl=_ttl(ttl), value=value, labels=parse_labels(labels), sources=sources)
    made = ask(target, r.TOKEN, request)
    if form == "json":
        write(to_json({**made.model_dump(mode="json"), "command": _command(made)}))
        return
    write(f"The token, good for {ttl}:\n\n  {made.token}\n\n{_where(made)}, run:\n\n  {_command(made)}\n")


@tokens.command()
@click.option("--with-secrets", is_flag=True, help="Show the tokens themselves.")
@output_option()
@click.pass_obj
def ls(target: Target, /, with_secrets: bool, form: str) -> None:
    """List the tokens that can be used to join.

    Example: tctl tokens ls
    """
    found = _list(target, secrets=with_secrets)
    if form == "json":
        write(to_json([one.resource for one in found]))
        return
    from teleport.cli.documents import columns, row

    write(table(columns("token"), map(row, found)))


@tokens.command()
@click.argument("token")
@click.pass_obj
def rm(target: Target, /, token: str) -> None:
    """Remove a token, named in full or by a beginning that only one token has. Hosts that joined stay.

    Example: tctl tokens rm 4f1c
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask
    from teleport.cli.documents import name_of

    names = [name_of(one) for one in _list(target, secrets=True)]
    matching = [name for name in names if name == token] or [name for name in names if name.startswith(token)]
    if not matching:
        raise NotFound("there is no such token", hint="tctl tokens ls")
    if len(matching) > 1:
        raise BadInput(f"{len(matching)} tokens begin like this", hint="tctl tokens ls --with-secrets")
    ask(target, r.DELETE, m.ResourceName(kind="token", name=matching[0]))
    write(f"token {matching[0][:2]}… removed")


def _list(target: Target, *, secrets: bool) -> "tuple[m.Resource, ...]":
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    return ask(target, r.RESOURCES, m.ResourceQuery(kind="token", secrets=secrets)).resources


def _ttl(text: str) -> float:
    found = seconds(text, example="1h")
    if not 0 < found <= 365 * 86400:
        raise BadInput("a token is good for more than nothing and at most a year", hint="write for example 1h")
    return found


def _where(made: "m.TokenSecret") -> str:
    if "Operator" in made.roles:
        return "Where kubectl reaches the cluster"
    if _for_cluster(made):
        return "On the auth host of the cluster that is to trust this one"
    return f"On the host that is to join as {' and '.join(made.roles)}"


def _for_cluster(made: "m.TokenSecret") -> bool:
    return "Trusted_cluster" in made.roles


def _command(made: "m.TokenSecret") -> str:
    """What to run on the host. A proxy joins through the auth service, everything else through the proxy."""
    if "Operator" in made.roles:
        return _secret(made)
    if _for_cluster(made):
        return _declaration(made)
    proxy = "Proxy" in made.roles
    words = [
        "teleport", "start", "--roles", ",".join(role.lower() for role in made.roles), "--token", made.token,
        "--auth-server" if proxy else "--proxy-server", made.proxy_address or "HOST:PORT",
    ]  # fmt: skip
    for pin in made.ca_pins:
        words += ["--ca-pin", pin]
    return shlex.join(words)


def _secret(made: "m.TokenSecret") -> str:
    """What gives an operator in Kubernetes its token, beside what its Deployment says."""
    words = ["kubectl", "-n", "teleport", "create", "secret", "generic", "teleport-operator"]
    literals = {"token": made.token, "address": made.proxy_address or "HOST:PORT", "ca_pin": ",".join(made.ca_pins)}
    return shlex.join([*words, *(f"--from-literal={name}={value}" for name, value in literals.items())])


def _declaration(made: "m.TokenSecret") -> str:
    """What puts the token where a declaration may refer to it; the rest is what to write there."""
    pins = ", ".join(made.ca_pins)
    return (
        f"install -D -m 0600 /dev/stdin /var/lib/teleport/secrets/{made.cluster} <<< {made.token}\n\n"
        "and declare there:\n\n"
        f"  kind: trusted_cluster\n  version: v2\n  metadata:\n    name: {made.cluster}\n  spec:\n    enabled: yes\n"
        f"    web_proxy_addr: {made.proxy_address or 'HOST:PORT'}\n    ca_pin: [{pins}]\n"
        f"    token: {{file: /var/lib/teleport/secrets/{made.cluster}}}\n"
        "    role_map: [{remote: ROLE_THERE, local: [ROLE_HERE]}]"
    )
