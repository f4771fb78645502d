"""Who may ask for the past of policy, and that nobody reads by it what they may not read."""

from collections.abc import Sequence
from typing import Any

import pytest

from teleport.api import history as h
from teleport.core.errors import AccessDenied, NotFound
from teleport.resources.kinds import AnyResource
from teleport.resources.load import load
from tests.auth.cluster import Cluster, role, user

NODE = "kind: node\nversion: v2\nmetadata: {name: db-1, labels: {env: prod}}\n"
TOKEN = "kind: token\nversion: v2\nmetadata: {name: s3cret}\nspec: {roles: [node], join_method: token}\n"
COMMIT = "c" * 40
READS_POLICY = "{resources: [policy], verbs: [read]}"
READS_ALL = f"{READS_POLICY}, {{resources: [user, role, node, lock], verbs: [list, readnosecrets]}}"


class Past:
    """A history that tells one text, and what it was asked."""

    def __init__(self, text: str) -> None:
        self.told = text
        self.beside: list[str] = []

    async def text(self, place: h.RulePlace) -> tuple[h.RuleText, AnyResource | None]:
        found = load(self.told.encode(), file=place.file).resources
        note = h.CommitNote(id=COMMIT, author="Ann")
        return h.RuleText(commit=note, first_line=1, text=self.told), found[0] if found else None

    async def changes(self, query: h.ObjectQuery, beside: Sequence[AnyResource]) -> h.ObjectHistory:
        self.beside = [one.ref for one in beside]
        return h.ObjectHistory(kind=query.kind, name=query.name)

    async def since(self, asked: h.SinceQuestion, hosts: Any, beside: Any) -> h.SinceAnswer:
        raise AssertionError("not asked")

    async def people(self, asked: h.PeopleQuery, hosts: Any, beside: Any) -> h.People:
        raise AssertionError("not asked")


async def with_past(cluster: Cluster, text: str = "", *, rules: str = READS_ALL) -> Past:
    past = Past(text)
    cluster.auth.surroundings.histories = {"git": past}
    await cluster.declare(role(), role("lead", rules=rules), user(), user("liz", "lead"), NODE)
    return past


async def test_a_decision_is_explained_by_its_rule_and_the_place_of_it(cluster: Cluster) -> None:
    await with_past(cluster)

    found = await cluster.call("explain", h.ExplainQuestion(user="ann", login="root", node="db-1"), cluster.user("liz"))

    assert (found.verdict.allowed, found.verdict.role) == (True, "dev")
    assert (found.verdict.place.source, found.verdict.place.file, found.verdict.place.line) == (
        "folder",
        "policy.yaml",
        6,
    )


@pytest.mark.parametrize("asked", [("nobody", "db-1"), ("ann", "nowhere")])
async def test_who_and_what_does_not_exist_is_told_so(cluster: Cluster, asked: tuple[str, str]) -> None:
    await with_past(cluster)

    with pytest.raises(NotFound):
        await cluster.call("explain", h.ExplainQuestion(user=asked[0], login="root", node=asked[1]))


@pytest.mark.parametrize(
    ("route", "request_"),
    [
        ("explain", h.ExplainQuestion(user="ann", login="root", node="db-1")),
        ("since", h.SinceQuestion(user="ann", login="root", node="db-1")),
        ("people", h.PeopleQuery(node="db-1")),
        ("object_history", h.ObjectQuery(kind="role", name="dev")),
    ],
)
@pytest.mark.parametrize(
    "rules",
    [
        READS_POLICY,
        f"{READS_POLICY}, {{resources: [user, role, node, lock], verbs: [list]}}",
        f"{READS_POLICY}, {{resources: [user, node, lock], verbs: [readnosecrets]}}, "
        '{resources: [role], verbs: [readnosecrets], where: \'equals(resource.metadata.labels["a"], "b")\'}',
    ],
)
async def test_the_past_needs_the_right_to_read_everything_that_it_tells_of(
    cluster: Cluster, route: str, request_: Any, rules: str
) -> None:
    await with_past(cluster, rules=rules)

    with pytest.raises(AccessDenied, match="may not read every"):
        await cluster.call(route, request_, cluster.user("liz"))


async def test_the_past_of_tokens_needs_the_right_to_read_secrets(cluster: Cluster) -> None:
    await with_past(cluster, rules=f"{READS_POLICY}, {{resources: [token], verbs: [readnosecrets]}}")

    with pytest.raises(AccessDenied, match="may not read every token"):
        await cluster.call("object_history", h.ObjectQuery(kind="token", name="s3cret"), cluster.user("liz"))


@pytest.mark.parametrize("text", [TOKEN, user("bob"), "not: policy\n"])
async def test_the_text_of_what_one_may_not_read_is_not_shown_but_its_commit_is(cluster: Cluster, text: str) -> None:
    rules = f"{READS_POLICY}, {{resources: [token, role], verbs: [readnosecrets]}}"
    await with_past(cluster, text, rules=rules)
    place = h.RulePlace(source="git", file="x.yaml", line=1, commit=COMMIT)

    found = await cluster.call("rule_text", place, cluster.user("liz"))

    assert (found.text, found.commit.author) == ("", "Ann")
    assert "liz may not read" in found.note


async def test_the_text_of_what_one_may_read_is_shown(cluster: Cluster) -> None:
    await with_past(cluster, role("x"))
    place = h.RulePlace(source="git", file="x.yaml", line=1, commit=COMMIT)

    found = await cluster.call("rule_text", place, cluster.user("liz"))

    assert found.text == role("x")


async def test_a_source_without_commits_has_no_past(cluster: Cluster) -> None:
    await with_past(cluster)

    with pytest.raises(NotFound, match="no source 'folder' has commits"):
        await cluster.call("object_history", h.ObjectQuery(kind="role", name="dev", source="folder"))


async def test_what_other_sources_declare_counts_besides_but_for_secrets(cluster: Cluster) -> None:
    past = await with_past(cluster)
    await cluster.declare(role("other"), TOKEN, source="teleport.yaml")

    await cluster.call("object_history", h.ObjectQuery(kind="roles", name="dev"))

    assert "role/other" in past.beside
    assert "role/dev" in past.beside  # of the folder, which is another source than git
    assert not [ref for ref in past.beside if ref.startswith("token/")]
