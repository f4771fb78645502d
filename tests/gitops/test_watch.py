"""Changes of a folder are noticed whatever way they are made."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import pytest

from teleport.gitops.watch import watch_folder


def in_place(root: Path) -> None:
    (root / "current" / "a.yaml").write_text("2")


def renamed_over(root: Path) -> None:
    (root / "current" / "a.yaml~").write_text("2")
    (root / "current" / "a.yaml~").replace(root / "current" / "a.yaml")


def below_a_new_folder(root: Path) -> None:
    (root / "current" / "roles").mkdir()
    (root / "current" / "roles" / "b.yaml").write_text("2")


def other_link(root: Path) -> None:
    (root / "next").symlink_to("two")
    (root / "next").replace(root / "current")


def folder_put_in_place(root: Path) -> None:
    (root / "current").rename(root / "old")
    (root / "two").rename(root / "current")


class Watched:
    """A folder that is watched; `noticed` waits for the next news of it, `rest` until there is none."""

    def __init__(self, changes: AsyncGenerator[None]) -> None:
        self._changes = changes
        self._next = asyncio.ensure_future(anext(changes))

    async def noticed(self) -> None:
        await self._next
        self._next = asyncio.ensure_future(anext(self._changes))

    async def rest(self) -> None:
        while (await asyncio.wait([self._next], timeout=0.6))[0]:
            await self.noticed()

    async def close(self) -> None:
        self._next.cancel()
        await asyncio.wait([self._next])


@contextlib.asynccontextmanager
async def watched(path: Path) -> AsyncIterator[Watched]:
    async with contextlib.aclosing(watch_folder(path)) as changes:
        found = Watched(changes)
        yield found
        await found.close()


@pytest.mark.parametrize("change", [in_place, renamed_over, below_a_new_folder, other_link, folder_put_in_place])
async def test_each_way_to_change_it_is_noticed_and_so_is_what_follows(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text("1")
    (tmp_path / "current").symlink_to("one")

    async with watched(tmp_path / "current") as folder, asyncio.timeout(8):
        await folder.rest()
        change(tmp_path)
        await folder.noticed()
        await folder.rest()
        in_place(tmp_path)
        await folder.noticed()


async def test_a_folder_that_is_away_is_waited_for(tmp_path: Path) -> None:
    async with watched(tmp_path / "policies") as folder, asyncio.timeout(5):
        (tmp_path / "policies").mkdir()
        await folder.noticed()
