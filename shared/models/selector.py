"""Label selectors, as Kubernetes writes them: `app=chat,tier!=web,env in (dev,test),!canary`.

The grammar and its meaning are those of k8s.io/apimachinery/pkg/labels: requirements with commas between them, all of
which hold. `!=` and `notin` also select what has no such label.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from pydantic import TypeAdapter, ValidationError

from shared.models.fields import LabelKey, LabelValue

MAX_REQUIREMENTS = 20
MAX_VALUES = 50

_KEY = r"[^\s=!,()]+"
_IN = rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)"
_EQUALS = rf"({_KEY})\s*(==|=|!=)\s*([^\s=!,()]*)"
_EXISTS = rf"(!?)\s*({_KEY})"


class Operator(StrEnum):
    """How a label is compared."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    DOES_NOT_EXIST = "!"


@dataclass(frozen=True)
class Requirement:
    """One requirement. values: those of `in` and `notin`, in their order; empty for the others."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


def parse(text: str) -> tuple[Requirement, ...]:
    """The requirements of a selector; an empty text has none. Raises ValueError that names the part and the fix."""
    parts = _parts(text)
    if len(parts) > MAX_REQUIREMENTS:
        raise ValueError(f"must have at most {MAX_REQUIREMENTS} requirements")
    return tuple(map(_requirement, parts))


def _parts(text: str) -> list[str]:
    """The text between the commas that are in no parentheses."""
    if not text.strip():
        return []
    return [part.strip() for part in re.split(r",(?![^()]*\))", text)]


def _requirement(part: str) -> Requirement:
    if found := re.fullmatch(_IN, part):
        key, word, listed = found.groups()
        return _checked(part, key, Operator(word), tuple(value.strip() for value in listed.split(",")))
    if found := re.fullmatch(_EQUALS, part):
        key, sign, value = found.groups()
        return _checked(part, key, Operator.NOT_IN if sign == "!=" else Operator.IN, (value,))
    if found := re.fullmatch(_EXISTS, part):
        absent, key = found.groups()
        return _checked(part, key, Operator.DOES_NOT_EXIST if absent else Operator.EXISTS)
    forms = '"key=value", "key!=value", "key in (a,b)", "key" or "!key"'
    raise ValueError(f"{part[:60]!r} is no requirement: write {forms}")


def _checked(part: str, key: str, operator: Operator, values: tuple[str, ...] = ()) -> Requirement:
    if len(values) > MAX_VALUES:
        raise ValueError(f"{part[:60]!r} must have at most {MAX_VALUES} values")
    try:
        return Requirement(_keys().validate_python(key), operator, tuple(map(_values().validate_python, values)))
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{part[:60]!r}: {said}") from None


@cache
def _keys() -> TypeAdapter[str]:
    return TypeAdapter(LabelKey)


@cache
def _values() -> TypeAdapter[str]:
    return TypeAdapter(LabelValue)
