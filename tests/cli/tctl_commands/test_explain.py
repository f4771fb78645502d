"""`tctl explain`: for people and for programs."""

import json

from teleport.resources.kinds import KINDS
from tests.cli.programs import tctl


def test_a_field_is_explained_with_what_it_takes_and_what_several_roles_come_to() -> None:
    result = tctl("explain", "role.spec.options.lock")

    assert (result.status, result.errors) == (0, "")
    facts = dict(line.strip().split(":", 1) for line in result.output.splitlines()[3:])
    assert facts["words"].strip() == "best_effort, strict"
    assert facts["several roles"].strip().startswith("strict if any role says strict")


def test_a_mapping_lists_its_fields_and_a_kind_shows_an_example() -> None:
    rule, role = tctl("explain", "role.spec.allow.rules"), tctl("explain", "role")

    assert "verbs      list of words, required  what may be done" in rule.output
    assert '    logins: [ubuntu, "{{internal.logins}}"]' in role.output


def test_without_a_path_the_kinds_are_listed() -> None:
    result, programs = tctl("explain"), tctl("explain", "-o", "json")

    assert [line.split()[0] for line in result.output.splitlines()[1:]] == list(KINDS)
    assert [one["kind"] for one in json.loads(programs.output)] == list(KINDS)


def test_programs_read_a_field_as_json() -> None:
    found = json.loads(tctl("explain", "role.spec.options.max_session_ttl", "-o", "json").output)

    assert found["over_roles"] == "the shortest, and at most 30h"
    assert (found["type"], found["default"], found["required"], found["fields"]) == ("duration", "30h", False, [])


def test_a_wrong_path_exits_with_1_and_a_suggestion() -> None:
    result = tctl("explain", "role.spec.options.lok")

    assert (result.status, result.output) == (1, "")
    assert result.errors.endswith("tctl: hint: did you mean role.spec.options.lock?\n")


def test_links_of_the_pages_are_plain_words_in_a_terminal() -> None:
    output = " ".join(tctl("explain", "role.spec.allow.node_labels").output.split())

    assert "is an RE2 expression" in output
    assert "https://" not in output
