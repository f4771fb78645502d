"""ValidatingAdmissionPolicies that refuse fields no kind knows, by name, for every client and without a webhook.

Schemas keep unknown fields rather than prune them (`structural`), so that a mistyped `deny` cannot vanish; these
policies make the API server refuse it at once. One policy and binding a kind of manifest.

Source: Kubernetes API, admissionregistration.k8s.io/v1; expressions are CEL with the lists' extension library.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from teleport.resources.crds import spec_schema
from teleport.resources.custom_kinds import GROUP, CustomKind
from teleport.resources.structural import Schema

__all__ = ["TOP", "FieldRule", "admission", "field_rules"]

TOP: Final = ("apiVersion", "kind", "metadata", "spec", "status")
"""What stands at the top of a manifest."""
_SAYS_ANYTHING_NEW: Final = (
    "request.operation == 'CREATE' || object.filter(k, k != 'metadata' && k != 'status').exists(k, "
    "!(k in oldObject) || object[k] != oldObject[k])"
)
"""What was there before the policy can still have its finalizers taken off, or it could never be deleted."""

_RESERVED: Final = frozenset({"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import",
    "in", "let", "loop", "namespace", "null", "package", "return", "true", "var", "void", "while"})  # fmt: skip
"""Words that CEL does not take for the name of a field."""


@dataclass(frozen=True)
class FieldRule:
    """One place where only certain fields may stand."""

    path: str
    """As people write it: `[]` for each entry of a list, `[*]` for each value of a mapping."""
    known: tuple[str, ...]
    expression: str
    message: str
    """A CEL expression."""


def admission(kind: CustomKind) -> list[dict[str, Any]]:
    """The policy for one kind of manifest, and what puts it into force."""
    name = f"teleport-fields-{kind.plural}"
    rules = [_at_the_top(), *field_rules(spec_schema(kind, kind.stored))]
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "apiGroups": [GROUP],
                            "apiVersions": ["*"],
                            "operations": ["CREATE", "UPDATE"],
                            "resources": [kind.plural],
                        }
                    ]
                },
                "matchConditions": [{"name": "says-anything-new", "expression": _SAYS_ANYTHING_NEW}],
                "validations": [
                    {"expression": rule.expression, "messageExpression": rule.message, "reason": "Invalid"}
                    for rule in rules
                ],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]


def _at_the_top() -> FieldRule:
    """What belongs below `spec` and stands beside it."""
    words = json.dumps(TOP)
    return FieldRule(
        "", TOP, f"object.all(k, k in {words})", f"'unknown field: ' + object.filter(k, !(k in {words})).join(', ')"
    )


def field_rules(schema: Schema) -> Iterator[FieldRule]:
    """A rule for every object of a spec, however deep."""
    yield from _rules(schema, _Place("spec", "object.spec", "!has(object.spec) || object.spec == null"))


@dataclass(frozen=True)
class _Place:
    """Where an object is: as people write it, in CEL, and when there is nothing to look at.

    `around` wraps a question about it that goes over the entries of lists; `gather` collects texts from them.
    """

    path: str
    expression: str
    absent: str
    around: tuple[tuple[str, str, str], ...] = ()
    """From outside in: the list, the variable of its entries, and when an entry has nothing to look at."""

    def field(self, name: str) -> "_Place":
        inner = f"{self.expression}.{name}" if name not in _RESERVED else f'{self.expression}["{name}"]'
        has = f"has({self.expression}.{name})" if name not in _RESERVED else f'"{name}" in {self.expression}'
        return _Place(f"{self.path}.{name}", inner, f"{self.absent} || !{has} || {inner} == null", self.around)

    def entries(self, *, keys: bool) -> "_Place":
        """Each entry of a list, or each value of a mapping."""
        variable = f"e{len(self.around)}"
        entry = f"{self.expression}[{variable}]" if keys else variable
        around = (*self.around, (self.expression, variable, self.absent))
        return _Place(f"{self.path}[{'*' if keys else ''}]", entry, f"{entry} == null", around)

    def holds(self, question: str) -> str:
        """True if the question holds wherever there is something to look at."""
        found = f"{self.absent} || {question}"
        for over, variable, absent in reversed(self.around):
            found = f"{absent} || {over}.all({variable}, {found})"
        return found

    def texts(self, question: str) -> str:
        """The texts that an expression (a list of texts) gives for each place, in one text."""
        found = f"({self.absent} ? [] : {question})"
        for over, variable, absent in reversed(self.around):
            found = f"({absent} ? [] : {over}.map({variable}, {found}.join(', ')).filter(t, t != ''))"
        return f"{found}.join(', ')"


def _rules(schema: Schema, place: _Place) -> Iterator[FieldRule]:
    if "properties" in schema:
        known = tuple(sorted(schema["properties"]))
        words = json.dumps(known)
        yield FieldRule(
            place.path,
            known,
            place.holds(f"{place.expression}.all(k, k in {words})"),
            f"'unknown field below {place.path}: ' + " + place.texts(f"{place.expression}.filter(k, !(k in {words}))"),
        )
        for name, one in schema["properties"].items():
            yield from _rules(one, place.field(name))
    elif isinstance(schema.get("items"), dict):
        yield from _rules(schema["items"], place.entries(keys=False))
    elif isinstance(schema.get("additionalProperties"), dict):
        yield from _rules(schema["additionalProperties"], place.entries(keys=True))
