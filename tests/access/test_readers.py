"""Services that cannot read what a policy uses are told by name, at the place of its first use."""

from teleport.access.readers import Reader, not_read_by, unsaid
from teleport.resources.load import load
from teleport.resources.reading import Reads, own_reads

OWN = own_reads()
OLD = Reads.of({**OWN.versions, "role": ("v6", "v7")}, OWN.fields - {"role.spec.options.lock"})
NEW_VERSION = "kind: role\nversion: v8\nmetadata: {name: NAME}\nspec: {}\n"
NEW_FIELD = "kind: role\nversion: v7\nmetadata: {name: NAME}\nspec:\n  options:\n    lock: strict\n"


def told(readers: list[Reader], *documents: str) -> list[str]:
    text = "---\n".join(document.replace("NAME", f"r{number}") for number, document in enumerate(documents))
    loaded = load(text.encode(), file="roles.yaml")
    assert not loaded.problems
    return [str(problem) for problem in not_read_by(readers, loaded.resources)]


def test_a_service_that_reads_all_of_it_is_not_mentioned() -> None:
    assert told([Reader("db-1", "2", OWN)], NEW_VERSION, NEW_FIELD) == []


def test_an_older_service_is_named_with_what_it_lacks_and_where_that_is_used() -> None:
    assert told([Reader("db-1", "0.0.9", OLD)], NEW_VERSION, NEW_FIELD, NEW_FIELD) == [
        "roles.yaml:1:1: the service on db-1 (version 0.0.9) cannot read role v8, which role/r0 would use, and would "
        "deny by it (upgrade first)",
        "roles.yaml:11:11: the service on db-1 (version 0.0.9) cannot read role.spec.options.lock, which role/r1 and 1 "
        "more would use, and would deny by it (upgrade first)",
    ]


def test_services_that_are_alike_are_told_together() -> None:
    fleet = [Reader(f"db-{number}", "0.0.9", OLD) for number in range(1, 6)]

    (line,) = told(fleet, NEW_VERSION)

    assert "each of the services on db-1, db-2, db-3 and 2 more (version 0.0.9) cannot read role v8" in line


def test_who_does_not_say_what_it_reads_is_told_apart() -> None:
    silent = Reader("db-2", "0.0.1", None)

    assert told([silent], NEW_VERSION) == []
    assert unsaid([Reader("db-1", "2", OWN), silent]) == (
        "the service on db-2 (version 0.0.1) has not said what it reads"
    )
    assert unsaid([Reader("db-1", "2", OWN)]) == ""


def test_tokens_are_nobodys_to_read() -> None:
    token = "kind: token\nversion: v2\nmetadata: {name: x}\nspec: {roles: [Node], join_method: token}\n"
    blind = Reads.of({}, ())

    assert told([Reader("db-1", "1", blind)], token) == []
