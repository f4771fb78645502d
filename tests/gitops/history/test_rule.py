"""The document around a line."""

import pytest

from teleport.gitops.history.rule import document_at
from tests.gitops.history.branches import ANN, DEV, HOST

FILE = f"# the team\n---\n{ANN}--- # role\n\n{DEV}\n---\n{HOST}".encode()


@pytest.mark.parametrize(
    ("line", "first", "ref"),
    [
        (3, 3, "user/ann"), (6, 3, "user/ann"), (9, 9, "role/dev"), (14, 9, "role/dev"), (16, 9, "role/dev"),
        (19, 19, "node/db-1"),
    ],
)  # fmt: skip
def test_it_is_all_of_the_document_and_nothing_else(line: int, first: int, ref: str) -> None:
    found = document_at(FILE, line, file="x.yaml")

    assert found is not None
    assert found.resource is not None
    assert (found.first, found.resource.ref) == (first, ref)
    assert not [one for one in found.lines if one.startswith("---")]
    assert {"user/ann": ANN, "role/dev": DEV, "node/db-1": HOST}[ref].splitlines() == list(found.lines)


@pytest.mark.parametrize("line", [0, -1, 99])
def test_a_line_that_the_file_does_not_have_is_in_no_document(line: int) -> None:
    assert document_at(FILE, line, file="x.yaml") is None


@pytest.mark.parametrize("data", [b"", b"---", b"---\n---", b"\xff\xfe", b"...\n", b"]", b"a: [\n---\nb"])
def test_nothing_in_a_file_breaks_it(data: bytes) -> None:
    for line in range(4):
        found = document_at(data, line, file="x.yaml")

        assert found is None or found.resource is None


def test_a_json_file_is_one_document() -> None:
    found = document_at(
        b'{"kind": "role",\n"version": "v7", "metadata": {"name": "dev"},\n"spec": {}}', 3, file="x.json"
    )

    assert found is not None
    assert (found.first, len(found.lines)) == (1, 3)
    assert found.resource is not None
