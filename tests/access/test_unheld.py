"""What changes for whoever comes to hold a role that nobody declared holds."""

from typing import Any

from teleport.access.unheld import changed_unheld
from tests.access.builders import NOW, host, policy, role, rule, user
from tests.access.test_impact import told

WEB, DB = host("web-1", env="prod", team="web"), host("db-1", env="dev", team="data")


def changed(before: list[Any], after: list[Any]) -> tuple[set[tuple[str, str, str, str]], dict[str, tuple[str, ...]]]:
    """Change, role, login and host; and the traits that matter."""
    found = changed_unheld(policy(*before), policy(*after), ([WEB, DB], [WEB, DB]), now=NOW)
    rows = {(change, *pair) for pair, (change, _) in told(found.impact).items()}
    return rows, {name: traits for name, traits in found.depends.items() if traits}


def test_a_role_that_nobody_declared_holds_is_told_by_its_name() -> None:
    rows, depends = changed([], [role("sso", allow=rule("root", env="prod"))])

    assert (rows, depends) == ({("gained", "sso", "root", WEB.uid)}, {})


def test_a_role_that_somebody_holds_before_or_after_is_not() -> None:
    wide, narrow = role("held", allow=rule("root", env="*")), role("held", allow=rule("root", env="prod"))

    assert changed([wide, user("ann", ["held"])], [narrow])[0] == set()


def test_what_depends_on_a_trait_is_told_as_the_most_it_could_be() -> None:
    labels = {"env": "*", "team": "{{external.team}}"}

    rows, depends = changed([], [role("sso", allow=rule("{{internal.logins}}", **labels))])

    assert rows == {("gained", "sso", "login", WEB.uid), ("gained", "sso", "login", DB.uid)}
    assert depends == {"sso": ("team",)}


def test_a_denial_that_depends_on_a_trait_is_not_counted_on() -> None:
    deny = {"node_labels": {"team": "{{external.team}}"}}

    rows, _ = changed([], [role("sso", allow=rule("root", env="*"), deny=deny)])

    assert {uid for *_, uid in rows} == {WEB.uid, DB.uid}


def test_an_expression_about_the_user_counts_as_fulfilled_and_one_about_hosts_as_it_is() -> None:
    about_both = {"logins": ["root"], "node_labels_expression": 'contains(user.spec.traits["team"], labels["team"])'}
    about_hosts = {"logins": ["root"], "node_labels_expression": 'labels["env"] == "dev"'}

    rows, _ = changed([], [role("a", allow=about_both), role("b", allow=about_hosts)])

    assert {(name, uid) for _, name, _, uid in rows} == {("a", WEB.uid), ("a", DB.uid), ("b", DB.uid)}
