"""`tctl access`: who reaches what, by a folder of policy or its history, judged by the code that clusters run."""

import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from teleport.cli.history.means import Means, history_options
from teleport.cli.options import listed, output_option, parse_labels
from teleport.cli.tctl import Target
from teleport.cli.tctl_commands.access_history import explain, since, source_option, who_at
from teleport.core.errors import AccessDenied, BadInput
from teleport.core.output import printable, table, to_json, write
from teleport.core.program import Group

if TYPE_CHECKING:
    from teleport.access.decide import Decision
    from teleport.access.target import Target as Host
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
    """Ask who reaches what, by which rule, and because of which commit.

    A folder of policy answers without a cluster. Labels that hosts report by themselves are not known there: what
    counts is what the folder declares.
    """


access.add_command(explain)
access.add_command(since)


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
@click.option("--policies", "folder", type=click.Path(path_type=Path), metavar="DIR", help="The folder of policy.")
@click.option(
    "--at", default="", metavar="REV|TIME", help="Instead of a folder: by a commit, or by what held at a time."
)
@_node
@_labels
@click.option("--login", default="", help="Only those who may log in as this.")
@source_option
@history_options
@output_option()
@click.pass_obj
def who(
    target: Target, /, folder: Path | None, at: str, node: str | None, labels: str | None, login: str, source: str,
    form: str, **where: Any,
) -> None:  # fmt: skip
    """List the users who reach a host, their logins, and the role that gives them. A second factor is taken as shown.

    By a folder; or, with --at, by the repository around the current folder (or --repository, or with --live that of
    the running cluster) as it was at a commit or at a time: 2030-01-31T12:00:00Z, 2030-01-31 (its end, in UTC), 7d.
    Where several roles give somebody different logins, each role has a row.

    Example: tctl access who --node db-1 --login root --at 7d
    """
    if folder is None:
        if not (at or where["repository"] or where["live"]):
            raise BadInput("by which policy?", hint="give --policies DIR, or --at REV|TIME for a repository")
        if node is None or labels is not None:
            raise BadInput("which host?", hint="give --node NAME")
        from teleport.api.history import PeopleQuery

        who_at(Means(target, **where), PeopleQuery(node=node, login=login, at=at, source=source), form)
        return
    if at or any(where.values()):
        raise BadInput("--policies is a folder as it is now", hint="leave it out, and name a --repository DIR")
    policy = _policy(folder)
    rows = policy.people(_target(policy, node, labels), login=login, now=time.time())
    if form == "json":
        write(to_json([asdict(one) for one in rows]))
        return
    shown = [(one.user or f"holders of {one.partner}", listed(one.logins), one.role) for one in rows]
    write(table(("User", "Logins", "Role"), shown))


def _policy(folder: Path) -> "Policy":
    from teleport.cli.offline import load_policy

    return load_policy(folder)


def _target(policy: "Policy", node: str | None, labels: str | None) -> "Host":
    from teleport.access.target import Target as Host

    if (node is None) == (labels is None):
        raise BadInput("which host?", hint='give either --node NAME or --labels K=V,... ("" for a host without labels)')
    if node is not None:
        return policy.host(node)
    found = parse_labels(labels or "")
    return Host("node", f"a host with {_pairs(found)}" if found else "a host without labels", labels=found)


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
