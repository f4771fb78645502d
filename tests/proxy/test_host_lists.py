"""Lists of hosts between clusters: whole however long, and bounded however sent."""

import json
from typing import Any

import pytest

from teleport.api.dialback import HostsPart
from teleport.api.models import HostRow
from teleport.core.errors import BadInput, Unavailable
from teleport.net.lines import MAX_LINE
from teleport.proxy import host_lists
from teleport.proxy.host_lists import in_parts, pass_on
from tests.proxy.test_leaves import Wire


def rows(count: int, label: str = "value") -> list[HostRow]:
    return [
        HostRow(hostname=f"web-{number}", uuid=f"uid-{number}", labels={"env": label}, logins=("root", "app"))
        for number in range(count)
    ]


def said(*parts: HostsPart) -> Wire:
    return Wire(*(part.model_dump(mode="json") for part in parts))


def told(wire: Wire) -> list[dict[str, Any]]:
    return [wire.told.get_nowait() for _ in range(wire.told.qsize())]


@pytest.mark.parametrize("label", ["value", "\N{SNOWMAN}" * 60])
def test_a_large_fleet_is_listed_whole_in_lines_that_fit(label: str) -> None:
    parts = list(in_parts(rows(2000, label)))

    assert [row for part in parts for row in part.hosts] == rows(2000, label)
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert len(parts) > 2
    assert max(len(json.dumps(part.model_dump(mode="json"))) for part in parts) < MAX_LINE


def test_no_hosts_are_one_empty_part() -> None:
    assert list(in_parts([])) == [HostsPart(hosts=())]


def test_a_host_that_fits_no_line_does_not_hide_the_others() -> None:
    whole = rows(3)

    (part,) = in_parts([whole[0], *rows(1, "x" * MAX_LINE), *whole[1:]])

    assert list(part.hosts) == whole


async def test_a_list_is_passed_on_to_its_last_part() -> None:
    client, parts = Wire(), list(in_parts(rows(2000)))

    await pass_on(said(*parts, HostsPart(hosts=())).line, client.line)

    assert told(client) == [part.model_dump(mode="json") for part in parts]


async def test_a_leaf_that_never_comes_to_an_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lists, "_MOST_PARTS", 3)
    client = Wire()

    with pytest.raises(Unavailable, match="does not end"):
        await pass_on(said(*[HostsPart(hosts=(), more=True)] * 9).line, client.line)

    assert len(told(client)) == 3


async def test_what_is_no_part_of_a_list_is_not_passed_on() -> None:
    client = Wire()

    with pytest.raises(BadInput):
        await pass_on(Wire({"ok": True}).line, client.line)

    assert told(client) == []
