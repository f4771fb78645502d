"""What tests and invariants have in common: how they say which hosts are meant."""

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from teleport.resources import shapes
from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Model
from teleport.resources.values import LabelSet, Text

__all__ = ["EVERY_LOGIN", "Hosts", "Where"]

EVERY_LOGIN: Final = "*"


class Where(Model):
    """Hosts, by name or by labels; every host where neither is said, which is written `any`."""

    name: Text = Field(default="", description="hosts of this name")
    labels: LabelSet | None = Field(default=None, description="hosts with these labels")

    @model_validator(mode="after")
    def _one(self) -> "Where":
        if self.name and self.labels is not None:
            raise_faults([Fault((), "hosts are meant by name or by labels, not by both", "write two rows")])
        return self

    @property
    def any(self) -> bool:
        return not self.name and self.labels is None

    def __str__(self) -> str:
        if self.name:
            return self.name
        if self.labels is None:
            return "any host"
        return ", ".join(f"{key}={value}" for key, value in self.labels.items())


def _where(value: object) -> object:
    if value == "any":
        return {}
    if isinstance(value, str):
        raise_faults([Fault((), f"hosts: a name is written {{name: {value}}}", "or any, for every host")])
    if isinstance(value, dict) and not (value.get("name") or value.get("labels")):
        raise_faults(
            [Fault((), "which hosts are meant is not said", "write {name: web-1}, {labels: {env: prod}} or any")]
        )
    return value


def _written(where: Where) -> Any:
    return "any" if where.any else where.model_dump(mode="json", exclude_unset=True, exclude_none=True)


Hosts = Annotated[Where, BeforeValidator(_where), PlainSerializer(_written), shapes.HOSTS]
"""`any`, `{name: web-1}` or `{labels: {env: prod}}`."""
