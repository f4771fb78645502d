"""Hosts with only OpenSSH as they are declared: an address that can be reached, and keys that are keys."""

import pytest

from teleport.pki.keys import new_ssh_key, ssh_line
from teleport.resources.load import load
from teleport.resources.node import Node

KEY = ssh_line(new_ssh_key().public_key())


def problems(spec: str, sub_kind: str = "openssh") -> list[str]:
    text = f"kind: node\nsub_kind: {sub_kind}\nversion: v2\nmetadata: {{name: old-1}}\nspec: {{{spec}}}\n"
    return [str(problem) for problem in load(text.encode(), file="n.yaml", source="s").problems]


@pytest.mark.parametrize(
    ("addr", "address"),
    [("old-1:22", ("old-1", 22)), ("192.0.2.7:2222", ("192.0.2.7", 2222)), ("[2001:db8::7]:22", ("2001:db8::7", 22))],
)
def test_an_address_is_a_host_and_a_port(addr: str, address: tuple[str, int]) -> None:
    node = Node.model_validate(
        {"version": "v2", "sub_kind": "openssh", "metadata": {"name": "old-1"}, "spec": {"addr": addr}}
    )

    assert node.is_plain
    assert node.address == address


@pytest.mark.parametrize("addr", ["", "old-1", "old-1:", "old-1:0", "old-1:70000", "root@old-1:22", "a b:22", ":22"])
def test_a_plain_host_without_an_address_is_an_error_with_its_place(addr: str) -> None:
    (problem,) = problems(f"addr: '{addr}'")

    assert problem.startswith("n.yaml:")
    assert "HOST:PORT" in problem


def test_a_host_with_an_agent_needs_no_address() -> None:
    assert problems("", "teleport") == []


@pytest.mark.parametrize(
    "line",
    ["", "ssh-ed25519", "ssh-ed25519 !!", f"ssh-rsa {KEY.split()[1]}", KEY.split()[1]],
    ids=["nothing", "no key", "no base64", "another algorithm", "no algorithm"],
)
def test_what_is_no_host_key_is_an_error(line: str) -> None:
    assert any("not a host's public key" in one for one in problems(f"addr: 'a:22', host_keys: ['{line}']"))


def test_a_host_key_may_have_a_comment() -> None:
    assert problems(f"addr: 'a:22', host_keys: ['{KEY} root@old-1']") == []
