"""Streams of objects: whatever the network does to them, and from whomever they come."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.api.ndjson import Objects
from teleport.core.errors import BadInput

objects = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=3), max_size=5)


@given(objects, st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_any_cut_of_the_bytes_gives_the_same_objects(sent: list[dict[str, Any]], sizes: list[int]) -> None:
    data, stream = b"".join(json.dumps(one).encode() + b"\n" for one in sent), Objects()
    found, at, turn = list[dict[str, Any]](), 0, 0

    while at < len(data):
        size = sizes[turn % len(sizes)]
        found += stream.feed(data[at : at + size])
        at, turn = at + size, turn + 1

    assert found == sent
    assert stream.waiting == 0


@pytest.mark.parametrize("line", [b"", b"x", b"[]", b"null", b"{", b"\xff", b"[" * 60_000, b"9" * 5000])
def test_what_is_no_object_is_bad_input_and_what_came_before_it_is_not_lost(line: bytes) -> None:
    stream = Objects().feed(b'{"a":1}\n' + line + b'\n{"b":2}\n')

    assert next(stream) == {"a": 1}
    with pytest.raises(BadInput):
        next(stream)


@pytest.mark.parametrize("part", [b"x" * 101, b"x" * 101 + b"\n"])
def test_a_line_without_an_end_is_not_collected_for_ever(part: bytes) -> None:
    stream = Objects(limit=150)
    assert list(stream.feed(b"x" * 50)) == []

    with pytest.raises(BadInput, match="more than 150 bytes"):
        list(stream.feed(part))
