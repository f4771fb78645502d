"""`tctl access explain` and `since`, and `who --at`: because of which commit, and since when."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from teleport.cli.history.means import Means, history_options
from teleport.cli.options import output_option
from teleport.cli.tctl import Target
from teleport.core.errors import AccessDenied, BadInput
from teleport.core.output import to_json, write

if TYPE_CHECKING:
    from teleport.api import history as h
    from teleport.api.models import EmergencyRow
    from teleport.cli.history.text import Explained
    from teleport.gitops.history.answers import History

__all__ = ["explain", "since", "source_option", "who_at"]

_limit = click.option(
    "--limit", default=10_000, show_default=True, type=click.IntRange(1, 10_000),
    help="Read so many commits that changed policy, the newest.",
)  # fmt: skip
source_option = click.option(
    "--source", default="", metavar="NAME", help="With --live: which source, where several have commits."
)


@click.command()
@click.option("--session", default="", metavar="ID", help="A session; the beginning of its id is enough.")
@click.option("--user", default="", metavar="NAME", help="Instead of a session: may this user …")
@click.option("--login", default="", metavar="LOGIN", help="… log in as this …")
@click.option("--node", default="", metavar="NAME", help="… on this host?")
@click.option("--at", default="", metavar="REV|TIME", help="Of a repository: at this commit, or at this time.")
@history_options
@output_option()
@click.pass_obj
def explain(target: Target, /, session: str, user: str, login: str, node: str, at: str, form: str, **where: Any) -> int:
    """Tell why: the decision, the role, the rule's text, the commit that wrote it, its author and its signer.

    A session is looked up in the audit log of the running cluster; so is what the cluster's repository says, unless
    --repository names another. Anything else is asked of the repository around the current folder, or of the cluster
    with --live. A second factor is taken as shown.

    Exits with 3 if it is denied what --user asks.

    Example: tctl access explain --session 5a3c9d6e
    """
    means = Means(target, **where)
    if bool(session) == bool(user) or (user and not (login and node)) or (session and (login or node or at)):
        raise BadInput("what shall be explained?", hint="give --session ID, or --user, --login and --node")
    if session:
        return _explain_session(means, session, form)
    return _explain_question(means, (user, login, node), at, form)


def _explain_session(means: Means, session: str, form: str) -> int:
    from teleport.cli.history.session import story_of
    from teleport.cli.history.text import story_text

    story = story_of(means, session)
    write(to_json(story.to_dict()) if form == "json" else story_text(story))
    return 0


def _explain_question(means: Means, asked: tuple[str, str, str], at: str, form: str) -> int:
    from teleport.api import history as h
    from teleport.cli.history.text import explained_text

    user, login, node = asked
    question = h.ExplainQuestion(user=user, login=login, node=node)
    found = _by_cluster(means, question, at) if means.by_cluster else _by_repository(means, question, at)
    if form == "json":
        texts = {"rule": found.rule.model_dump(mode="json"), "roles": found.held.model_dump(mode="json")}
        changed = {"emergencies": [one.to_dict() for one in found.emergencies]}
        write(to_json({**found.answer.model_dump(mode="json"), **texts, **changed}))
    else:
        write(explained_text(found))
    return 0 if found.answer.verdict.allowed else AccessDenied.exit_status


def _by_cluster(means: Means, question: "h.ExplainQuestion", at: str) -> "Explained":
    from teleport.api import routes as r
    from teleport.cli.admin import ask
    from teleport.cli.history.emergency import concerning, in_force, source_of
    from teleport.cli.history.session import rule_text
    from teleport.cli.history.text import Explained

    if at:
        raise BadInput("the cluster explains only what is in force", hint="--at needs a --repository")
    answer = ask(means.target, r.EXPLAIN, question)
    role, user = f"role/{answer.verdict.role}", f"user/{answer.user}"
    emergencies = concerning(in_force(means.target), (role, user, f"node/{answer.node}"))
    place, held = source_of(answer.verdict.place, role, emergencies), source_of(answer.held, user, emergencies)
    verdict = answer.verdict.model_copy(update={"place": place})
    return Explained(
        answer.model_copy(update={"verdict": verdict, "held": held}), rule_text(means, place), rule_text(means, held),
        tuple(emergencies),
    )  # fmt: skip


def _by_repository(means: Means, question: "h.ExplainQuestion", at: str) -> "Explained":
    from teleport.api.history import RuleText
    from teleport.cli.history.text import Explained

    async def work(history: "History") -> Explained:
        found = await history.explain(question, at=at, now=time.time())
        places = (found.verdict.place, found.held)
        rule, held = [(await history.text(one))[0] if one.commit else RuleText() for one in places]
        return Explained(found, rule, held)

    return means.locally(work)


@click.command()
@click.option("--user", required=True, metavar="NAME", help="The user.")
@click.option("--login", required=True, metavar="LOGIN", help="The login on the host.")
@click.option("--node", required=True, metavar="NAME", help="The host.")
@_limit
@source_option
@history_options
@output_option()
@click.pass_obj
def since(target: Target, /, user: str, login: str, node: str, limit: int, source: str, form: str, **where: Any) -> int:
    """Tell the commit since which somebody may log in somewhere without interruption, and when else it was so.

    Each commit of the branch counts as if it had come into force when it says that it was made; one that does not
    hold leaves what was before, as in a cluster. A second factor is taken as shown.

    Exits with 0 if it is allowed now, with 3 if not.

    Example: tctl access since --user ann --login root --node db-1
    """
    from teleport.api import history as h
    from teleport.api import routes as r
    from teleport.cli.history.text import since_text

    question = h.SinceQuestion(user=user, login=login, node=node, limit=limit, source=source)
    means = Means(target, **where)
    answer = means.ask(r.SINCE, question, lambda history, asked: history.since(asked, now=time.time()))
    write(to_json(answer.model_dump(mode="json")) if form == "json" else since_text(answer) + _left_out(means))
    return 0 if answer.now.allowed else AccessDenied.exit_status


def who_at(means: Means, query: "h.PeopleQuery", form: str) -> None:
    """Who reached a host by the policy of a commit, or of a time."""
    from teleport.api import routes as r
    from teleport.cli.history.text import people_text

    answer = means.ask(r.PEOPLE, query, lambda history, asked: history.people(asked, now=time.time()))
    left_out = "" if query.at else _left_out(means)
    write(to_json(answer.model_dump(mode="json")) if form == "json" else people_text(answer) + left_out)


def _left_out(means: Means) -> str:
    """What no commit knows of what is in force now."""
    from teleport.cli.emergency import beside, in_force

    if not means.by_cluster:
        return ""
    rows: Sequence[EmergencyRow] = ()
    with suppress(AccessDenied):
        rows = in_force(means.target)
    return "".join(f"\nNote: {line}\n" for line in beside(rows))
