"""The section `policies` of teleport.yaml: a folder or a branch of a repository, and whose commits count.

Fields, types, defaults and what cannot be meant; nothing here fetches anything.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field, model_validator

from teleport.gitops import address
from teleport.gitops.address import DEFAULT_BRANCH, GitAddress
from teleport.gitops.guards.settings import GuardSettings
from teleport.resources.faults import Fault, raise_faults
from teleport.resources.values import Duration, Text
from teleport.service.sections import Section

__all__ = ["Git", "Guards", "Policies"]

_PLAIN_PATH: Final = re.compile(r"/[^\s%\"'\\]*")


def _plain_path(text: str) -> str:
    """Programs get it as part of a setting, and run elsewhere."""
    if not _PLAIN_PATH.fullmatch(text):
        raise_faults([Fault((), f"{text!r} is no absolute path without blanks, quotes and %", "")])
    return text


_PathText = Annotated[Text, AfterValidator(_plain_path)]


class Verify(Section):
    """Whose signatures a commit needs."""

    allowed_signers: _PathText = Field(
        description="file of OpenSSH's format: principals, options, keys (ssh-keygen(1), ALLOWED SIGNERS)",
        examples=["/etc/teleport/allowed_signers"],
    )
    required: int = Field(
        default=1, ge=1, le=10,
        description="how many different people must have signed: the commit, and tags approve/COMMIT of it",
    )  # fmt: skip
    revoked: _PathText | None = Field(
        default=None, description="file of revoked keys, or a key revocation list (ssh-keygen -k)",
        examples=["/etc/teleport/revoked_signers"],
    )  # fmt: skip


class GitAccess(Section):
    """What a repository asks for before it is read, and how it is known to be the right one."""

    token_file: _PathText | None = Field(
        default=None, description="for https: a file with the password or token", examples=["/etc/teleport/git-token"]
    )
    username: Text = Field(default="git", description="for https: the user that goes with the token")
    ssh_key: _PathText | None = Field(
        default=None, description="for ssh: the private key, without passphrase", examples=["/etc/teleport/git-key"]
    )
    known_hosts: _PathText | None = Field(
        default=None, description="for ssh: the server's keys", examples=["/etc/teleport/git-known-hosts"]
    )
    ca_file: _PathText | None = Field(
        default=None, description="for https: the authorities to trust, instead of the system's",
        examples=["/etc/teleport/git-ca.pem"],
    )  # fmt: skip


class Git(Section):
    """A branch of a repository that governs the cluster."""

    url: Text = Field(
        description="https://, ssh:// or file://; http:// and git:// only with verify",
        examples=["https://git.example.com/acme/policy.git"],
    )
    branch: Text = Field(default=DEFAULT_BRANCH, description="the branch whose head is in force")
    path: Text = Field(default="", description="the folder with the policy; empty for all of it", examples=["policies"])
    interval: Duration = Field(default=30.0, description="how often the repository is asked for news")
    credentials: GitAccess = Field(default_factory=GitAccess, description="how to read the repository")
    verify: Verify | None = Field(
        default=None, description="whose signatures every new commit needs; without it, whoever can push governs"
    )

    @model_validator(mode="after")
    def _sensible(self) -> "Git":
        raise_faults(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        for place, fault in (
            ("url", address.url_fault(self.url)), ("branch", address.branch_fault(self.branch)),
            ("path", address.path_fault(self.path)),
        ):  # fmt: skip
            if fault:
                yield Fault((place,), fault, "")
        scheme, own = self.url.partition(":")[0], self.credentials
        if scheme in ("http", "git") and self.verify is None:
            yield Fault(
                ("url",), f"whoever is on the way can change what {scheme}:// brings", "use https, or set verify"
            )
        if own.token_file and scheme != "https":
            yield Fault(("credentials", "token_file"), "only https:// takes a token", "remove it")
        if scheme == "ssh" and not (own.ssh_key and own.known_hosts):
            yield Fault(("credentials",), "ssh:// needs ssh_key and known_hosts", "name both files")

    @property
    def address(self) -> GitAddress:
        return GitAddress.checked(self.url, self.branch, self.path)


class Guards(GuardSettings, Section):
    """What a change must not do by itself."""


class Policies(Section):
    """Where the policy comes from: a folder or a repository."""

    dir: Text | None = Field(
        default=None,
        description="a folder of YAML; every change is in force within a second", examples=["/etc/teleport/policies"],
    )  # fmt: skip
    git: Git | None = Field(default=None, description="instead of a folder: a branch of a git repository")
    name: Text = Field(
        default="", description="the source's name, as ownership and the audit log show it; without it, folder or git"
    )
    interval: Duration = Field(default=30.0, description="how often everything in a folder is compared anyway")

    guards: Guards = Field(default_factory=Guards, description="what a change must not do unless somebody else agrees")
    people: Mapping[Text, Text] = Field(
        default_factory=dict, examples=[{"ann@example.com": "ann"}],
        description="who signs: a principal of allowed_signers to a user of the cluster, or to nothing for a machine",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one(self) -> "Policies":
        aside = bool(self.model_fields_set & {"guards", "people"})
        if (self.dir is None) == (self.git is None) and not (aside and self.dir is None):
            raise_faults([Fault((), "policies come from dir or from git", "set one of them")])
        return self

    @property
    def governs(self) -> bool:
        """Whether there is a source, or only what holds for whatever is written."""
        return self.dir is not None or self.git is not None

    @property
    def source(self) -> str:
        """The name that the source has."""
        return self.name or ("git" if self.git is not None else "folder")
