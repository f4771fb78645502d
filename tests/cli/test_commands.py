"""Every command of the three programs: it explains itself, speaks in one voice, and prints the forms it names."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from teleport.cli import tctl as tctl_program
from teleport.cli import tsh as tsh_program
from teleport.service import __main__ as teleport_program
from tests.cli.programs import Ended, tctl, teleport, tsh

BIN = Path(sys.executable).parent
Run = Callable[..., Ended]


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*words, name))


PROGRAMS: list[tuple[Run, click.Command]] = [
    (tctl, tctl_program.cli), (tsh, tsh_program.cli), (teleport, teleport_program.cli)
]  # fmt: skip
EVERY = [(run, *row) for run, program in PROGRAMS for row in commands(program)]
LEAVES = [row for row in EVERY if not isinstance(row[2], click.Group)]
NAMES = [" ".join((run.__name__, *words)) for run, words, _ in EVERY]


@pytest.mark.parametrize(("run", "words", "command"), EVERY, ids=NAMES)
def test_help_is_there_for_every_command_and_every_part_of_it_is_explained(
    run: Run, words: tuple[str, ...], command: click.Command
) -> None:
    result = run(*words, "--help")

    assert (result.status, result.errors) == (0, "")
    assert "..." not in result.output.partition("Commands:")[2], "a line of help is cut off"
    unexplained = [one.name for one in command.params if isinstance(one, click.Option) and not (one.help or one.hidden)]
    assert unexplained == []


@pytest.mark.parametrize(("run", "words", "command"), LEAVES, ids=[" ".join((r.__name__, *w)) for r, w, _ in LEAVES])
def test_the_help_of_every_command_has_an_example_of_that_command(
    run: Run, words: tuple[str, ...], command: click.Command
) -> None:
    shown = re.sub(r"\s+", " ", run(*words, "--help").output)

    example = re.search(r"Example: (.*?)(?: Options:|$)", shown)
    assert example is not None
    assert " ".join((run.__name__, *words)) in re.sub(r"^[A-Z]+=\S+ ", "", example[1])


@pytest.mark.parametrize("run", [tctl, tsh, teleport], ids=["tctl", "tsh", "teleport"])
def test_without_a_command_the_help_is_shown_as_it_is_and_the_exit_status_says_that_nothing_was_done(run: Run) -> None:
    result = run()

    assert (result.status, result.output) == (2, "")
    assert result.errors == run("--help").output


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("strat",), "no such command 'strat'. Did you mean start?", "teleport --help shows how"),
        (("start", "--bogus"), "no such option", "teleport start --help shows how"),
        (("start", "more"), "got unexpected extra argument (more)", "teleport start --help shows how"),
        (("start", "--listen"), "option '--listen' requires an argument", "teleport --help shows how"),
        (("restore",), "missing argument 'FILE'", "teleport restore --help shows how"),
        (("version", "-o", "yaml"), "invalid value for '-o'", "teleport version --help shows how"),
        (("start", "--roles", "prox"), "unknown role prox", "--roles takes any of auth,proxy,node"),
    ],
)
def test_the_services_speak_as_the_other_programs_do(arguments: tuple[str, ...], message: str, hint: str) -> None:
    result = teleport(*arguments)

    assert (result.status, result.output) == (2, "")
    first, last = result.errors.splitlines()
    assert first.startswith(f"teleport: error: {message}")
    assert last == f"teleport: hint: {hint}"


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("frobnicate",), "no such command 'frobnicate'", "tctl --help shows how"),
        (("toknes",), "no such command 'toknes'. Did you mean tokens?", "tctl --help shows how"),
        (("get",), "missing argument 'KIND[/NAME]...'", "tctl get --help shows how"),
        (("get", "--frob", "roles"), "no such option", "tctl get --help shows how"),
        (("status", "-o", "yaml"), "invalid value for '-o'", "tctl status --help shows how"),
    ],
)
def test_what_is_no_command_line_is_told_in_the_usual_voice(
    arguments: tuple[str, ...], message: str, hint: str
) -> None:
    result = tctl(*arguments)

    assert (result.status, result.output) == (2, "")
    first, last = result.errors.splitlines()
    assert first.startswith(f"tctl: error: {message}")
    assert last == f"tctl: hint: {hint}"


def test_without_a_cluster_the_error_says_where_one_was_looked_for(tmp_path: Path) -> None:
    nowhere = {"HOME": str(tmp_path), "TELEPORT_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}

    named = tctl("--data-dir", str(tmp_path), "status", env=nowhere)
    if not Path("/var/lib/teleport/run/admin.sock").exists():
        unnamed = tctl("status", env=nowhere)
        assert (unnamed.status, "nobody is logged in with tsh" in unnamed.errors) == (1, True)

    assert named.status == 1
    assert f"no auth service answers at {tmp_path}/run/admin.sock" in named.errors
    assert "tctl: hint: is `teleport start` running" in named.errors


def test_a_socket_that_is_not_open_to_the_caller_is_told_apart_from_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_: Path) -> None:
        raise PermissionError

    monkeypatch.setattr("teleport.cli.admin.Path.stat", closed)

    result = tctl("--data-dir", str(tmp_path), "status")

    assert result.status == 3
    assert "the auth service of this host is not open to you" in result.errors
    assert "tctl: hint: be root" in result.errors


def test_the_data_directory_is_that_of_a_configuration(tmp_path: Path) -> None:
    config = tmp_path / "teleport.yaml"
    config.write_text(f"version: v3\nteleport: {{data_dir: {tmp_path}/there}}\n")

    result = tctl("-c", str(config), "status")

    assert f"{tmp_path}/there/run/admin.sock" in result.errors


def test_what_is_no_identity_file_is_told_apart_from_one_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    missing = tctl("-i", str(path), "status")
    path.write_text("{}")
    wrong = tctl("-i", str(path), "status")

    assert (missing.status, wrong.status) == (2, 2)
    assert "cannot be read: No such file or directory" in missing.errors
    assert "is not an identity file" in wrong.errors
    assert "tctl auth sign" in wrong.errors


@pytest.mark.parametrize("run", [tctl, tsh, teleport], ids=["tctl", "tsh", "teleport"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_each_shell(run: Run, shell: str) -> None:
    result = run("completion", shell)

    assert result.status == 0
    assert f"_{run.__name__.upper()}_COMPLETE" in result.output


def test_a_shell_that_is_not_known_is_told_with_those_that_are() -> None:
    result = tctl("completion", "csh")

    assert result.status == 2
    assert "'bash', 'fish', 'zsh'" in result.errors


def test_the_program_itself_starts_and_a_closed_pipe_ends_it_quietly() -> None:
    script = f"{BIN / 'tctl'} completion bash | head -1; exit ${{PIPESTATUS[0]}}"

    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)

    assert result.returncode in (0, 141)
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1


def test_the_programs_are_executable() -> None:
    assert all(os.stat(BIN / name).st_mode & stat.S_IXUSR for name in ("tctl", "tsh"))
