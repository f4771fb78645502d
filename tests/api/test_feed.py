"""The policy's stream from an auth service of another version, or from one that is broken: it is lost, not fatal."""

from typing import Any

import pytest

from teleport.api.feed import read_commit, read_listing
from teleport.core.errors import Unavailable
from teleport.store.base import Change, Commit, Listing, Record

ROW = {"key": "role/dev", "value": "e30=", "revision": 3, "expires": None}
RECORD = Record("role/dev", b"{}", 3, None)


def test_a_listing_is_read_and_narrowed_to_a_prefix() -> None:
    line = {"listing": {"revision": 4, "records": [ROW, {**ROW, "key": "user/ann"}]}}

    assert read_listing(line, "role/") == Listing(4, (RECORD,))


def test_a_commit_is_read_with_what_it_deletes() -> None:
    line = {"commit": {"revision": 4, "changes": [{"key": "a", "record": None}, {"key": "role/dev", "record": ROW}]}}

    assert read_commit(line) == Commit(4, (Change("a", None), Change("role/dev", RECORD)))


@pytest.mark.parametrize(
    "body",
    [
        None, [], {}, {"revision": 1}, {"revision": "1", "records": [], "changes": []},
        {"revision": 1, "records": [7], "changes": [7]},
        *({"revision": 1, "records": [row], "changes": [{"key": "x", "record": row}]}
          for row in ({**ROW, "value": "?"}, {**ROW, "key": 7}, {**ROW, "expires": "x"}, {**ROW, "revision": None})),
    ],
)  # fmt: skip
def test_a_line_of_another_form_is_a_lost_stream(body: Any) -> None:
    for read, line in ((lambda line: read_listing(line, ""), {"listing": body}), (read_commit, {"commit": body})):
        with pytest.raises(Unavailable, match="cannot be understood"):
            read(line)
