"""What is asked and told about the history of policy: which commit, who, since when, and the text of rules."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from teleport.api.models import Message, Short

if TYPE_CHECKING:
    from teleport.access.decide import Decision

__all__ = [
    "CommitNote", "ExplainAnswer", "ExplainQuestion", "ObjectChange", "ObjectHistory", "ObjectQuery", "People",
    "PeopleQuery", "Person", "RulePlace", "RuleText", "SinceAnswer", "SinceQuestion", "Skipped", "Span", "Verdict",
]  # fmt: skip

MOST_COMMITS = 10_000


class CommitNote(Message):
    """A commit in a few words. All but the signer is what the commit says of itself."""

    id: str
    author: str = ""
    authored: str = ""
    """RFC 3339, in UTC."""
    subject: str = ""
    signature: Literal["verified", "refused", "unchecked", "unsigned"] = "unsigned"
    """By an allowed signer; by nobody who is one; not judged, as nobody says who may sign; none."""
    signer: str = ""


class RulePlace(Message):
    """Where a rule is written."""

    source: Short = ""
    file: str = Field(default="", max_length=4096)
    line: int = Field(default=0, ge=0)
    column: int = Field(default=0, ge=0)
    commit: str = Field(default="", pattern="^([0-9a-f]{40}|[0-9a-f]{64}|generation-[0-9]+)?$")
    """Of a manifest its generation, which no history knows."""


class RuleText(Message):
    """The document that a rule is written in, and the commit that wrote it. What is missing is said in `note`."""

    commit: CommitNote | None = None
    first_line: int = 0
    text: str = ""
    note: str = ""


class Verdict(Message):
    """A decision and what it rests on."""

    allowed: bool
    reasons: tuple[str, ...] = ()
    role: str = ""
    place: RulePlace = RulePlace()
    conditions: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, decision: "Decision") -> "Verdict":
        place = RulePlace(**{key: value for key, value in decision.rule.items() if key != "role"})
        return cls(
            allowed=decision.allowed, reasons=decision.reasons, role=decision.role or "", place=place,
            conditions=decision.to_dict()["conditions"],
        )  # fmt: skip


class Skipped(Message):
    """A commit that does not hold, so that what was before stayed in force."""

    commit: str
    problem: str


class ExplainQuestion(Message):
    user: Short
    login: Short
    node: Short


class ExplainAnswer(Message):
    """`at` is the commit that was asked about, where it was one; `held` where the user is given roles."""

    user: str
    login: str
    node: str
    verdict: Verdict
    held: RulePlace = RulePlace()
    at: CommitNote | None = None
    skipped: tuple[Skipped, ...] = ()


class ObjectQuery(Message):
    """`limit` counts commits that are read, not changes."""

    kind: Short
    name: Short
    source: Short = ""
    limit: int = Field(default=MOST_COMMITS, ge=1, le=MOST_COMMITS)


class ObjectChange(Message):
    """A change of an object. `in_force` is a later commit if the policy held only with that one."""

    action: Literal["created", "updated", "deleted", "there"]
    commit: CommitNote
    in_force: str = ""
    file: str = ""
    line: int = 0
    fields: tuple[dict[str, Any], ...] = ()


class ObjectHistory(Message):
    """Newest first. Unless `complete`, there are commits before the first that were not read."""

    kind: str
    name: str
    changes: tuple[ObjectChange, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    complete: bool = True


class SinceQuestion(ExplainQuestion):
    source: Short = ""
    limit: int = Field(default=MOST_COMMITS, ge=1, le=MOST_COMMITS)


class Span(Message):
    """A time in which it was allowed. Without a commit, it began or ended by the clock: something expired."""

    since: CommitNote | None = None
    verdict: Verdict
    until: CommitNote | None = None
    or_earlier: bool = False
    """It was so at the oldest commit that was read already."""
    over: bool = False
    ended_by: tuple[str, ...] = ()


class SinceAnswer(Message):
    """`spans` are oldest first; `now` is what holds at this moment. See `ObjectHistory` for `complete`."""

    user: str
    login: str
    node: str
    now: Verdict
    spans: tuple[Span, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    complete: bool = True


class PeopleQuery(Message):
    """`at` is a commit, a branch, a tag or a time."""

    node: Short
    login: Short = ""
    at: Short = ""
    source: Short = ""


class Person(Message):
    user: str
    logins: tuple[str, ...]
    role: str
    partner: str = ""
    """Instead of a user: the role of a trusted cluster whose holders reach it."""


class People(Message):
    node: str
    at: CommitNote
    people: tuple[Person, ...] = ()
    skipped: tuple[Skipped, ...] = ()
