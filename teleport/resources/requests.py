"""The parts of a role about asking for more access than one has, and about deciding what others ask for."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Model
from teleport.resources.values import Count, Duration, Text, Texts, duration_text

__all__ = ["RequestConditions", "ReviewConditions"]


def _at_most_14_days(seconds: float) -> float:
    if seconds > 14 * 24 * 3600:
        raise_faults([Fault((), f"a grant of {duration_text(seconds)} is too long", "at most 14d")])
    return seconds


class ClaimMapping(Model):
    """From a trait to roles."""

    claim: Text = Field(description="name of the trait")
    value: Text = Field(description="value it must have; a pattern")
    roles: Texts = Field(description="roles it stands for; `$1` is what the pattern's first group matched")


class Threshold(Model):
    """How many reviews decide a request."""

    name: Text = Field(default="", description="name of the threshold, for people")
    filter: Text = Field(default="", description="a condition on the reviews that count")
    approve: Count = Field(default=1, description="approvals that approve it")
    deny: Count = Field(default=1, description="denials that deny it")


class RequestReason(Model):
    """Whether a request must say why."""

    mode: Literal["", "optional", "required"] = Field(default="", description="`optional` if empty")
    prompt: Text = Field(default="", description="what to tell those who ask")


class RequestKubernetesResource(Model):
    """A kind of Kubernetes object that requests are confined to."""

    kind: Text = Field(description="kind of object; `*` is every kind")
    api_group: Text = Field(default="", description="API group (v8)")


class RequestConditions(Model):
    """What holders may ask for beyond what they have."""

    roles: Texts = Field(default=(), description="roles that may be requested; patterns")
    claims_to_roles: tuple[ClaimMapping, ...] = Field(default=(), description="the same, from the user's traits")
    search_as_roles: Texts = Field(default=(), description="roles whose resources may be searched and requested")
    suggested_reviewers: Texts = Field(default=(), description="who is suggested as reviewer")
    thresholds: tuple[Threshold, ...] = Field(default=(), description="how many reviews decide; one each by default")
    annotations: Mapping[str, Texts] = Field(default_factory=dict, description="notes added to requests; templates")
    max_duration: Annotated[Duration, AfterValidator(_at_most_14_days)] = Field(
        default=0.0, description="longest grant, at most 14 days"
    )
    reason: RequestReason | None = Field(default=None, description="whether a request must say why")
    kubernetes_resources: tuple[RequestKubernetesResource, ...] = Field(
        default=(), description="confines requests for Kubernetes to these kinds of object"
    )


class ReviewConditions(Model):
    """Whose requests holders may approve or deny."""

    roles: Texts = Field(default=(), description="requested roles that they may decide on; patterns")
    claims_to_roles: tuple[ClaimMapping, ...] = Field(default=(), description="the same, from the user's traits")
    preview_as_roles: Texts = Field(default=(), description="roles with which they see what is requested")
    where: Text = Field(default="", description="a condition on the request")
