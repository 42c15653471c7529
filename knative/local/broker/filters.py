"""Which events a Trigger takes: the filter dialects of the subscriptions API, as the Kafka broker evaluates them.

- `filter.attributes` is an exact match in which an empty value matches everything. A non-empty `filters` list
  replaces it; its entries are ANDed.
- Case-sensitive. An absent attribute counts as the empty text, so `not: {prefix: ...}` passes. `{}` and an empty
  `all` match everything, an empty `any` nothing.
- Attributes are compared as text, `time` in UTC. `data` is never filterable.

prefix and suffix on `subject` are refused when manifests are loaded: there the broker discards records.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from knative.local.resources.manifests import Filter, TriggerSpec


def matches(spec: TriggerSpec, attributes: Mapping[str, str]) -> bool:
    """Whether the Trigger takes an event with these context attributes."""
    if spec.filters:
        return all(passes(each, attributes) for each in spec.filters)
    return all(not wanted or _value(name, attributes) == wanted for name, wanted in spec.filter.attributes.items())


def passes(dialect: Filter, attributes: Mapping[str, str]) -> bool:
    """Whether one entry of `filters` lets the event pass."""
    if dialect.exact is not None:
        return all(_value(name, attributes) == wanted for name, wanted in dialect.exact.items())
    if dialect.prefix is not None:
        return all(_value(name, attributes).startswith(wanted) for name, wanted in dialect.prefix.items())
    if dialect.suffix is not None:
        return all(_value(name, attributes).endswith(wanted) for name, wanted in dialect.suffix.items())
    if dialect.all is not None:
        return all(passes(each, attributes) for each in dialect.all)
    if dialect.any is not None:
        return any(passes(each, attributes) for each in dialect.any)
    if dialect.not_ is not None:
        return not passes(dialect.not_, attributes)
    return True


def _value(name: str, attributes: Mapping[str, str]) -> str:
    value = attributes.get(name, "")
    return _utc(value) if name == "time" and value else value


def _utc(text: str) -> str:
    """A timestamp of a received event in UTC; fractions keep no trailing zeros, as the broker writes them."""
    moment = datetime.fromisoformat(text).astimezone(UTC)
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"
