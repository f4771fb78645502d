"""The reference page of audit events, in Markdown: the catalogue, and in words what each field says."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Final

from teleport.audit.events import CATALOGUE, Event, ResourceChanged, SessionLeft

__all__ = ["MEANINGS", "reference"]

MEANINGS: Final = {
    "event": "the type",
    "code": "the type and how it went: the last letter is I for what happened, S for its end, W for what was refused, "
    "E for an error",
    "time": "when, as RFC 3339 in UTC with milliseconds",
    "uid": "the event's own id; an event sent twice is written once",
    "seq": "its number in the log, without gaps",
    "prev": "SHA-256 of the line before; `tctl audit verify` follows it",
    "cluster_name": "the cluster",
    "user": "who did it: a user, a service, or somebody at the local administration socket",
    "user_kind": "1 for people, 2 for services",
    "user_roles": "the roles they held",
    "impersonator": "who acted under the name of another",
    "success": "whether it succeeded, where that is a question",
    "error": "why it did not",
    "addr.remote": "address of the peer",
    "sid": "the session's id",
    "connection": "the connection that the session is on, by its `sid` in `session.connect` of the user's own cluster: "
    "the same in both logs, and `--session` takes it",
    "ei": "number of the event within its session",
    "server_id": "the host, by its UUID",
    "server_hostname": "the host, by its name",
    "login": "the operating system user",
    "proto": "the protocol",
    "with_mfa": "whether the certificate proves a second factor",
    "name": "name of the resource, of the user, of the subsystem or of the file",
    "source": "the source of policy that declares it",
    "file": "the file that declares it, or that allowed or refused",
    "line": "the line there",
    "column": "the column there",
    "commit": "the commit that wrote that file last, of a source that has commits",
    "revision": "revision of the policy that the change made",
    "expires": "when the resource ceases",
    "action": "created, updated or deleted; of files, what was done to them",
    "policy_revision": "revision of the policy that decided",
    "role": "the role that decided; of a join, what the service joined as",
    "roles": "roles of the user, or of those who join",
    "target": "whom the lock is for",
    "message": "what those locked out are told",
    "join_method": "how the joining side proves itself",
    "method": "how somebody logged in, or a service joined",
    "user_agent": "the program that logged in",
    "mfa_device_type": "kind of second factor",
    "ttl": "how long it is good for",
    "created": "resources created",
    "updated": "resources changed",
    "deleted": "resources deleted",
    "problems": "what is wrong, each with file, line and column",
    "cert_type": "whom it is for",
    "identity": "what the certificate says",
    "grants": "the roles in the certificate, each with the source, file, line, column and commit that declare it",
    "token_name": "the token, masked",
    "host_id": "the host's UUID",
    "node_name": "the host's name",
    "reason": "why",
    "max": "the limit that was reached",
    "size": "columns and rows of the terminal",
    "interactive": "whether there is a terminal",
    "initial_command": "the command, where one was asked for",
    "session_recording": "where the session is recorded",
    "participants": "everybody who took part",
    "session_start": "when it began",
    "session_stop": "when it ended",
    "recording_sha256": "digest of the recording",
    "recording_bytes": "length of the recording",
    "recording_error": "why the recording is not whole",
    "tx": "bytes sent to the client",
    "rx": "bytes received from the client",
    "secrets_discarded": "whether the secrets were given up, because their key was lost",
    "url": "where the recording lies",
    "session_type": "the protocol of the recording",
    "format": "how it was read",
    "command": "the command",
    "exitCode": "its exit status",
    "exitError": "why it could not run",
    "addr": "where a forwarded connection leads or comes from, or what listens for them",
    "kind": "what was forwarded: local; remote, agent or display for what listens; those with -connection",
    "path": "the file or folder, as the client named it; bytes that are no UTF-8 as `\\xNN`",
    "target_path": "where it was moved or copied to; of a link, what it leads to",
    "working_directory": "where relative paths begin",
    "flags": "how it was opened: the sum of 1 read, 2 write, 4 append, 8 create, 16 truncate, 32 only if it is new",
    "attributes": "what was set, of size, uid, gid, permissions, atime and mtime",
    "bytes_read": "bytes read from the file while it was open",
    "bytes_written": "bytes written to the file while it was open",
}
"""Field to what it says, as it is written in events."""

_INTRODUCTION: Final = """\
# Audit events

<!-- Generated by `python -m teleport.audit.render`; do not edit. -->

Every event is a JSON object on a line of its own. `tctl audit search` finds events, `tctl audit verify` proves that
none was changed or removed. Fields that say nothing (empty, zero) are left out. Passwords, secret token names and
keys appear in no event.
"""


def reference() -> str:
    """The page."""
    common, session, change = _own(Event), _own(SessionLeft), _own(ResourceChanged)
    parts = [
        _INTRODUCTION,
        *_table("Fields of every event", ["event", "code", "seq", "prev", *common]),
        *_table("Fields within a session", [name for name in session if name not in common]),
        *_table("Fields of a change", [name for name in change if name not in common]),
        *_events(common, session, change),
    ]
    return "\n".join(parts) + "\n"


def _own(cls: type[Event]) -> list[str]:
    """The fields of a type as they are written."""
    return [one.name.replace("__", ".") for one in fields(cls) if one.name != "outcome"]


def _table(title: str, names: Iterable[str]) -> Iterator[str]:
    yield f"## {title}\n\n| field | meaning |\n|---|---|"
    for name in names:
        yield f"| `{name}` | {MEANINGS.get(name, '')} |"
    yield ""


def _events(common: list[str], session: list[str], change: list[str]) -> Iterator[str]:
    rest: set[str] = set()
    yield "## Events\n\n| event | codes | what happened | fields beyond those of every event |\n|---|---|---|---|"
    for cls in CATALOGUE.values():
        names, told = [name for name in _own(cls) if name not in common], []
        for group, shared in (("those within a session", session), ("those of a change", change)):
            if set(shared) <= {*names, *common}:
                told.append(group)
                names = [name for name in names if name not in shared]
        rest |= set(names)
        told += [f"`{name}`" for name in names]
        yield f"| `{cls.event}` | {', '.join(cls.codes)} | {cls.summary} | {', '.join(told)} |"
    yield ""
    yield from _table("Fields of single events", sorted(rest.difference(session, change)))
