"""AccessInvariant: who alone may ever reach something, whoever comes and whatever host is added."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Model, Resource, Spec
from teleport.resources.promises import EVERY_LOGIN
from teleport.resources.values import Labels, Texts, Traits, Values

__all__ = ["AccessInvariant", "AccessInvariantSpec", "Assume", "May", "Only"]


class Only(Model):
    """Who may: whoever has one of the roles, is one of the users, or has all of the traits. Nobody if left empty."""

    roles: Texts = Field(default=(), description="holders of one of these roles")
    users: Texts = Field(default=(), description="these users, by name")
    traits: Traits = Field(default_factory=dict, description="whoever has each of these traits, with one of the values")


class May(Model):
    """What they alone may: log in under these names on these hosts."""

    logins: Texts = Field(min_length=1, description="logins; `*` is every login")
    labels: Labels = Field(description="the hosts, by labels; without templates")

    @model_validator(mode="after")
    def _plain(self) -> "May":
        raise_faults(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        if not self.labels:
            yield Fault(("labels",), "labels that match no host", 'write {"*": "*"} for every host')
        for key, values in self.labels.items():
            if not values:
                yield Fault(("labels", key), f"{key} has no values, so no host is meant", "remove the key")
            if any("{{" in text for text in (key, *values)):
                yield Fault(("labels", key), "a template, where nobody is to read traits of", "write the values")

    @property
    def every_login(self) -> bool:
        return EVERY_LOGIN in self.logins


class Assume(Model):
    """What may be relied on of people and hosts that do not exist yet."""

    traits: Traits = Field(default_factory=dict, description="every value that a trait can have, of anybody")
    labels: Values = Field(default_factory=dict, description="every value that a label can have, of any host")


class AccessInvariantSpec(Spec):
    """Nobody but `only` may do what `may` says."""

    only: Only = Field(description="who may")
    may: May = Field(description="what they alone may")
    assume: Assume = Field(default_factory=Assume, description="bounds for what nobody knows yet")
    on_unknown: Literal["fail", "warn"] = Field(
        default="fail", description="what comes of it if it can be neither proved nor refuted"
    )


class AccessInvariant(Resource[AccessInvariantSpec]):
    kind = "access_invariant"
    versions = ("v1",)
    summary = "who alone may ever reach something; a change that could let anybody else is refused"
    example = """\
kind: access_invariant
version: v1
metadata:
  name: root-on-production-is-for-platform
spec:
  only: {roles: [platform]}
  may:
    logins: [root]
    labels: {env: prod}
  assume:
    traits: {team: [web, data]}
    labels: {env: [dev, staging, prod]}
"""
