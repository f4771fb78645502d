"""The section `policies` of teleport.yaml: the folders, branches and namespaces that govern, and their ceilings.

Fields, types, defaults and what cannot be meant; nothing here fetches anything.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field, field_validator, model_validator

from teleport.access.overlays import LONGEST
from teleport.gitops import address
from teleport.gitops.address import DEFAULT_BRANCH, GitAddress
from teleport.gitops.ceiling import Ceiling
from teleport.gitops.guards.settings import GuardSettings
from teleport.resources.faults import Fault, raise_faults
from teleport.resources.values import Duration, Switch, Text, duration_text
from teleport.service.ceiling import CeilingSection
from teleport.service.notifications import CommitStatus, Receiver, receiver_faults
from teleport.service.secrets import Secrets
from teleport.service.sections import Section

__all__ = [
    "API", "EVERYWHERE", "SETTINGS", "BreakGlass", "Git", "Guards", "Kubernetes", "Policies", "PolicySource",
    "ceiling_of", "has_ceiling", "may_adopt",
]  # fmt: skip

API: Final = "api"
"""The source that everything written through the API belongs to."""
SETTINGS: Final = "teleport.yaml"
"""The source of what teleport.yaml itself says of the cluster."""
EVERYWHERE: Final = "*"
"""Every namespace that no source names: each is a source of its own, SOURCE/NAMESPACE."""
_RESERVED: Final = (API, SETTINGS, "preset", "presence")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
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


class Webhook(Section):
    """How a server tells that something was pushed: POST /webhooks/policy/NAME at the proxy."""

    secret_file: _PathText = Field(
        description="file with the secret that the server signs with: 16 characters or more; read at each request",
        examples=["/etc/teleport/webhook-secret"],
    )


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
    webhook: Webhook | None = Field(
        default=None, description="fetch at once when GitHub, GitLab, Gitea or Forgejo tells of a push"
    )
    verify: Verify | None = Field(
        default=None, description="whose signatures every new commit needs; without it, whoever can push governs"
    )
    commit_status: CommitStatus | None = Field(
        default=None, description="the forge that shows beside each commit what became of it"
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
            yield Fault(("credentials",), "ssh:// needs ssh_key and known_hosts", "name both files in teleport.yaml")

    @property
    def address(self) -> GitAddress:
        return GitAddress.checked(self.url, self.branch, self.path)


class Kubernetes(Section):
    """A namespace whose manifests govern, as an operator brings them."""

    namespace: Text = Field(
        description="its name; `*` is every namespace that no other source names, each a source of its own, "
        "NAME/NAMESPACE, and `{namespace}` stands for it in the ceiling",
        examples=["team-b"],
    )

    @field_validator("namespace")
    @classmethod
    def _name(cls, name: str) -> str:
        if name != EVERYWHERE and not NAMESPACE.fullmatch(name):
            raise_faults([Fault((), f"{name!r} is no name of a namespace", "small letters, digits and -")])
        return name


class PolicySource(Section):
    """One of several sources of policy."""

    name: Text = Field(
        description="its name, as ownership and the audit log show it; `api` for what is written through the API",
        examples=["team-b"],
    )
    dir: Text | None = Field(default=None, description="a folder of YAML", examples=["/etc/teleport/team-b"])
    git: Git | None = Field(default=None, description="instead of a folder: a branch of a git repository")
    kubernetes: Kubernetes | None = Field(
        default=None, description="instead of a folder: a namespace of Kubernetes, which an operator brings"
    )
    interval: Duration = Field(
        default=30.0, description="how often everything in a folder or a namespace is compared anyway"
    )
    ceiling: CeilingSection | None = Field(
        default=None, description="what it may own and give; required of all but the first and `api`",
        examples=[{"owns": {"role": ["team-b-*"]}, "logins": ["app"], "node_labels": {"team": "b"}}],
    )  # fmt: skip

    @property
    def everywhere(self) -> bool:
        """Whether it is no source itself, but each namespace is one that it speaks of."""
        return self.kubernetes is not None and self.kubernetes.namespace == EVERYWHERE

    def within(self, namespace: str) -> "PolicySource":
        """The source that one namespace is, of all."""
        return PolicySource.model_construct(
            name=f"{self.name}/{namespace}", kubernetes=Kubernetes(namespace=namespace), interval=self.interval
        )

    @model_validator(mode="after")
    def _sensible(self) -> "PolicySource":
        raise_faults(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        if self.name == API:
            if (self.dir, self.git, self.kubernetes) != (None, None, None):
                yield Fault((), "the source api is what is written through the API", "give it a ceiling alone")
            return
        yield from _name_faults(self.name)
        if sum(one is not None for one in (self.dir, self.git, self.kubernetes)) != 1:
            yield Fault((), "a source comes from dir, from git or from kubernetes", "set one of them")


class Guards(GuardSettings, Section):
    """What a change must not do by itself."""


def _at_most_a_day(seconds: float) -> float:
    if not 1 <= seconds <= LONGEST:
        raise_faults([Fault((), f"an emergency of {duration_text(seconds)}", "from 1s to 24h")])
    return seconds


class BreakGlass(Section):
    """Emergency changes of what a source declares, past it: for a while, and never of who may administer."""

    enabled: Switch = Field(default=True, description="whether there are any")
    max_ttl: Annotated[Duration, AfterValidator(_at_most_a_day)] = Field(
        default=3600.0, description="the longest that one may last; at most 24h"
    )


class Policies(Section):
    """Where the policy comes from: a folder, a repository, or several of them."""

    dir: Text | None = Field(
        default=None,
        description="a folder of YAML; every change is in force within a second", examples=["/etc/teleport/policies"],
    )  # fmt: skip
    git: Git | None = Field(default=None, description="instead of a folder: a branch of a git repository")
    name: Text = Field(
        default="", description="the source's name, as ownership and the audit log show it; without it, folder or git"
    )
    interval: Duration = Field(default=30.0, description="how often everything in a folder is compared anyway")
    sources: tuple[PolicySource, ...] = Field(
        default=(), description="instead of one folder or branch: several, and what each may do at most"
    )
    guards: Guards = Field(default_factory=Guards, description="what a change must not do unless somebody else agrees")
    people: Mapping[Text, Text] = Field(
        default_factory=dict, examples=[{"ann@example.com": "ann"}],
        description="who signs: a principal of allowed_signers to a user of the cluster, or to nothing for a machine",
    )  # fmt: skip
    secrets: Secrets = Field(
        default_factory=Secrets, description="what policy may refer to as a secret, instead of holding it"
    )

    break_glass: BreakGlass | None = Field(
        default=None, description="what those may do whose rules name the verb break_glass; without it, nothing"
    )
    notify: tuple[Receiver, ...] = Field(default=(), description="who else is told what becomes of the policy")

    @model_validator(mode="after")
    def _sensible(self) -> "Policies":
        raise_faults(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        given = [self.dir is not None, self.git is not None, any(one.name != API for one in self.sources)]
        aside = bool(self.model_fields_set & {"guards", "people"})
        if sum(given) > 1 or not (any(given) or aside):
            yield Fault((), "policies come from dir or from git, or from several sources", "set one of them")
        if self.name:
            yield from _name_faults(self.name)
        if given[2]:
            for field in ("name", "interval"):
                if field in self.model_fields_set and getattr(self, field):
                    yield Fault((field,), f"each of several sources has its own {field}", "remove it")
        yield from self._source_faults()
        yield from (Fault(("notify", *one.path), one.message, one.hint) for one in receiver_faults(self.notify))

    def _source_faults(self) -> Iterator[Fault]:
        names = [one.name for one in self.sources]
        first = next((name for name in names if name != API), "")
        for index, one in enumerate(self.sources):
            if one.kubernetes is not None and one.kubernetes in [other.kubernetes for other in self.sources[:index]]:
                yield Fault(
                    ("sources", index, "kubernetes", "namespace"), "another source is this namespace already",
                    "each namespace is one source",
                )  # fmt: skip
            if one.name in names[:index]:
                yield Fault(("sources", index, "name"), f"two sources are named {one.name}", "objects belong to names")
            if one.ceiling is None and one.everywhere:
                yield Fault(
                    ("sources", index), f"the source {one.name} has no ceiling",
                    "whoever may make a namespace is bounded by nothing else",
                )  # fmt: skip
            elif one.ceiling is None and one.name not in (first, API):
                yield Fault(
                    ("sources", index), f"the source {one.name} has no ceiling",
                    f"every source but the first, {first}, needs one: say what it may own and give",
                )  # fmt: skip

    @property
    def governs(self) -> bool:
        """Whether there is a source, or only what holds for whatever is written."""
        return bool(self.all)

    @property
    def source(self) -> str:
        """The name that a source alone has."""
        return self.name or ("git" if self.git is not None else "folder")

    @property
    def all(self) -> tuple[PolicySource, ...]:
        """The folders, branches and namespaces, however they are written."""
        if self.dir is None and self.git is None:
            return tuple(one for one in self.sources if one.name != API)
        alone = PolicySource.model_construct(
            name=self.source, dir=self.dir, git=self.git, kubernetes=None, interval=self.interval
        )
        return (alone,)

    def taking(self, wanted: "Policies") -> "Policies":
        """This section with what can change while the process runs."""
        fresh = {one.name: one for one in wanted.sources}
        kept = tuple(
            one.model_copy(update={"interval": fresh[one.name].interval, "ceiling": fresh[one.name].ceiling})
            if one.name in fresh else one
            for one in self.sources
        )  # fmt: skip
        changes = {"interval": wanted.interval, "sources": kept, "break_glass": wanted.break_glass}
        changes |= {"guards": wanted.guards, "people": wanted.people, "notify": wanted.notify}
        return self.model_copy(update=changes)


def ceiling_of(policies: Policies | None, source: str) -> Ceiling | None:
    """A source's ceiling; None for those without one. What teleport.yaml does not name may do nothing."""
    known = {one.name: one for one in (*policies.sources, *policies.all)} if policies is not None else {}
    name, _, namespace = source.partition("/")
    entry = known.get(name)
    if entry is None or (namespace != "") != entry.everywhere:
        return None if source in (API, SETTINGS) else Ceiling()
    ceiling = entry.ceiling
    return ceiling.of(namespace) if ceiling is not None else None


def has_ceiling(policies: Policies | None, source: str) -> bool:
    """Whether teleport.yaml names a source and gives it a ceiling."""
    name = source.partition("/")[0]
    return policies is not None and any(one.name == name and one.ceiling is not None for one in policies.sources)


def may_adopt(policies: Policies | None, source: str, owner: str) -> bool:
    """Whether a label suffices to take over: for sources without a ceiling, from the API and from sources that are
    named no more."""
    if policies is None or owner == SETTINGS or ceiling_of(policies, source) is not None:
        return False
    return owner.partition("/")[0] not in {one.name for one in policies.all}


def _name_faults(name: str) -> Iterator[Fault]:
    if name in _RESERVED:
        yield Fault(("name",), f"the name {name} is taken by the cluster itself", "give the source another name")
    elif not _NAME.fullmatch(name):
        yield Fault(("name",), f"{name!r} is no name for a source", "letters, digits and . _ - are fine")
