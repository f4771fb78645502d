"""Resources through the API: admin rules with their conditions, secrets, revisions, and whole sets at once."""

from typing import Any

import pytest

from teleport.api import models as m
from teleport.core.errors import AccessDenied, BadInput, Conflict, Invalid, NotFound, Refused
from tests.auth.cluster import HOST, Cluster, role, user

WEB = (
    "{resources: [user], verbs: [list, readnosecrets, create, update, delete],"
    ' where: \'equals(resource.metadata.labels["team"], "web")\'}'
)
TOKEN = "kind: token\nversion: v2\nmetadata: {name: abcdefghijklmnop}\nspec: {roles: [Node]}\n"
LOCK = "kind: lock\nversion: v2\nmetadata: {name: stop}\nspec: {target: {login: nobody}}\n"


@pytest.fixture
async def lead(cluster: Cluster) -> None:
    """liz may do everything with users of the team web."""
    await cluster.declare(role(), role("lead", rules=WEB), user("liz", "lead"))


def names(found: m.Resources) -> list[str]:
    return [one.resource["metadata"]["name"] for one in found.resources]


async def listed(cluster: Cluster, kind: str, **more: Any) -> m.Resources:
    found: m.Resources = await cluster.call("resources", m.ResourceQuery(kind=kind), **more)
    return found


# -- rules with conditions


@pytest.mark.usefixtures("lead")
async def test_a_condition_decides_on_each_resource_what_is_shown_and_what_does_not_exist(cluster: Cluster) -> None:
    await cluster.apply(user("web", labels="team: web") + "---\n" + user("db", labels="team: db"))
    liz = cluster.user("liz")

    assert names(await listed(cluster, "user", caller=liz)) == ["web"]
    assert await cluster.call("resource", m.ResourceRead(kind="user", name="web"), liz)
    with pytest.raises(NotFound, match="user/db does not exist"):
        await cluster.call("resource", m.ResourceRead(kind="user", name="db"), liz)


@pytest.mark.usefixtures("lead")
async def test_a_condition_holds_for_what_is_and_for_what_it_would_become(cluster: Cluster) -> None:
    liz = cluster.user("liz")
    await cluster.apply(user("web", labels="team: web"), liz)
    await cluster.apply(user("db", labels="team: db"))

    for text in (user("new", labels="team: db"), user("web", labels="team: db"), user("db", labels="team: web")):
        with pytest.raises((AccessDenied, NotFound)):
            await cluster.apply(text, liz, replace=True)
    assert cluster.auth.policy.current.users["db"].metadata.labels == {"team": "db"}


@pytest.mark.usefixtures("lead")
async def test_a_set_with_one_resource_that_is_not_permitted_is_refused_as_a_whole(cluster: Cluster) -> None:
    text = user("web", labels="team: web") + "---\n" + LOCK

    with pytest.raises(AccessDenied, match="liz may not create or update lock/stop"):
        await cluster.apply(text, cluster.user("liz"))

    assert "web" not in cluster.auth.policy.current.users


@pytest.mark.usefixtures("lead")
async def test_what_somebody_may_not_even_read_cannot_be_told_from_what_does_not_exist(cluster: Cluster) -> None:
    await cluster.apply(user("db", labels="team: db"))

    with pytest.raises(NotFound, match="user/db does not exist"):
        await cluster.call("delete", m.ResourceName(kind="user", name="db"), cluster.user("liz"))


# -- writing


async def test_every_fault_of_every_document_is_told_also_where_some_cannot_be_read(cluster: Cluster) -> None:
    text = "---\n".join([role("a").replace("logins", "logns"), user("ann", "a"), user("bob", "nope")])

    with pytest.raises(Invalid) as invalid:
        await cluster.apply(text)

    told = [one.message.split(":")[0] for one in invalid.value.problems]
    assert told == ["unknown field logns", "unknown role nope"]


async def test_what_exists_is_replaced_only_if_that_was_meant_and_only_at_the_revision_in_the_file(
    cluster: Cluster,
) -> None:
    await cluster.apply(LOCK)
    revision = (await cluster.call("resource", m.ResourceRead(kind="lock", name="stop"))).resource["metadata"][
        "revision"
    ]
    stamped = LOCK.replace("{name: stop}", f'{{name: stop, revision: "{revision}"}}')

    with pytest.raises(Conflict, match="lock/stop exists already"):
        await cluster.apply(LOCK)
    first = await cluster.apply(stamped.replace("nobody", "somebody"), replace=True)
    with pytest.raises(Conflict, match="was changed since it was read"):
        await cluster.apply(stamped.replace("nobody", "else"), replace=True)

    assert [(one.resource, one.change) for one in first.results] == [("lock/stop", "updated")]


async def test_a_dry_run_judges_and_writes_nothing(cluster: Cluster) -> None:
    answer = await cluster.apply(role(), dry_run=True)

    assert [(one.resource, one.change) for one in answer.results] == [("role/dev", "created")]
    assert "dev" not in cluster.auth.policy.current.roles


async def test_a_file_that_declares_nothing_is_bad_input(cluster: Cluster) -> None:
    with pytest.raises(BadInput, match="nothing is declared there"):
        await cluster.apply("# nothing\n")


async def test_what_exists_in_a_folder_is_not_offered_to_be_replaced_but_said_to_be_declared_there(
    cluster: Cluster,
) -> None:
    await cluster.declare(role())

    with pytest.raises(Conflict, match=r"role/dev exists already, declared in \S+:1") as refused:
        await cluster.apply(role(), replace=False)

    assert refused.value.hint.startswith("edit ")


async def test_warnings_come_with_the_answer_and_stop_nothing(cluster: Cluster) -> None:
    answer = await cluster.apply(role(deny="logins: [root], node_labels: {env: prod}"))

    assert "denies root on every host" in answer.warnings[0]["message"]


async def test_a_role_in_use_is_not_deleted_and_the_answer_says_who_needs_it(cluster: Cluster) -> None:
    await cluster.apply(role() + "---\n" + user())

    with pytest.raises(Refused, match=r"role/dev is still used by user/ann \(source api\)"):
        await cluster.call("delete", m.ResourceName(kind="role", name="dev"))


async def test_a_lock_says_who_made_it_and_when(cluster: Cluster) -> None:
    await cluster.apply(LOCK)

    (found,) = (await listed(cluster, "lock")).resources
    assert found.resource["spec"]["created_by"] == "root (uid 0)"


# -- secrets, and what nobody declared


async def test_a_token_is_masked_for_whom_only_lists_and_shown_to_whom_may_read_it(cluster: Cluster) -> None:
    await cluster.apply(TOKEN)

    masked = await listed(cluster, "token")
    shown = await cluster.call("resources", m.ResourceQuery(kind="token", secrets=True))

    assert "abcdefghijklmnop" not in str(masked)
    assert names(shown) == ["abcdefghijklmnop"]


async def test_secrets_need_read_and_not_only_readnosecrets(cluster: Cluster) -> None:
    await cluster.declare(role("look", rules="{resources: [token], verbs: [list, readnosecrets]}"), user("liz", "look"))
    await cluster.apply(TOKEN)

    found = await cluster.call("resources", m.ResourceQuery(kind="token", secrets=True), cluster.user("liz"))

    assert found.resources == ()


async def test_preset_roles_and_hosts_that_report_themselves_are_shown_as_what_they_are(cluster: Cluster) -> None:
    heartbeat = m.Heartbeat(revision=0, version="1", hostname="db-1", labels={"env": "dev"}, ttl=30)
    await cluster.call("heartbeat", heartbeat, cluster.host())

    roles, nodes = await listed(cluster, "role"), await listed(cluster, "node")

    assert {(one.resource["metadata"]["name"], one.source) for one in roles.resources} == {
        ("access", "preset"), ("auditor", "preset"), ("editor", "preset"),
    }  # fmt: skip
    assert [(one.resource["metadata"]["name"], one.source) for one in nodes.resources] == [(HOST, "presence")]


async def test_a_host_that_reports_a_label_nobody_could_read_is_told_so(cluster: Cluster) -> None:
    heartbeat = m.Heartbeat(revision=0, version="1", hostname="db-1", labels={"env": "dev\x84"}, ttl=30)

    with pytest.raises(BadInput, match=r"cannot be kept: a label with the invisible character U\+0084"):
        await cluster.call("heartbeat", heartbeat, cluster.host())


async def test_a_host_is_found_by_its_name_too(cluster: Cluster) -> None:
    heartbeat = m.Heartbeat(revision=0, version="1", hostname="db-1", labels={}, ttl=30)
    await cluster.call("heartbeat", heartbeat, cluster.host())

    found = await cluster.call("resource", m.ResourceRead(kind="node", name="db-1"))

    assert found.resource["metadata"]["name"] == HOST


async def test_only_what_can_join_gets_a_token(cluster: Cluster) -> None:
    made = await cluster.call("token", m.TokenRequest(roles=("node",), ttl=60))

    assert made.roles == ("Node",)
    with pytest.raises(BadInput, match="nothing can join as nod"):
        await cluster.call("token", m.TokenRequest(roles=("nod",), ttl=60))
    with pytest.raises(BadInput, match="could be guessed"):
        await cluster.call("token", m.TokenRequest(roles=("node",), ttl=60, value="short"))
