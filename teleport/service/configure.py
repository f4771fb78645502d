"""`teleport configure`: writes a teleport.yaml filled in with what is known, and checks one."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from teleport.core.errors import BadInput, Conflict, Invalid, Problem
from teleport.core.output import write
from teleport.gitops.address import GitAddress
from teleport.service.config import SECTIONS, checked, load_config
from teleport.service.example import example
from teleport.service.sections import DEFAULT_DATA_DIR
from teleport.service.start import chosen_roles

__all__ = ["check_file", "filled_in", "write_example"]


def check_file(path: Path) -> None:
    """Say that a file is valid, and what it sets in vain. Raises Invalid with every problem."""
    config = load_config(path)
    for place, reason in config.without_effect():
        write(f"teleport: warning: {place} has no effect: {reason}", stream=sys.stderr)
    write(f"{path}: valid; runs {', '.join(config.roles)}")


def write_example(options: Mapping[str, Any], output: Path | None) -> None:
    """The commented file, to standard output or to a new one that only its owner reads."""
    text = filled_in(options)
    if output is None:
        write(text)
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Conflict(f"{output} exists already", hint="name a new file") from None
    except OSError as error:
        raise BadInput(f"{output} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    write(f"written to {output}; start with: teleport start -c {output}", stream=sys.stderr)


def filled_in(options: Mapping[str, Any]) -> str:
    """The commented file with these options in it. Raises Invalid where they do not make a configuration."""
    text = example(_given(options))
    try:
        checked(text.encode(), file="teleport.yaml")
    except Invalid as error:
        raise Invalid([Problem("", 0, 0, one.message, one.hint) for one in error.problems]) from None
    return text


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in options.items() if value}
    base: dict[str, Any] = {"data_dir": DEFAULT_DATA_DIR}
    base |= _some(
        said, data_dir="data_dir", nodename="nodename", proxy_server="proxy", auth_server="auth_server",
        diag_addr="diag_addr",
    )  # fmt: skip
    if "ca_pin" in said:
        base["ca_pin"] = list(said["ca_pin"])
    if "token" in said:
        base["join_params"] = {"token_name": said["token"]}
    sections: dict[str, dict[str, Any]] = {
        "auth": _some(said, cluster_name="cluster_name"), "proxy": _some(said, web_listen_addr="listen"), "node": {},
    }  # fmt: skip
    if "public_addr" in said:
        sections["proxy"] = {
            "web_listen_addr": "0.0.0.0:443",
            **sections["proxy"],
            "public_addr": [said["public_addr"]],
        }
    given: dict[str, Any] = {"version": "v3", "teleport": base}
    for role, enabled in chosen_roles(said["roles"]).items():
        given[SECTIONS[role]] = {"enabled": True, **sections[role]} if enabled else {"enabled": False}
    if "policies" in said:
        given["policies"] = _policies(said["policies"])
    return given


def _policies(text: str) -> dict[str, Any]:
    if not text.startswith("git+"):
        return {"dir": text}
    address = GitAddress.parse(text)
    path = {"path": address.path} if address.path else {}
    return {"git": {"url": address.url, "branch": address.branch, **path}}


def _some(said: Mapping[str, Any], **fields: str) -> dict[str, Any]:
    """The fields whose option was given."""
    return {field: said[option] for field, option in fields.items() if option in said}
