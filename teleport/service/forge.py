"""Commit statuses as GitHub, GitLab and Gitea take them. Pure: what to post, not how it gets there."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from teleport.gitops.loop import SourceState
from teleport.service.notices import CommitState
from teleport.service.notifications import CommitStatus

__all__ = ["described", "posted"]

_LONGEST: Final = 140
"""Characters of a description that GitHub takes."""
_GITLAB: Final[Mapping[CommitState, str]] = {
    "pending": "running", "success": "success", "failure": "failed", "error": "failed",
}  # fmt: skip


def described(state: SourceState, shown: CommitState, *, details: bool) -> str:
    """One line about a commit."""
    count = len(state.problems)
    if shown == "success":
        text = f"In force: {state.objects} objects at revision {state.revision}"
    elif shown == "pending":
        text = "Read; being judged"
    elif shown == "error":
        text = "Could not be applied yet; it is tried again"
    else:
        text = f"Refused ({state.reason}): {count} problem{'' if count == 1 else 's'}; see tctl policy status"
    if details and shown == "failure":
        text = f"Refused ({state.reason}): {state.message}"
    printable = "".join(char if char.isprintable() else " " for char in text)
    return printable if len(printable) <= _LONGEST else f"{printable[: _LONGEST - 1]}…"


def posted(
    forge: CommitStatus, token: str, *, commit: str, state: CommitState, description: str, context: str
) -> tuple[str, bytes, Mapping[str, str]]:
    """The address, the body and the headers of a commit's status."""
    base = forge.api_url.rstrip("/")
    body: dict[str, Any] = {"state": state, "description": description, "context": context}
    if forge.target_url:
        body["target_url"] = forge.target_url
    if forge.forge == "gitlab":
        url = f"{base}/projects/{quote(forge.repository, safe='')}/statuses/{commit}"
        body["name"], body["state"] = body.pop("context"), _GITLAB[state]
        return url, json.dumps(body).encode(), {"PRIVATE-TOKEN": token}
    url = f"{base}/repos/{forge.repository}/statuses/{commit}"
    if forge.forge == "gitea":
        return url, json.dumps(body).encode(), {"Authorization": f"token {token}"}
    github = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    return url, json.dumps(body).encode(), {"Authorization": f"Bearer {token}", **github}
