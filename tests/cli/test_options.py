"""Spans, moments, labels and references, as people write them."""

import pytest

from teleport.cli.options import moment, parse_labels, seconds, split_ref
from teleport.core.errors import BadInput


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("1h", 3600), ("1h30m", 5400), ("7d", 604800)])
def test_a_span_of_time(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "7 d", "-1h", "1w2", "٣d"])
def test_what_is_no_span_of_time_is_told_with_an_example(text: str) -> None:
    with pytest.raises(BadInput) as error:
        seconds(text)

    assert error.value.hint == "write for example 8h"


def test_a_moment_is_a_time_or_so_long_ago() -> None:
    assert moment("1970-01-01T00:01:00Z", now=1000) == 60
    assert moment("1970-01-01T01:01:00+01:00", now=1000) == 60
    assert moment("10s", now=1000) == 990


@pytest.mark.parametrize(
    ("text", "labels"),
    [("", {}), ("a=b", {"a": "b"}), (" a = b , c=d", {"a": "b", "c": "d"}), ("a=b=c", {"a": "b=c"}), ("a=", {"a": ""})],
)
def test_labels(text: str, labels: dict[str, str]) -> None:
    assert parse_labels(text) == labels


@pytest.mark.parametrize("text", ["a", "=b", "a=b,c", "a=b,a=c"])
def test_what_are_no_labels(text: str) -> None:
    with pytest.raises(BadInput):
        parse_labels(text)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("role/dev", ("role", "dev")), ("roles/dev", ("role", "dev")), ("user/a/b", ("user", "a/b")),
        ("cap", ("cluster_auth_preference", "cluster-auth-preference")),
    ],
)  # fmt: skip
def test_a_reference_to_a_resource(text: str, ref: tuple[str, str]) -> None:
    assert split_ref(text) == ref


@pytest.mark.parametrize("text", ["role", "role/", "rolle/dev", ""])
def test_what_refers_to_no_resource(text: str) -> None:
    with pytest.raises(BadInput):
        split_ref(text)
