"""Where the past is read from: the repository around a folder, or the running cluster with its copy of one.

A clone needs no cluster, and knows only the hosts that are declared or named. The cluster knows all of its hosts.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from teleport.core.errors import BadInput

if TYPE_CHECKING:
    from teleport.api.models import Message
    from teleport.api.routes import Route
    from teleport.cli.tctl import Target
    from teleport.gitops.history.answers import History

__all__ = ["Means", "history_options", "opened"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
RequestT = TypeVar("RequestT", bound="Message")
ResponseT = TypeVar("ResponseT", bound="Message")


def history_options(command: F) -> F:
    """The options that say where the past is read from, passed as `repository`, `live`, `fleet` and `signers`."""
    for option in (
        click.option(
            "--allowed-signers", "signers", type=click.Path(path_type=Path), metavar="FILE",
            help="Of a repository: whose signatures count, as in policies.git.verify.",
        ),
        click.option(
            "--inventory", "fleet", type=click.Path(path_type=Path), metavar="FILE",
            help="Of a repository: the hosts there are, as `tctl policy inventory` prints them.",
        ),
        click.option(
            "--live", is_flag=True, help="Ask the running cluster, which has a copy of the repository that governs it."
        ),
        click.option(
            "--repository", default="", metavar="DIR[:PATH]",
            help="The repository around DIR, and the folder in it that holds the policy: DIR itself, or PATH.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@dataclass(frozen=True)
class Means:
    """What the options say."""

    target: "Target"
    repository: str = ""
    live: bool = False
    fleet: Path | None = None
    signers: Path | None = None

    @property
    def by_cluster(self) -> bool:
        """Whether the cluster is asked: if it is said so, or if there is no repository to be seen."""
        named = any((self.target.data_dir, self.target.config, self.target.identity))
        if self.repository and self.live:
            raise BadInput("--repository and --live exclude each other")
        return self.live or (not self.repository and (named or not _in_a_repository()))

    def ask(
        self, route: "Route[RequestT, ResponseT]", request: RequestT,
        answer: Callable[["History", RequestT], Awaitable[ResponseT]],
    ) -> ResponseT:  # fmt: skip
        """What the cluster answers, or what the repository does."""
        if self.by_cluster:
            from teleport.cli.admin import ask

            self._refuse_local_options()
            return ask(self.target, route, request)
        return self.locally(lambda history: answer(history, request))

    def locally(self, work: Callable[["History"], Awaitable[T]]) -> T:
        """What the repository says."""
        from teleport.cli.connect import run

        async def whole() -> T:
            return await work(opened(self.repository or ".", fleet=self.fleet, signers=self.signers))

        return run(whole())

    def _refuse_local_options(self) -> None:
        if self.fleet is not None or self.signers is not None:
            raise BadInput(
                "the cluster knows its hosts and its signers by itself",
                hint="leave out --inventory and --allowed-signers, or name a --repository",
            )


def opened(text: str, *, fleet: Path | None = None, signers: Path | None = None) -> "History":
    """The past of what is checked out in a repository. Raises BadInput where there is none."""
    from teleport.cli.plan.states import read_inventory
    from teleport.gitops.history.answers import History
    from teleport.gitops.history.branch import Around, Branch
    from teleport.gitops.history.commits import LocalObjects, Notes
    from teleport.gitops.signatures import Verification, Verifier

    repository, path = _meant(text)
    branch = Branch(repository, repository.commit("HEAD", path))
    verifier = None
    if signers is not None:
        verifier = Verifier(LocalObjects(repository), Verification(signers.resolve()))
    hosts = read_inventory(fleet) if fleet is not None else ()
    return History(branch, Notes(repository, verifier), Around(hosts))


def _meant(text: str) -> tuple[Any, str]:
    """A repository, and the folder in its commits."""
    from teleport.gitops.revision import Repository

    folder, path = Path(text), ""
    if not folder.is_dir():
        before, colon, path = text.rpartition(":")
        folder = Path(before)
        if not colon or not folder.is_dir():
            raise BadInput(f"{text} is not a folder", hint="write DIR, or DIR:PATH with the folder within its commits")
        return Repository(folder), path
    repository = Repository(folder)
    try:
        root = repository.root
    except BadInput:
        return repository, ""  # a bare one has no working tree
    inside = folder.resolve().relative_to(root.resolve())
    return repository, "" if inside == Path() else inside.as_posix()


def _in_a_repository() -> bool:
    from teleport.gitops.revision import Repository

    try:
        return Repository(Path()).root.is_dir()
    except BadInput:
        return False
