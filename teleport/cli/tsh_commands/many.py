"""`tsh ssh label=value command`: one command on every host that the labels select, some at a time."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Final

from teleport.api import models as m
from teleport.cli.hosts import display_names, reachable
from teleport.cli.options import parse_labels
from teleport.cli.tsh_commands.many_output import Files, Lines, Progress, Result, summary
from teleport.cli.tsh_commands.ssh import Call
from teleport.core.errors import BadInput, NotFound, TeleportError
from teleport.core.output import printable, to_json, write
from teleport.resources.node import host_name_faults

__all__ = ["Many", "run_on_many", "split"]

_USABLE: Final = frozenset({"-T", "-n", "-q", "-v", "-A", "-o"})
"""Flags of ssh that make sense on several hosts."""
_NEEDS_SSH: Final = frozenset({"-A", "-o"})
_ALONE: Final = ("-T", "-n", "-o", "BatchMode=yes", "-o", "ControlPath=none")
_NOT_REACHED: Final = 255
_CHUNK: Final = 64 * 1024
_TERMINATE_SECONDS: Final = 3.0
_FAILED, _INTERRUPTED = 1, 130


@dataclass(frozen=True)
class Many:
    """What is asked for. `call` is that of one host, whose name is not known yet."""

    call: Call
    labels: str
    parallel: int
    form: str
    log_dir: Path | None


def split(destination: str) -> tuple[str, str]:
    """Login and labels of [LOGIN@]LABEL=VALUE,...: an @ in a value is the value's."""
    login, at, _ = destination.partition("=")[0].rpartition("@")
    return login, destination[len(login) + len(at) :]


def run_on_many(many: Many) -> int:
    """0 if the command succeeded everywhere, 1 if anywhere it did not, 130 if it was interrupted.

    Without a command there must be exactly one host, where a shell is opened.
    """
    _check_flags(many.call.flags)
    hosts = _hosts(many)
    if not many.call.command:
        if len(hosts) > 1:
            raise BadInput(
                f"a shell on {len(hosts)} hosts at once is not possible",
                hint=f"give a command, or name one of them: {', '.join(sorted(hosts)[:5])}",
            )
        return replace(many.call, host=next(iter(hosts))).run()
    results = [Result(name, host.uuid) for name, host in hosts.items()]
    interrupted = asyncio.run(_Run(many, results).run())
    if many.form == "json":
        write(to_json([one.to_dict() for one in results]))
    else:
        write(_told(results), stream=sys.stderr)
    if interrupted:
        return _INTERRUPTED
    return 0 if all(one.status == "succeeded" for one in results) else _FAILED


def _check_flags(flags: Sequence[str]) -> None:
    takes_value = False
    for flag in flags:
        if not takes_value and flag not in _USABLE:
            raise BadInput(f"{flag} goes with one host, not with labels", hint="`tsh ls` lists hosts by their labels")
        if flag in _NEEDS_SSH and not takes_value and shutil.which("ssh") is None:
            raise BadInput(f"{flag} needs an ssh program, and there is none", hint="install OpenSSH's client")
        takes_value = flag == "-o" and not takes_value


def _hosts(many: Many) -> Mapping[str, m.HostRow]:
    """The hosts that are meant, by what they are called. Raises NotFound."""
    labels = parse_labels(many.labels)
    if not labels:
        raise BadInput(f"{many.labels!r} is not a list of labels", hint="write for example env=prod,team=web")
    matching, login = reachable(many.call.profile, labels, many.call.cluster), many.call.login
    if not matching:
        raise NotFound(
            f"none of the hosts you reach has {', '.join(f'{key}={value}' for key, value in labels.items())}",
            hint="`tsh ls` lists them with their labels",
        )
    named = dict(zip(display_names(matching), matching, strict=True))
    open_to_login = {name: host for name, host in named.items() if login in host.logins}
    closed = sorted(set(named) - set(open_to_login))
    if not open_to_login:
        logins = sorted({one for host in matching for one in host.logins})
        raise NotFound(
            f"you may not log in as {login} on any of the {len(matching)} hosts with these labels",
            hint=f"logins there: {', '.join(logins)}; write LOGIN@{many.labels}",
        )
    if closed:
        write(f"tsh: left out, for want of the login {login}: {printable(', '.join(closed))}", stream=sys.stderr)
    return open_to_login


def _told(results: Sequence[Result]) -> str:
    failed = sum(one.status != "succeeded" for one in results)
    return f"{summary(results)}{len(results) - failed} of {len(results)} succeeded"


class _Run:
    """All of it, from the first host to the last."""

    def __init__(self, many: Many, results: Sequence[Result]) -> None:
        self._many, self._results = many, results
        self._progress = Progress(len(results), sys.stderr)
        self._turns = asyncio.Semaphore(many.parallel)
        self._files = Files(many.log_dir) if many.log_dir is not None else None
        self._width = max(len(printable(one.host)) for one in results)

    async def run(self) -> bool:
        """Whether it was interrupted: then all that still ran has been ended."""
        loop, interrupted = asyncio.get_running_loop(), False

        def interrupt() -> None:
            nonlocal interrupted
            for task in tasks if not interrupted else ():
                task.cancel()
            interrupted = True

        tasks = [asyncio.create_task(self._on(number, one)) for number, one in enumerate(self._results)]
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
        try:
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._progress.clear()
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return interrupted

    async def _on(self, number: int, result: Result) -> None:
        async with self._turns:
            self._progress.started()
            began = time.monotonic()
            try:
                with self._sinks(number, result) as (output, errors):
                    await self._call(result, output, errors)
            finally:
                result.seconds = time.monotonic() - began
                self._progress.ended(result.status)

    async def _call(self, result: Result, output: "_Sink", errors: "_Sink") -> None:
        call = replace(self._many.call, host=result.host, flags=(*_ALONE, *self._many.call.flags))
        try:
            status = await (_with_ssh if shutil.which("ssh") else _without_ssh)(call, output, errors)
        except TeleportError as error:
            result.status, result.error = "unreached", error.message
            return
        result.exit_code = status
        result.status = "succeeded" if status == 0 else "unreached" if status == _NOT_REACHED else "failed"
        if status == _NOT_REACHED:
            result.error = _reason(bytes(result.stderr.data))

    @contextlib.contextmanager
    def _sinks(self, number: int, result: Result) -> Iterator[tuple["_Sink", "_Sink"]]:
        """Where the output of a host goes: to the result, to files, to whoever watches."""
        with contextlib.ExitStack() as stack:
            files: Mapping[str, IO[bytes]] = {}
            if self._files is not None:
                files = stack.enter_context(self._files.open(_file_name(result)))
            sinks = []
            for name, kept, stream in (("stdout", result.stdout, sys.stdout), ("stderr", result.stderr, sys.stderr)):
                ways: list[_Sink] = [kept.add]
                if name in files:
                    ways.append(partial(_to_file, files[name]))
                if self._many.form == "text":
                    lines = Lines(result.host, number, stream, self._progress, width=self._width)
                    stack.callback(lines.end)
                    ways.append(lines.add)
                sinks.append(partial(_to_all, ways))
            yield sinks[0], sinks[1]


_Sink = Callable[[bytes], object]


def _to_all(ways: Sequence[_Sink], chunk: bytes) -> None:
    for way in ways:
        way(chunk)


def _to_file(file: IO[bytes], chunk: bytes) -> None:
    try:
        while chunk:
            chunk = chunk[file.write(chunk) :]
    except OSError as error:
        raise BadInput(f"{file.name} cannot be written: {error.strerror or error}") from None


def _file_name(result: Result) -> str:
    """A host's name, if it is nothing but one; otherwise its id."""
    return result.host if not host_name_faults(result.host, ()) and result.host else result.uuid.replace("/", "_")


def _reason(text: bytes) -> str:
    """Why there was no session, of all that ssh says: what the host or the proxy said, or else the last line."""
    lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
    said = [line.partition("error: ")[2] for line in lines if line.startswith(("error: ", "tsh: error: "))]
    return (said or lines[-1:] or ["ssh could not begin a session"])[0]


async def _with_ssh(call: Call, output: _Sink, errors: _Sink) -> int:
    """The system's ssh, away from our terminal: it asks nobody, and Ctrl-C is ours to pass on."""
    process = await asyncio.create_subprocess_exec(
        *call.arguments(), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        await asyncio.gather(_pour(process.stdout, output), _pour(process.stderr, errors))
        return await process.wait()
    finally:
        if process.returncode is None:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """ssh and what it started, such as the way to the proxy."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(process.wait()), _TERMINATE_SECONDS)
            return


async def _without_ssh(call: Call, output: _Sink, errors: _Sink) -> int:
    from teleport.cli.tsh_commands.builtin_ssh import run_captured

    return await run_captured(call, output, errors)


async def _pour(stream: asyncio.StreamReader, sink: _Sink) -> None:
    while chunk := await stream.read(_CHUNK):
        sink(chunk)
