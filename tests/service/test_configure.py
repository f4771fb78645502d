"""`teleport configure`: the example it writes is valid whatever it is filled in with, and so is each of its lines."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from teleport.core.errors import TeleportError
from teleport.service.__main__ import cli
from teleport.service.config import checked
from teleport.service.configure import filled_in

ALL = {"roles": "auth,proxy,node"}
PIN = f"sha256:{'7e' * 32}"


def blocks(text: str) -> list[tuple[int, int]]:
    """First and last line (exclusive) of everything that is commented out as `#field:`, with what belongs to it."""
    lines, found = text.splitlines(), []
    for first, line in enumerate(lines):
        if re.match(r" *#\w+:", line):
            indent = line.index("#")
            last = first + 1
            while last < len(lines) and lines[last][: indent + 3] == f"{' ' * indent}#  ":
                last += 1
            found.append((first, last))
    return found


def test_every_line_of_the_example_can_be_switched_on() -> None:
    text = filled_in(ALL)
    lines = text.splitlines()

    for first, last in blocks(text):
        chosen = [line.replace("#", "", 1) if first <= at < last else line for at, line in enumerate(lines)]
        checked("\n".join(chosen).encode(), file=lines[first])

    assert len(blocks(text)) > 40


def test_what_is_given_is_in_it() -> None:
    config = checked(
        filled_in(
            {
                **ALL, "cluster_name": "acme", "nodename": "gate", "public_addr": "t.example.com:443",
                "policies": "/etc/policies", "data_dir": "/srv/t",
            }
        ).encode(),
        file="",
    )  # fmt: skip

    assert (config.auth_service.cluster_name, config.nodename, config.teleport.data_dir) == ("acme", "gate", "/srv/t")
    assert config.proxy_service.public_addr == ("t.example.com:443",)
    assert str(config.listen) == "0.0.0.0:443"
    assert config.policies is not None
    assert config.policies.dir == "/etc/policies"


def test_an_agents_file_is_short_and_complete() -> None:
    text = filled_in({"roles": "node", "proxy": "t.example.com:443", "token": "/run/token", "ca_pin": (PIN,)})

    config = checked(text.encode(), file="")
    assert (config.roles, str(config.remote), config.pins) == (("node",), "t.example.com:443", (PIN,))
    assert config.teleport.join_params is not None
    assert "auth_service:\n  enabled: no\n" in text


def test_an_agent_without_a_proxy_is_refused_with_a_hint(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["configure", "--roles", "node"])

    assert isinstance(result.exception, TeleportError)
    assert "set proxy_server" in str(result.exception)


def test_a_file_is_written_for_its_owner_alone_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "teleport.yaml"

    first = CliRunner().invoke(cli, ["configure", "-o", str(path)])
    second = CliRunner().invoke(cli, ["configure", "-o", str(path)])

    assert first.exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert "exists already" in str(second.exception)


def test_checking_says_what_runs_and_what_is_in_vain(tmp_path: Path) -> None:
    path = tmp_path / "teleport.yaml"
    path.write_text("version: v3\nssh_service: {listen_addr: '0.0.0.0:3022'}\n")

    result = CliRunner().invoke(cli, ["configure", "--check", str(path)])

    assert result.exit_code == 0
    assert result.stdout == f"{path}: valid; runs auth, proxy, node\n"
    assert "teleport: warning: ssh_service.listen_addr has no effect: agents open no port" in result.stderr


@pytest.mark.parametrize("command", [["start"], ["configure"], ["restore"], ["version"], []])
def test_help_ends_with_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(cli, [*command, "--help"])

    assert re.search(r"\n  Example: teleport ", result.output)


def test_the_version_is_printed_for_people_and_for_programs() -> None:
    assert CliRunner().invoke(cli, ["version"]).output.startswith("teleport ")
    assert '"version": "' in CliRunner().invoke(cli, ["version", "-o", "json"]).output
