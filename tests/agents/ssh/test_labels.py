"""Labels that commands print."""

from teleport.agents.ssh.labels import CommandLabels
from teleport.resources.node import CommandLabel
from tests.builders import FakeClock


def labels(**commands: list[str]) -> CommandLabels:
    declared = {
        name: CommandLabel.model_validate({"command": command, "period": "60s"}) for name, command in commands.items()
    }
    return CommandLabels(declared, clock=FakeClock(), changed=lambda: None)


async def test_a_label_is_what_its_command_prints_without_the_line_end() -> None:
    dynamic = labels(kernel=["echo", "6.1"])

    await dynamic.refresh_all()

    assert dynamic.values == {"kernel": "6.1"}


async def test_no_shell_is_involved() -> None:
    dynamic = labels(x=["echo", "$HOME;id"])

    await dynamic.refresh_all()

    assert dynamic.values == {"x": "$HOME;id"}


async def test_failures_become_the_labels_value_and_harm_no_other() -> None:
    dynamic = labels(gone=["/no/such/program"], bad=["false"], good=["echo", "yes"])

    await dynamic.refresh_all()

    assert dynamic.values == {"gone": "error: No such file or directory", "bad": "error: exit status 1", "good": "yes"}


async def test_what_a_terminal_would_obey_is_dropped_and_length_is_bounded() -> None:
    dynamic = labels(x=["printf", "a\\033[31mb"], long=["head", "-c", "100000", "/dev/zero"], wide=["seq", "100000"])

    await dynamic.refresh_all()

    assert dynamic.values["x"] == "a[31mb"
    assert dynamic.values["long"] == ""
    assert len(dynamic.values["wide"]) <= 1024
