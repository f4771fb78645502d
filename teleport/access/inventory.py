"""Which hosts there are, with which labels; and two fleets in which a host has one place. Knows no rules."""

from collections.abc import Collection, Iterable, Mapping

from teleport.access.fleet import Fleet
from teleport.access.target import Target
from teleport.resources.node import Node

__all__ = ["aligned", "declared_hosts", "known_hosts", "labelled", "plain_hosts"]


def labelled(host: Node, declared: Mapping[str, Node]) -> Target:
    """A host that reported itself, as decisions see it: a declared node of its name gives labels that win."""
    labels = dict(host.metadata.labels)
    labels.update({name: command.result for name, command in host.spec.cmd_labels.items() if command.result})
    named = declared.get(host.hostname)
    if named is not None:
        labels.update(named.metadata.labels)
    return Target("node", host.hostname, host.name, labels)


def declared_hosts(declared: Mapping[str, Node]) -> list[Target]:
    """The declared nodes as if each were a host: where nobody knows which hosts there are."""
    return [Target("node", node.hostname, node.name, node.metadata.labels) for node in declared.values()]


def plain_hosts(declared: Mapping[str, Node], taken: Collection[str]) -> dict[str, Node]:
    """The declared hosts without agents, by id. A name or an id that an agent has is the agent's: `taken`."""
    return {
        node.name: node
        for name, node in declared.items()
        if node.is_plain and name not in taken and node.name not in taken
    }


def known_hosts(inventory: Iterable[Node], declared: Mapping[str, Node]) -> list[Target]:
    """The hosts of an inventory, and those plain ones that exist by being declared."""
    hosts = [labelled(host, declared) for host in inventory]
    names = {host.name for host in hosts}
    plain = {name: node for name, node in declared.items() if node.sub_kind.startswith("openssh") and name not in names}
    return [*hosts, *declared_hosts(plain)]


def aligned(before: Iterable[Target], after: Iterable[Target]) -> tuple[Fleet, Fleet]:
    """Two fleets in which the same bit stands for the same host. They are one object if nothing differs."""
    was, will = {host.uid: host for host in before}, {host.uid: host for host in after}
    if was == will:
        fleet = Fleet("node", was.values())
        return fleet, fleet
    gone = [uid for uid in was if uid not in will]
    first, second = Fleet("node", was.values()), Fleet("node", (was | will).values())
    for uid in gone:
        second.remove(uid)
    return first, second
