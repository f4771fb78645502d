"""What teleport.yaml says of who is told: receivers of messages, and the forge that shows what became of a commit.

Fields, types, defaults and what cannot be meant; nothing here is sent.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.values import Switch, Text
from teleport.service.sections import Section

__all__ = ["WORDS", "CommitStatus", "Receiver", "Word", "receiver_faults"]

Word = Literal[
    "applied",
    "stalled",
    "recovered",
    "drift",
    "override",
    "break_glass",
    "rollback",
    "suspended",
    "resumed",
    "approved",
    "adoption",
    "owner_changed",
]
WORDS: Final[tuple[Word, ...]] = get_args(Word)

_PRINTABLE: Final = re.compile(r"[!-~]+")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+|[0-9]+")
_GITHUB: Final = "https://api.github.com"


def _url_fault(url: str) -> str:
    """What is wrong with an address that something is sent to; never repeats it, for it may hold a secret."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is not a URL"
    if not _PRINTABLE.fullmatch(url) or not host:
        return "is not a URL"
    if parts.username is not None or parts.fragment:
        return "holds a user, a password or a fragment"
    if parts.scheme == "https" or (parts.scheme == "http" and _loopback(host)):
        return ""
    return "must begin with https://; http:// is for this machine alone"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(text: str) -> str:
    fault = _url_fault(text)
    if fault:
        raise_faults([Fault((), f"the address {fault}", "")])
    return text


def _file(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise_faults([Fault((), f"{text!r} is no absolute path", "")])
    return text


_Url = Annotated[Text, AfterValidator(_url)]
_File = Annotated[Text, AfterValidator(_file)]


class Receiver(Section):
    """Somebody who is told what becomes of the policy."""

    url: _Url = Field(
        description="where messages are posted as JSON; http:// for this machine alone",
        examples=["https://hooks.example.com/teleport"],
    )
    name: Text = Field(default="", description="as metrics and the log call it; without it, the host of the url")
    secret_file: _File | None = Field(
        default=None, description="a file with the key that signs messages (HMAC-SHA256)",
        examples=["/etc/teleport/hook-secret"],
    )  # fmt: skip
    on: tuple[Word, ...] = Field(default=WORDS, min_length=1, description="what is told; without it, everything")
    details: Switch = Field(
        default=False, description="also problems in full and who did it: they name people, hosts and files"
    )
    ca_file: _File | None = Field(
        default=None, description="the authorities to trust, instead of the system's", examples=["/etc/teleport/ca.pem"]
    )

    @field_validator("on", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def label(self) -> str:
        """Says which one it is, and nothing secret."""
        return self.name or urlsplit(self.url).hostname or ""


class CommitStatus(Section):
    """The forge that shows beside each commit what became of it."""

    forge: Literal["github", "gitlab", "gitea"] = Field(default="github", description="what kind of server it is")
    api_url: _Url = Field(
        default=_GITHUB, description="the server's API; of Gitea it ends in /api/v1, of GitLab in /api/v4",
        examples=[_GITHUB],
    )  # fmt: skip
    repository: Text = Field(description="OWNER/NAME, or GitLab's number of the project", examples=["acme/policy"])
    token_file: _File = Field(
        description="a file with a token that may write commit statuses, and nothing else",
        examples=["/etc/teleport/status-token"],
    )
    context: Text = Field(default="", description="the status's name; without it, teleport/ and the cluster's name")
    target_url: Text = Field(default="", description="where the status links to", examples=["https://wiki.example.com"])
    details: Switch = Field(
        default=False, description="also the first problem in full, which may name people and hosts"
    )
    ca_file: _File | None = Field(
        default=None, description="the authorities to trust, instead of the system's", examples=["/etc/teleport/ca.pem"]
    )

    @model_validator(mode="after")
    def _sensible(self) -> "CommitStatus":
        if not _REPOSITORY.fullmatch(self.repository) or ".." in self.repository:
            raise_faults([Fault(("repository",), f"{self.repository!r} is not OWNER/NAME", "")])
        if self.forge != "github" and self.api_url == _GITHUB:
            raise_faults([Fault(("api_url",), f"missing: where the API of this {self.forge} is", "")])
        return self


def receiver_faults(receivers: Sequence[Receiver]) -> list[Fault]:
    """Receivers are told apart by their labels."""
    labels = [one.label for one in receivers]
    return [
        Fault((index, "name"), f"there is another receiver {label}", "give each a name of its own")
        for index, label in enumerate(labels)
        if label in labels[:index]
    ]
