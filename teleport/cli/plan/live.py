"""What a running cluster has in force, read through the API: policy kinds and hosts, no secrets, no sessions."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from teleport.access.readers import Reader, unsaid
from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.cli.emergency import beside
from teleport.cli.plan.states import State
from teleport.core.errors import AccessDenied, BadInput, TeleportError
from teleport.gitops.ceiling import Ceiling
from teleport.resources.codec import UnknownVersion, from_dict
from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.model import Origin
from teleport.resources.node import Node
from teleport.resources.reading import Reads, own_reads

__all__ = ["EVERY", "hosts_of", "live_state"]

EVERY: Final = "*"
"""All sources together."""
_PRESENCE: Final = "presence"
_PRESET: Final = "preset"
_API: Final = "api"


async def live_state(client: ApiClient, source: str) -> State:
    """Everything in force; what belongs to other sources than this one (or the only one) is told apart.

    Of EVERY source nothing is: as if one declared it all.
    """
    rows = [
        row for kind, cls in KINDS.items() if not cls.secret
        for row in (await client.call(r.RESOURCES, m.ResourceQuery(kind=kind))).resources
    ]  # fmt: skip
    resources, unreadable = _parsed(row for row in rows if row.source not in (_PRESENCE, _PRESET))
    hosts, _ = _parsed(row for row in rows if row.source == _PRESENCE)
    owner = source or _only_source(resources)
    status, told = await _status(client)
    notes, readers = await _services(client, status)
    return State(
        "the running cluster",
        tuple(resources),
        owner=owner,
        others={(one.kind, one.name): one for one in resources if owner not in (EVERY, one.origin.source)},
        hosts=tuple(one for one in hosts if isinstance(one, Node)),
        unreadable=unreadable,
        notes=(*_tokens(), *_emergencies(status), *told, *notes, *_strange(status, source)),
        readers=readers,
        ceiling=_ceiling(status, owner),
        bounded=frozenset(
            one.name for one in (status.sources if status is not None else ()) if one.ceiling is not None
        ),
    )


async def hosts_of(client: ApiClient) -> list[dict[str, Any]]:
    """The hosts that report themselves, as documents with names and labels alone."""
    rows = (await client.call(r.RESOURCES, m.ResourceQuery(kind=Node.kind))).resources
    return [_labels_alone(row.resource) for row in rows if row.source == _PRESENCE]


def _labels_alone(body: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": body["metadata"]["name"], "labels": body["metadata"].get("labels") or {}}
    spec = {"hostname": body.get("spec", {}).get("hostname") or metadata["name"]}
    return {"kind": Node.kind, "version": body["version"], "metadata": metadata, "spec": spec}


def _parsed(rows: Iterable[m.Resource]) -> tuple[list[AnyResource], dict[str, str]]:
    found: list[AnyResource] = []
    unreadable: dict[str, str] = {}
    for row in rows:
        body = row.resource
        metadata = {key: value for key, value in body["metadata"].items() if key != "revision"}
        try:
            resource = from_dict({**body, "metadata": metadata})
        except UnknownVersion as error:
            unreadable[f"{body['kind']}/{metadata['name']}"] = str(error)
            continue
        found.append(resource.with_origin(Origin(source=row.source, file=row.file, line=row.line)))
    return found, unreadable


def _only_source(resources: Sequence[AnyResource]) -> str:
    sources = sorted({one.origin.source for one in resources} - {_API, ""})
    if len(sources) > 1:
        raise BadInput(
            f"the cluster has several sources of policy: {', '.join(sources)}", hint="say which with --source NAME"
        )
    return sources[0] if sources else ""


def _tokens() -> Sequence[str]:
    secret = ", ".join(f"{kind}s" for kind, cls in KINDS.items() if cls.secret)
    return (f"{secret} are not compared with the running cluster: their names are secrets",)


def _emergencies(status: m.PolicyStatus | None) -> Sequence[str]:
    """What is in force past what is compared."""
    return beside(status.emergencies) if status is not None else ()


async def _status(client: ApiClient) -> tuple[m.PolicyStatus | None, Sequence[str]]:
    """Of the policy's sources and of connected services, where the caller may know."""
    try:
        return await client.call(r.POLICY_STATUS, m.Empty()), ()
    except AccessDenied:
        return None, (
            "whether the source has a ceiling, and what services can read, is not known: that takes the right to read "
            "policy",
        )
    except TeleportError as error:
        return None, (f"what connected services can read is not known: {error.message}",)


def _ceiling(status: m.PolicyStatus | None, source: str) -> Ceiling | None:
    found = next((one.ceiling for one in status.sources if one.name == source), None) if status is not None else None
    return Ceiling.from_wire(found) if found is not None else None


def _strange(status: m.PolicyStatus | None, source: str) -> Sequence[str]:
    """That no source has the name that was given, which may be a slip."""
    names = [one.name for one in status.sources] if status is not None else []
    if status is None or source in ("", EVERY, _API, *names):
        return ()
    has = f"; it has {', '.join(sorted(names))}" if names else ""
    return (f"the cluster has no source of the name {source}{has}",)


async def _services(client: ApiClient, status: m.PolicyStatus | None) -> tuple[Sequence[str], Sequence[Reader]]:
    """What connected services report that they cannot read, and what they read."""
    if status is None:
        return (), ()
    services, formats = status.services, (await client.call(r.FORMATS, m.Empty())).formats
    known, own = {name: Reads.of(one.versions, one.fields) for name, one in formats.items()}, own_reads().format
    readers = [
        Reader(one.hostname, one.version, known.get(one.format))
        for one in services
        if one.format != own  # who reads what this program reads, reads all that it can compare
    ]
    reports = [
        f"the service on {one.hostname} (version {one.version}) reports: {problem}"
        for one in services
        for problem in one.problems
    ]
    silent = unsaid(readers)
    return [*reports, *([silent] if silent else [])], readers
