"""Label and field selectors, as query parameters and as `LabelSelector` objects."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from knative.local.kubernetes.errors import bad_request
from knative.local.kubernetes.kinds import EVENT, POD, Kind

Labels = Mapping[str, str]

_KEY = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_EQUALITY = re.compile(rf"^\s*({_KEY})\s*(==?|!=)\s*({_VALUE})\s*$")
_SET = re.compile(rf"^\s*({_KEY})\s+(in|notin)\s*\(([^()]*)\)\s*$")
_EXISTS = re.compile(rf"^\s*(!?)\s*({_KEY})\s*$")
_VALUE_ONLY = re.compile(rf"^{_VALUE}$")


@dataclass(frozen=True)
class Requirement:
    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        actual = labels.get(self.key)
        if self.operator == "In":
            return actual in self.values
        if self.operator == "NotIn":
            return actual not in self.values
        if self.operator == "Exists":
            return actual is not None
        return self.operator == "DoesNotExist" and actual is None


Selector = tuple[Requirement, ...]


def matches(selector: Selector, labels: Labels | None) -> bool:
    labels = labels or {}
    return all(requirement.matches(labels) for requirement in selector)


def equalities(selector: Selector) -> list[tuple[str, str]]:
    """The (label, value) pairs that every match must carry, for an index to start from."""
    return [(r.key, r.values[0]) for r in selector if r.operator == "In" and len(r.values) == 1]


def parse_labels(text: str) -> Selector:
    """`a=b,c!=d,e in (f,g),h,!i` as requirements. Raises 400."""
    return tuple(_requirement(part, text) for part in re.split(r",(?![^()]*\))", text)) if text.strip() else ()


def _requirement(part: str, text: str) -> Requirement:
    if found := _EQUALITY.match(part):
        return Requirement(found[1], "NotIn" if found[2] == "!=" else "In", (found[3],))
    if found := _SET.match(part):
        values = tuple(value.strip() for value in found[3].split(","))
        if all(_VALUE_ONLY.match(value) for value in values):
            return Requirement(found[1], "In" if found[2] == "in" else "NotIn", values)
    elif found := _EXISTS.match(part):
        return Requirement(found[2], "DoesNotExist" if found[1] else "Exists")
    raise bad_request(f'unable to parse requirement: found "{part.strip()}" in the label selector "{text}"')


def of_object(selector: Mapping[str, Any] | None) -> Selector:
    """A `LabelSelector` (matchLabels, matchExpressions) as requirements."""
    if not selector:
        return ()
    equal = [Requirement(key, "In", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    return (*equal, *expressions(selector.get("matchExpressions")))


def expressions(items: list[Mapping[str, Any]] | None) -> Selector:
    """A list of {key, operator, values}, as label selectors and node affinity have it."""
    return tuple(
        Requirement(e.get("key", ""), e.get("operator", ""), tuple(e.get("values") or ())) for e in items or ()
    )


def text_of(selector: Selector) -> str:
    """The selector as a query parameter, as `status.selector` of a Scale."""
    return ",".join(_requirement_text(requirement) for requirement in selector)


def _requirement_text(r: Requirement) -> str:
    if r.operator in ("Exists", "DoesNotExist"):
        return r.key if r.operator == "Exists" else f"!{r.key}"
    if len(r.values) == 1 and r.operator == "In":
        return f"{r.key}={r.values[0]}"
    return f"{r.key} {r.operator.lower()} ({','.join(sorted(r.values))})"


# Fields that each kind can be selected by, beside metadata.name and metadata.namespace.
_FIELDS: dict[Kind, tuple[str, ...]] = {
    POD: ("spec.nodeName", "status.phase"),
    EVENT: ("reason", *(f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid"))),
}


@dataclass(frozen=True)
class FieldRequirement:
    path: str
    value: str
    negated: bool = False

    def matches(self, obj: Mapping[str, Any]) -> bool:
        return (_field(obj, self.path) == self.value) is not self.negated


FieldSelector = tuple[FieldRequirement, ...]


def _field(obj: Mapping[str, Any], path: str) -> str:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return "" if value is None else str(value)


def parse_fields(text: str, kind: Kind) -> FieldSelector:
    """`a=b,c!=d`. Raises 400 on a field that the kind cannot be selected by."""
    requirements = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = re.match(r"^([^=!]+?)\s*(==?|!=)\s*(.*)$", part)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        path = found[1]
        supported = ("metadata.name", *(("metadata.namespace",) if kind.namespaced else ()), *_FIELDS.get(kind, ()))
        if path not in supported:
            raise bad_request(f"field label not supported: {path}; use one of {', '.join(supported)}")
        requirements.append(FieldRequirement(path, found[3], found[2] == "!="))
    return tuple(requirements)


def matcher(labels: Selector, fields: FieldSelector) -> Callable[[Mapping[str, Any]], bool] | None:
    """A predicate over objects, or None when everything matches."""
    if not labels and not fields:
        return None

    def match(obj: Mapping[str, Any]) -> bool:
        return matches(labels, obj["metadata"].get("labels")) and all(field.matches(obj) for field in fields)

    return match
