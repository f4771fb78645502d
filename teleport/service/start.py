"""`teleport start`: the configuration from file and flags, logging, the event loop."""

import asyncio
import json
import logging
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from teleport.core.aio import utc
from teleport.core.errors import BadInput, Invalid
from teleport.service.config import Address, Config, Roles, defaults, load_config
from teleport.service.process import Process

__all__ = ["configured", "run", "set_up_logging"]


def run(options: Mapping[str, Any]) -> None:
    """Run until stopped."""
    config = configured(options)
    set_up_logging(config, debug=bool(options.get("debug")))
    os.umask(0o077)
    allow_many_connections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Process(config).run())


def allow_many_connections() -> None:
    """Two descriptors a session and one a stranger are more than the customary limit for programs in a shell."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def configured(options: Mapping[str, Any]) -> Config:
    """The file, or the defaults, with the flags on top. Raises BadInput or Invalid."""
    path = options.get("config_file")
    config = load_config(path) if path is not None else defaults()
    body = config.model_dump(exclude_unset=False)
    base, proxy, auth = body["teleport"], body["proxy_service"], body["auth_service"]
    flags = {name: value for name, value in options.items() if value}
    for flag, (section, field) in {
        "data_dir": (base, "data_dir"), "nodename": (base, "nodename"), "diag_addr": (base, "diag_addr"),
        "auth_server": (base, "auth_server"), "proxy_server": (base, "proxy_server"), "token": (base, "auth_token"),
        "listen": (proxy, "web_listen_addr"), "cluster_name": (auth, "cluster_name"),
    }.items():  # fmt: skip
        if flag in flags:
            section[field] = flags[flag]
    if "ca_pin" in flags:
        base["ca_pin"] = list(flags["ca_pin"])
    if "token" in flags:
        base["join_params"] = None
    if "policies" in flags:
        body["policies"] = {"dir": _folder(flags["policies"])}
    if "demo" in flags:
        body["demo"] = True
    if "roles" in flags:
        _choose(body, flags["roles"])
    if "listen" in flags and "proxy" not in _enabled(body):
        auth["listen_addr"] = flags["listen"]
    try:
        Address.parse(proxy["web_listen_addr"], 0)
        return Config.model_validate(body)
    except ValueError as error:
        raise _complaint(error) from None


def _complaint(error: ValueError) -> BadInput:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return BadInput(str(error))
    from teleport.resources.load import explain
    from teleport.resources.yaml_reader import Marks

    return Invalid(explain(Config, error, Marks(0, 0), file=""))


def _folder(text: str) -> str:
    path = Path(text)
    if not path.is_dir():
        raise BadInput(f"the policy folder {text} does not exist")
    return str(path.resolve())


def _choose(body: dict[str, Any], text: str) -> None:
    chosen = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in chosen if word not in Roles]
    if unknown or not chosen:
        raise BadInput(f"unknown role {', '.join(unknown) or '(none)'}", hint=f"any of {','.join(Roles)}")
    for role, section in (("auth", "auth_service"), ("proxy", "proxy_service"), ("node", "ssh_service")):
        body[section]["enabled"] = role in chosen


def _enabled(body: Mapping[str, Any]) -> set[str]:
    sections = {"auth": "auth_service", "proxy": "proxy_service", "node": "ssh_service"}
    return {role for role, section in sections.items() if body[section]["enabled"]}


class _JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        body = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "component": record.name.removeprefix("teleport."),
            "message": record.getMessage(),
        }
        if record.exc_info:
            body["exception"] = self.formatException(record.exc_info)
        return json.dumps(body)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return utc(record.created)


class _Plain(logging.Formatter):
    """For people; what came from elsewhere cannot drive the terminal."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return utc(record.created)

    def format(self, record: logging.LogRecord) -> str:
        from teleport.core.output import printable

        return printable(super().format(record), multiline=True)


def set_up_logging(config: Config, *, debug: bool) -> None:
    """As teleport.yaml says."""
    log = config.teleport.log
    handler: logging.Handler
    if log.output in ("stderr", "stdout"):
        handler = logging.StreamHandler(sys.stderr if log.output == "stderr" else sys.stdout)
    else:
        handler = logging.FileHandler(log.output)
    handler.setFormatter(
        _JsonLines() if log.format == "json" else _Plain("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    level = "DEBUG" if debug else log.severity.replace("WARNING", "WARN").replace("WARN", "WARNING")
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("asyncssh", "aiohttp", "watchfiles", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.INFO if debug else logging.WARNING)
