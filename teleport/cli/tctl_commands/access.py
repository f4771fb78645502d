"""`tctl access`: who reaches what by a folder of policy, without a cluster, judged by the code that clusters run."""

import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from teleport.cli.options import listed, output_option, parse_labels
from teleport.core.errors import AccessDenied, BadInput
from teleport.core.output import printable, table, to_json, write
from teleport.core.program import Group

if TYPE_CHECKING:
    from teleport.access.decide import Decision
    from teleport.access.target import Target
    from teleport.cli.offline import Policy

__all__ = ["access"]

_QUIET: Final[Sequence[object]] = ("no", "off", "never", 0, False, [])
"""Values of conditions that go without saying."""

_WIDTH: Final = 100
"""Columns of what is printed for people."""

_policies = click.option(
    "--policies", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The folder of policy."
)
_user = click.option("--user", required=True, metavar="NAME", help="A user declared in the folder.")
_traits = click.option(
    "--trait", "traits", multiple=True, metavar="KEY=VALUE",
    help="Suppose the user had this trait, instead of the declared one; again for more values.",
)  # fmt: skip
_node = click.option("--node", metavar="NAME", help="A host declared in the folder.")
_labels = click.option(
    "--labels", metavar="K=V,...", help='Instead of --node: any host with these labels; "" for one without labels.'
)


@click.group(cls=Group)
def access() -> None:
    """Ask a folder of policy who reaches what; no cluster needed.

    Labels that hosts report by themselves are not known here: what counts is what the folder declares.
    """


@access.command()
@_policies
@_user
@_traits
@click.option("--mfa", is_flag=True, help="Suppose a second factor was shown for this session.")
@click.option("--login", required=True, help="The login on the host.")
@_node
@_labels
@output_option()
def check(folder: Path, user: str, traits: tuple[str, ...], form: str, **asked: Any) -> int:
    """May a user log in to a host? Says why, and by which line of which file.

    Exits with 0 if allowed, with 3 if denied, with 2 if the question or the folder is wrong.

    Example: tctl access check --policies policies --user ann --login root --labels env=prod
    """
    policy = _policy(folder).with_traits(user, _parse_traits(traits))
    target = _target(policy, asked["node"], asked["labels"])
    decision = policy.check(user, asked["login"], target, mfa=asked["mfa"], now=time.time())
    if form == "json":
        write(to_json(decision.to_dict()))
    else:
        write(_verdict(decision, f"{user} may {{}}log in as {asked['login']} on {target.name}"))
    return 0 if decision.allowed else AccessDenied.exit_status


@access.command()
@_policies
@_user
@_traits
@output_option()
def ls(folder: Path, user: str, traits: tuple[str, ...], form: str) -> None:
    """List the declared hosts that a user reaches, and as whom. A second factor is taken as shown.

    Example: tctl access ls --policies policies --user ann
    """
    policy = _policy(folder).with_traits(user, _parse_traits(traits))
    rows = policy.hosts(user, now=time.time())
    if form == "json":
        write(to_json([{"node": target.name, "logins": logins} for target, logins in rows]))
        return
    shown = [(target.name, listed(logins), _pairs(target.labels) or "-") for target, logins in rows]
    write(table(("Host", "Logins", "Labels"), shown))


@access.command()
@_policies
@_node
@_labels
@click.option("--login", default="", help="Only those who may log in as this.")
@output_option()
def who(folder: Path, node: str | None, labels: str | None, login: str, form: str) -> None:
    """List the users who reach a host, their logins, and the role that gives them. A second factor is taken as shown.

    Where several roles give somebody different logins, each role has a row.

    Example: tctl access who --policies policies --node db-1 --login root
    """
    policy = _policy(folder)
    rows = policy.people(_target(policy, node, labels), login=login, now=time.time())
    if form == "json":
        write(to_json([{"user": one.user, "logins": list(one.logins), "role": one.role} for one in rows]))
        return
    write(table(("User", "Logins", "Role"), [(one.user, listed(one.logins), one.role) for one in rows]))


def _policy(folder: Path) -> "Policy":
    from teleport.cli.offline import load_policy

    return load_policy(folder)


def _target(policy: "Policy", node: str | None, labels: str | None) -> "Target":
    from teleport.access.target import Target

    if (node is None) == (labels is None):
        raise BadInput("which host?", hint='give either --node NAME or --labels K=V,... ("" for a host without labels)')
    if node is not None:
        return policy.host(node)
    found = parse_labels(labels or "")
    return Target("node", f"a host with {_pairs(found)}" if found else "a host without labels", labels=found)


def _parse_traits(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise BadInput(f"{text!r} is not a trait", hint="write for example --trait team=web --trait team=db")
        found[key] = (*found.get(key, ()), value)
    return found


def _pairs(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _verdict(decision: "Decision", sentence: str) -> str:
    """The answer for people: what, why, where that is written, and under which conditions."""
    lines = [f"{'allowed' if decision.allowed else 'denied'}: {sentence.format('' if decision.allowed else 'not ')}"]
    lines += [f"  {reason}" for reason in decision.reasons]
    if decision.file:
        lines.append(f"  at {decision.file}:{decision.line}" if decision.line else f"  in {decision.file}")
    if decision.needs:
        lines.append(f"  needs {', '.join(f'{key}: {value}' for key, value in decision.needs.items())}")
    if decision.conditions is not None:
        lines += _wrapped(f"  conditions: {_conditions(decision.conditions.to_dict())}")
    return "\n".join(map(printable, lines))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=" " * 4, break_long_words=False, break_on_hyphens=False)


def _conditions(found: Mapping[str, Any]) -> str:
    """Those that hold of SSH and do not go without saying."""
    return ", ".join(
        f"{key} {_value(value)}"
        for key, value in found.items()
        if value not in _QUIET and not key.startswith("desktop_")
    )


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(str(one["name"] if isinstance(one, dict) else one) for one in value)
    return "yes" if value is True else str(value)
