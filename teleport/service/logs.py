"""The program's own log: where it goes and how it looks, as teleport.yaml says."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Final

from teleport.core.aio import utc
from teleport.core.errors import BadInput
from teleport.core.output import printable
from teleport.service.sections import Log

__all__ = ["prepare_logging"]

_TALKATIVE: Final = ("asyncssh", "aiohttp", "watchfiles", "asyncio")
"""Libraries that are heard only when everything is."""
_LINE: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def prepare_logging(log: Log, *, debug: bool) -> Callable[[], None]:
    """Open the log; what is returned makes it the one that is written to. Raises BadInput."""
    handler = _handler(log.output)
    handler.setFormatter(_JsonLines() if log.format == "json" else _Plain(_LINE))
    severity = {"WARN": "WARNING"}.get(log.severity, log.severity)
    level = logging.DEBUG if debug else logging.getLevelNamesMapping()[severity]

    def install() -> None:
        logging.basicConfig(level=level, handlers=[handler], force=True)
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.INFO if level == logging.DEBUG else logging.WARNING)

    return install


def _handler(output: str) -> logging.Handler:
    if output in ("stderr", "stdout"):
        return logging.StreamHandler(sys.stderr if output == "stderr" else sys.stdout)
    try:
        return logging.FileHandler(output)
    except OSError as error:
        raise BadInput(
            f"the log {output} cannot be written: {error.strerror}", hint="see teleport.log.output"
        ) from None


class _JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        body = {
            "time": utc(record.created),
            "level": record.levelname,
            "component": record.name.removeprefix("teleport."),
            "message": record.getMessage(),
        }
        if record.exc_info:
            body["exception"] = self.formatException(record.exc_info)
        return json.dumps(body)


class _Plain(logging.Formatter):
    """For people; what came from elsewhere cannot drive the terminal."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return utc(record.created)

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), multiline=True)
