"""Static tokens: how they are written, and that their secrets do not leak into messages."""

from pathlib import Path

import pytest

from teleport.core.errors import BadInput
from teleport.service.tokens import guessable, static_tokens, token_faults


def test_a_token_names_its_roles_and_its_secret() -> None:
    (token,) = static_tokens(["Proxy,node:2cf24dba5fb0a30e26e83b2ac5b9e29e"])

    assert (token.name, token.spec.roles) == ("2cf24dba5fb0a30e26e83b2ac5b9e29e", ("Proxy", "Node"))
    assert token.secret_name


def test_the_secret_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-the-file\n")

    (token,) = static_tokens([f"node:{tmp_path}/token"])

    assert token.name == "from-the-file"


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"auth_service\.tokens: .*/token cannot be read"):
        static_tokens([f"node:{tmp_path}/token"])


def test_faults_are_told_without_the_secret() -> None:
    faults = list(token_faults(["just-a-secret", "nod:hush", "node:", ":hush"]))

    assert [fault.path for fault in faults] == [(0,), (1,), (2,), (3,)]
    assert faults[1].message == "unknown service role nod"
    assert not any("hush" in f"{fault.message}{fault.hint}" for fault in faults)


def test_a_secret_with_characters_that_a_token_cannot_have_is_refused_without_being_told() -> None:
    with pytest.raises(BadInput, match="a token for node: token name with characters") as caught:
        static_tokens(["node:hush hush"])

    assert "hush" not in str(caught.value)


def test_short_secrets_can_be_guessed() -> None:
    assert guessable(static_tokens(["node:short", "node:2cf24dba5fb0a30e26e83b2ac5b9e29e"])) == 1
