"""What an operator's environment says, and what it forgets."""

from pathlib import Path

import pytest

from teleport.core.errors import BadInput
from teleport.service.operator.settings import Settings

WHOLE = {"TELEPORT_ADDRESS": "teleport.example.com", "TELEPORT_CA_PIN": "sha256:a,sha256:b", "TELEPORT_TOKEN": "secret"}


def test_the_usual_environment() -> None:
    settings = Settings.from_environment({**WHOLE, "HOSTNAME": "operator-0"})

    assert (str(settings.address), settings.pins) == ("teleport.example.com:3080", ("sha256:a", "sha256:b"))
    assert settings.secrets == ("secret", "")


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(BadInput, match=f"{name} is not set"):
        Settings.from_environment({key: value for key, value in WHOLE.items() if key != name})


def test_a_proof_is_read_when_it_is_needed(tmp_path: Path) -> None:
    proof = tmp_path / "token"
    settings = Settings.from_environment({**WHOLE, "TELEPORT_JOIN_METHOD": "kubernetes", "TELEPORT_PROOF": str(proof)})
    with pytest.raises(BadInput, match="cannot be read"):
        _ = settings.secrets

    proof.write_text("first\n")
    assert settings.secrets == ("secret", "first")
    proof.write_text("second\n")
    assert settings.secrets == ("secret", "second")


def test_a_join_token_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")

    assert Settings.from_environment({**WHOLE, "TELEPORT_TOKEN": str(tmp_path / "token")}).secrets[0] == "secret"


def test_another_join_method_is_refused() -> None:
    with pytest.raises(BadInput, match="is iam"):
        Settings.from_environment({**WHOLE, "TELEPORT_JOIN_METHOD": "iam"})
