"""Commits and tags as their signatures see them, however odd they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.gitops.signatures import signed_commit, signed_tag

SIGNATURE = "-----BEGIN SSH SIGNATURE-----\nU1NI\n-----END SSH SIGNATURE-----\n"
HEADER = "gpgsig " + SIGNATURE.rstrip("\n").replace("\n", "\n ") + "\n"
WHO = "t <t@example.com> 1700000000 +0100"
ID = "a" * 40


def commit(*, extra: str = HEADER, message: str = "m\n", committer: str = WHO) -> bytes:
    return f"tree {ID}\nauthor {WHO}\ncommitter {committer}\n{extra}\n{message}".encode()


def tag(*, of: str = ID, kind: str = "commit", name: str = f"approve/{ID}", rest: str = SIGNATURE) -> bytes:
    return f"object {of}\ntype {kind}\ntag {name}\ntagger {WHO}\n\nm\n{rest}".encode()


def test_a_signature_covers_the_commit_without_itself() -> None:
    signed = signed_commit(commit())

    assert signed is not None
    assert signed.payload == commit(extra="")
    assert signed.signature.decode() == SIGNATURE
    assert signed.claimed == 1_700_000_000


def test_headers_after_the_signature_are_covered_too() -> None:
    signed = signed_commit(commit(extra=HEADER + "mergetag object x\n type commit\n"))

    assert signed is not None
    assert signed.payload == commit(extra="mergetag object x\n type commit\n")


@pytest.mark.parametrize(
    "data",
    [
        commit(extra=""), commit(extra=HEADER + HEADER),
        commit(extra=HEADER + HEADER.replace("gpgsig", "gpgsig-sha256")),
        commit(extra=HEADER.replace("gpgsig", "gpgsig-sha256")), commit(extra=HEADER.replace("SSH", "PGP")),
        commit(extra="", message=HEADER), commit(committer="nobody"), commit(extra=f"{HEADER}committer {WHO}\n"), b"",
    ],
)  # fmt: skip
def test_what_has_not_exactly_one_ssh_signature_and_one_date_is_unsigned(data: bytes) -> None:
    assert signed_commit(data) is None


@pytest.mark.parametrize("name", [f"approve/{ID}", f"approve/{ID}/bob"])
def test_a_tag_approves_what_it_names_and_points_at(name: str) -> None:
    signed = signed_tag(tag(name=name), of=ID, name=f"approve/{ID}")

    assert signed is not None
    assert signed.payload == tag(name=name, rest="")
    assert signed.signature.decode() == SIGNATURE


@pytest.mark.parametrize(
    "data",
    [
        tag(of="b" * 40), tag(kind="tree"), tag(name="v1"), tag(name=f"approve/{ID}x"), tag(name=f"override/x/{ID}"),
        tag(rest=""), tag(rest=SIGNATURE + SIGNATURE), b"",
    ],
)  # fmt: skip
def test_a_tag_of_anything_else_approves_nothing(data: bytes) -> None:
    assert signed_tag(data, of=ID, name=f"approve/{ID}") is None


@given(st.binary(max_size=200))
def test_no_bytes_confuse_either(data: bytes) -> None:
    signed_commit(data)
    signed_commit(commit().replace(b"\nm\n", b"\n" + data))

    assert signed_tag(data, of=ID, name=f"approve/{ID}") is None
