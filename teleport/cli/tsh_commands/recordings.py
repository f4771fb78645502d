"""`tsh recordings` and `tsh play`: sessions as they were."""

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teleport.cli.options import output_option
from teleport.core.errors import BadInput, Conflict
from teleport.core.output import printable, to_json, write
from teleport.core.program import Group

if TYPE_CHECKING:
    from teleport.api import models as m
    from teleport.cli.replay import Moment

__all__ = ["play", "recordings"]


@click.group(cls=Group)
def recordings() -> None:
    """List recorded sessions, and bring them here."""


@recordings.command()
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 100_000), help="The newest so many.")
@output_option()
def ls(limit: int, form: str) -> None:
    """List the recorded sessions you may see, newest first.

    Example: tsh recordings ls
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.connect import api_client, run
    from teleport.cli.profile import current
    from teleport.cli.recordings import show

    async def ask() -> "m.Recordings":
        async with api_client(current()) as client:
            return await client.call(r.RECORDINGS, m.RecordingQuery(limit=limit))

    show(run(ask()).recordings, form)


@recordings.command()
@click.argument("session", metavar="ID")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def export(session: str, folder: Path) -> None:
    """Bring a recording into a new folder: output, timing and meta.json, for cat, scriptreplay and tsh play.

    The beginning of an id is enough where only one session has it. Reading a recording is audited.

    Example: tsh recordings export 4f1c ./evidence && scriptreplay -t evidence/timing evidence/output
    """
    if folder.exists():
        raise Conflict(f"{folder} exists already", hint="name a new folder")
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise BadInput(f"{folder} cannot be made: {error.strerror or error}") from None
    try:
        _bring(session, folder, form="export")
    except BaseException:
        _remove(folder)
        raise
    write(f"{printable(str(folder))} holds the recording")


@click.command()
@click.argument("what", metavar="ID|DIR")
@click.option(
    "--speed", default=1.0, show_default=True, type=click.FloatRange(0.5, 8.0), metavar="FACTOR",
    help="From 0.5 (half as fast) to 8.",
)  # fmt: skip
@click.option("--skip-idle", is_flag=True, help="Wait at most a second where nothing happened.")
@click.option("--neutralise", is_flag=True, help="Show terminal controls in the recording instead of obeying them.")
@output_option("pty", "text", "json")
def play(what: str, speed: float, skip_idle: bool, neutralise: bool, form: str) -> None:
    """Replay a session: from the cluster by its id, or from a folder that was exported. Ctrl-C ends it.

    The beginning of an id is enough where only one session has it. pty replays with the recorded timing; text prints
    everything at once; json lists what came when. A recording holds what the session printed, and a terminal obeys
    it: with --neutralise it is shown as text, so that a hostile session cannot drive your terminal.

    Example: tsh play 4f1c --speed 4 --skip-idle
    """
    with _folder(what, form) as folder:
        _show(folder, form, speed=speed, skip_idle=skip_idle, neutralise=neutralise)


def _show(folder: Path, form: str, *, speed: float, skip_idle: bool, neutralise: bool) -> None:
    from teleport.cli.recordings import read_meta
    from teleport.cli.replay import moments, to_events
    from teleport.cli.replay import play as replay

    recorded = moments(folder)
    if form == "json":
        write(to_json({**read_meta(folder), "events": list(to_events(recorded))}))
        return
    if neutralise:
        recorded = _neutralised(recorded)
    pty = form == "pty"
    replay(
        recorded, _print, time.sleep if pty else lambda _: None, speed=speed, skip_idle=skip_idle,
        restore=pty and not neutralise and sys.stdout.isatty(),
    )  # fmt: skip


def _print(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _neutralised(recorded: "Iterator[Moment]") -> "Iterator[Moment]":
    """Output with its controls made visible; line ends stay, however the bytes were cut."""
    import codecs
    from dataclasses import replace

    decoder, held = codecs.getincrementaldecoder("utf-8")(errors="replace"), ""
    for one in recorded:
        text = held + decoder.decode(one.output)
        held = "\r" if text.endswith("\r") else ""
        shown = text.removesuffix(held).replace("\r\n", "\n")
        yield replace(one, output=printable(shown, multiline=True).encode())


@contextlib.contextmanager
def _folder(what: str, form: str) -> Iterator[Path]:
    """The folder of a recording: the one that was named, or a temporary one it is brought to."""
    from teleport.cli.recordings import check

    path = Path(what)
    if path.is_dir():
        check(path)
        yield path
        return
    if "/" in what:
        raise BadInput(f"{what} is not a folder")
    with tempfile.TemporaryDirectory(prefix="tsh-play-") as name:
        _bring(what, Path(name), form=form)
        yield Path(name)


def _bring(session: str, folder: Path, *, form: str) -> None:
    from teleport.cli.connect import api_client, run
    from teleport.cli.profile import current
    from teleport.cli.recordings import fetch, find

    async def bring() -> None:
        async with api_client(current()) as client:
            await fetch(client, await find(client, session), folder, form=form)

    run(bring())


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
