"""What `tctl tokens add` prints can be used as it is."""

from teleport.api import models as m
from teleport.cli.tctl_commands.tokens import _command
from teleport.resources.load import load
from teleport.resources.trusted_cluster import TrustedCluster

PIN = "sha256:" + "7" * 64


def test_what_is_printed_for_a_cluster_declares_whom_it_trusts() -> None:
    made = m.TokenSecret(
        token="hushhush", expires=1.0, roles=("Trusted_cluster",), ca_pins=(PIN,), proxy_address="root.example:443",
        cluster="root.example",
    )  # fmt: skip

    _, _, declaration = _command(made).partition("and declare there:\n\n")

    (trusted,) = load(declaration.encode(), file="printed.yaml", source="test").resources
    assert isinstance(trusted, TrustedCluster)
    assert (trusted.name, trusted.spec.web_proxy_addr, trusted.spec.ca_pin) == (
        "root.example",
        "root.example:443",
        (PIN,),
    )
    assert "hushhush" not in declaration
