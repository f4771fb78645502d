"""AccessTest: what a policy has to say about somebody, or about who reaches something, whatever else it says."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Model, Resource, Spec
from teleport.resources.promises import EVERY_LOGIN, Hosts
from teleport.resources.values import Switch, Text, Texts, Timestamp, Traits

__all__ = ["AccessTest", "AccessTestSpec", "Exactly", "Expectation", "Given", "Verb"]

Verb = Literal["can", "cannot", "needs_mfa"]


class Given(Model):
    """Whom the expectations are about: a declared user, or somebody with these roles and traits, here or elsewhere."""

    user: Text = Field(default="", description="a declared user, by name")
    cluster: Text = Field(default="", description="a trusted cluster: whose roles and traits are meant")
    roles: Texts = Field(default=(), description="roles of somebody who need not exist")
    traits: Traits = Field(default_factory=dict, description="traits of somebody who need not exist")
    mfa: Switch | None = Field(
        default=None,
        description="whether a second factor is shown; left out, `can` is judged without and `cannot` with one",
    )
    time: Timestamp = Field(default=None, description="when; left out, now")

    @property
    def roles_here(self) -> tuple[str, ...]:
        """The roles that are of this cluster."""
        return () if self.cluster else self.roles

    @model_validator(mode="after")
    def _somebody(self) -> "Given":
        raise_faults(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        if self.user and (self.roles or self.traits):
            yield Fault((), "given names a user and roles or traits", "a declared user has those of the declaration")
        if self.user and self.cluster:
            hint = "somebody of another cluster is known by roles and traits"
            yield Fault((), "given names a user and a cluster", hint)


class Expectation(Model):
    """One row: logins that must or must not open all of certain hosts."""

    can: Texts = Field(default=(), description="logins that open each of the hosts")
    cannot: Texts = Field(default=(), description="logins that open none of the hosts; `*` is every login")
    needs_mfa: Texts = Field(default=(), description="logins that open each of the hosts with a second factor only")
    hosts: Hosts = Field(description="where")

    @model_validator(mode="after")
    def _one_verb(self) -> "Expectation":
        raise_faults(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        verbs = [verb for verb in ("can", "cannot", "needs_mfa") if getattr(self, verb)]
        if len(verbs) != 1:
            found = "none" if not verbs else " and ".join(verbs)
            yield Fault((), f"a row has can, cannot or needs_mfa, and logins after it; found {found}", "one row each")
        for verb in ("can", "needs_mfa"):
            if EVERY_LOGIN in getattr(self, verb):
                yield Fault((verb,), f"{verb} names its logins", "only cannot takes *, for every login")

    @property
    def verb(self) -> Verb:
        return "can" if self.can else "cannot" if self.cannot else "needs_mfa"

    @property
    def logins(self) -> tuple[str, ...]:
        return self.can or self.cannot or self.needs_mfa

    def __str__(self) -> str:
        return f"{self.verb} {', '.join(self.logins)} on {self.hosts}"


class Exactly(Model):
    """The complete list of those who reach something, a second factor taken as shown: users, and partners by role."""

    users: Texts = Field(description="everybody who reaches one of the hosts, by name; nobody else may")
    partners: Traits = Field(
        default_factory=dict,
        description="by trusted cluster: the roles there whose holders reach one, and no others",
    )
    logins: Texts = Field(default=(), description="as one of these logins; left out, as any")
    hosts: Hosts = Field(description="where")

    def __str__(self) -> str:
        partners = (f"{role} of {cluster}" for cluster, roles in self.partners.items() for role in roles)
        who = ", ".join((*self.users, *partners)) or "nobody"
        what = f" as {', '.join(self.logins)}" if self.logins else ""
        return f"exactly {who} on {self.hosts}{what}"


class AccessTestSpec(Spec):
    """What has to hold."""

    given: Given | None = Field(default=None, description="whom `expect` is about")
    expect: tuple[Expectation, ...] = Field(default=(), description="what that person can and cannot")
    exactly: tuple[Exactly, ...] = Field(default=(), description="who reaches what, completely")

    @model_validator(mode="after")
    def _says_something(self) -> "AccessTestSpec":
        raise_faults(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        if not self.expect and not self.exactly:
            yield Fault((), "a test that expects nothing", "write expect or exactly")
        if self.expect and (self.given is None or not (self.given.user or self.given.roles)):
            yield Fault(("expect",), "expect without anybody it is about", "write given: {user: …} or {roles: […]}")


class AccessTest(Resource[AccessTestSpec]):
    kind = "access_test"
    versions = ("v1",)
    summary = "what the policy has to say about somebody; a change under which it says otherwise is refused"
    example = """\
kind: access_test
version: v1
metadata:
  name: developers-stay-off-production
spec:
  given:
    roles: [developer]
    traits: {logins: [ann], team: [web]}
  expect:
    - {can: [ann], hosts: {labels: {env: dev, team: web}}}
    - {cannot: "*", hosts: {labels: {env: prod}}}
  exactly:
    - {users: [ada], logins: [root], hosts: {name: db-prod-1}}
"""
