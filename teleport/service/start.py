"""`teleport start`: the configuration from file and flags, the log, the event loop."""

import asyncio
import os
import resource
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop
from pydantic import ValidationError

from teleport.core.aio import started_threads
from teleport.core.errors import BadInput, Invalid, Problem, Unavailable
from teleport.gitops.address import GitAddress
from teleport.resources.faults import FAULTS
from teleport.service.config import SECTIONS, Config, Role, Roles, defaults, load_config
from teleport.service.logs import prepare_logging
from teleport.service.process import Process

__all__ = ["chosen_roles", "configured", "run"]

_THREADS: Final = 8
"""For what would keep the event loop waiting: files, hashing, name servers."""
_FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "data_dir": ("teleport", "data_dir"),
    "nodename": ("teleport", "nodename"),
    "diag_addr": ("teleport", "diag_addr"),
    "auth_server": ("teleport", "auth_server"),
    "proxy_server": ("teleport", "proxy_server"),
    "token": ("teleport", "auth_token"),
    "ca_pin": ("teleport", "ca_pin"),
    "listen": ("proxy_service", "web_listen_addr"),
    "cluster_name": ("auth_service", "cluster_name"),
}
"""Flags that are a field of teleport.yaml each."""


def run(options: Mapping[str, Any]) -> None:
    """Run until stopped."""
    config, debug = configured(options), bool(options.get("debug"))
    os.umask(0o077)
    allow_many_connections()
    prepare_logging(config.teleport.log, debug=debug)()
    process = Process(
        config, reread=partial(configured, options),
        prepares=(lambda changed: prepare_logging(changed.teleport.log, debug=debug),),
    )  # fmt: skip
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_default_executor(started_threads(_THREADS))
        try:
            runner.run(process.run())
        except OSError as error:
            raise Unavailable(f"the process cannot go on: {error}") from error


def allow_many_connections() -> None:
    """Two descriptors a session and one a stranger are more than the customary limit for programs in a shell."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def configured(options: Mapping[str, Any]) -> Config:
    """The file, or the defaults, with the flags on top. Raises BadInput or Invalid."""
    path = options.get("config_file")
    config = load_config(path) if path is not None else defaults()
    flags = {name: value for name, value in options.items() if value}
    body = config.model_dump(exclude_unset=True)
    for flag in flags.keys() & _FIELDS.keys():
        section, field = _FIELDS[flag]
        body.setdefault(section, {})[field] = flags[flag]
    if "token" in flags:
        body["teleport"].pop("join_params", None)
    if "policies" in flags:
        body["policies"] = _policies(flags["policies"], body.get("policies", {}))
    if "demo" in flags:
        body["demo"] = True
    if "roles" in flags:
        for role, enabled in chosen_roles(flags["roles"]).items():
            body.setdefault(SECTIONS[role], {})["enabled"] = enabled
    return _checked(body, flags)


def _checked(body: dict[str, Any], flags: Mapping[str, Any]) -> Config:
    try:
        config = Config.model_validate(body)
        if "listen" in flags and "proxy" not in config.roles:
            body.setdefault("auth_service", {})["listen_addr"] = flags["listen"]
            config = Config.model_validate(body)
    except ValidationError as error:
        raise Invalid([problem for details in error.errors() for problem in _problems(details)]) from None
    return config


def _problems(details: Any) -> list[Problem]:
    """What a flag gets wrong, by the field it stands for."""
    flag = next((f"--{flag.replace('_', '-')}" for flag, place in _FIELDS.items() if place == details["loc"][:2]), "")
    faults = details.get("ctx", {}).get(FAULTS)
    if faults:
        return [Problem(flag, 0, 0, fault.message, fault.hint) for fault in faults]
    return [Problem(flag, 0, 0, details["msg"].removeprefix("Value error, "))]


def _policies(text: str, written: Mapping[str, Any]) -> dict[str, Any]:
    """What the flag says, in place of the folder or repository in the file; the rest of the file holds."""
    if written.get("sources"):
        raise BadInput("teleport.yaml names several sources, of which --policies cannot be one", hint="name it there")
    rest = {name: value for name, value in written.items() if name not in ("dir", "git")}
    if not text.startswith("git+"):
        return {**rest, "dir": _folder(text)}
    found = GitAddress.parse(text)
    return {
        **rest, "git": {**(written.get("git") or {}), "url": found.url, "branch": found.branch, "path": found.path},
    }  # fmt: skip


def _folder(text: str) -> str:
    path = Path(text)
    if not path.is_dir():
        raise BadInput(f"the policy folder {text} does not exist", hint="--policies takes a folder of YAML")
    return str(path.absolute())


def chosen_roles(text: str) -> dict[Role, bool]:
    """Which services a list of roles means. Raises BadInput."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in Roles]
    if unknown or not words:
        raise BadInput(f"unknown role {', '.join(unknown) or '(none)'}", hint=f"--roles takes any of {','.join(Roles)}")
    return {role: role in words for role in Roles}
