"""Field types that workloads, policies and events share, with the rules of Kubernetes that each comes from.

Names and labels are those of k8s.io/apimachinery/pkg/util/validation. Every message says what would be right.
"""

import re
import threading
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from shared.models import durations, quantities
from shared.models.durations import CalendarDuration
from shared.models.image import parse_image
from shared.models.validation import is_stored

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_LABEL_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DNS_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_QUANTITY_SCHEMA = {"anyOf": [{"type": "string", "examples": ["4", "500m", "8Gi"]}, {"type": "number", "minimum": 0}]}
_DURATION_SCHEMA = {"type": "string", "examples": ["PT10M", "10m", "1h30m", "P30D"]}


_BUILDING = threading.RLock()


class LazyModel(BaseModel):
    """A model whose validator is built at its first use: a process uses few of all that it imports.

    Pydantic's own rebuilding takes the half-built parts away from another thread, so one thread builds at a time.
    """

    model_config = ConfigDict(defer_build=True)

    @classmethod
    def model_rebuild(cls, *, _parent_namespace_depth: int = 2, **how: Any) -> bool | None:
        """See pydantic; the namespace is looked for in the caller's frame, one further up than usual."""
        with _BUILDING:
            return super().model_rebuild(_parent_namespace_depth=_parent_namespace_depth + 1, **how)


class Wire(LazyModel):
    """Base of what travels as JSON: camelCase outside, no unknown field, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, allow_inf_nan=False
    )


def printable(value: str) -> str:
    """The value; raises ValueError for one with control characters or line breaks."""
    if not value.isprintable():
        raise ValueError("must not hold control characters or line breaks")
    return value


def without_nul(value: str) -> str:
    """The value; raises ValueError for one with the character NUL."""
    if "\0" in value:
        raise ValueError("must not hold the character NUL")  # no process can be given one, and no store keeps it
    return value


def matching(pattern: str, rule: str) -> AfterValidator:
    """A validator of texts that match a pattern as a whole; `rule` is what it says of the others."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(rule)
        return value

    return AfterValidator(check)


def _pullable(value: str) -> str:
    parse_image(value)
    return value


def _container_port(value: object) -> object:
    if isinstance(value, str):
        raise ValueError("must be the container's port, a number from 1 to 65535 without quotes; no host port")
    return value


def _duration(value: object, info: ValidationInfo) -> timedelta:
    if isinstance(value, timedelta):
        return value
    return durations.stored(value) if isinstance(value, str) and is_stored(info) else durations.parse(value)


def _calendar_duration(value: object, info: ValidationInfo) -> CalendarDuration:
    if isinstance(value, CalendarDuration):
        return value
    if isinstance(value, timedelta):
        return CalendarDuration.of(value)
    if isinstance(value, str) and is_stored(info) and "Y" in value:  # written before calendar months were known
        return CalendarDuration.of(durations.stored(value))
    return durations.parse_calendar(value)


DnsLabel = Annotated[
    str,
    StringConstraints(max_length=63),
    matching(_DNS_LABEL, "must be a DNS-1123 label: lower-case letters, digits and '-', at most 63 characters"),
]
DnsSubdomain = Annotated[
    str,
    StringConstraints(max_length=253),
    matching(_DNS_SUBDOMAIN, "must be a DNS-1123 subdomain: lower-case letters, digits, '-' and '.'"),
]
LabelKey = Annotated[
    str,
    StringConstraints(max_length=317),
    matching(
        rf"((?=[^/]{{1,253}}/){_DNS_SUBDOMAIN}/)?{_LABEL_NAME}",
        "must be a label key: an optional DNS prefix and '/', then at most 63 letters, digits, '-', '_' or '.'",
    ),
]
LabelValue = Annotated[
    str, matching(rf"({_LABEL_NAME})?", "must be a label value: at most 63 letters, digits, '-', '_' or '.'")
]
MAX_TEXT = 1024
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), AfterValidator(printable)]
Image = Annotated[str, StringConstraints(min_length=1), AfterValidator(_pullable)]
Argument = Annotated[str, AfterValidator(without_nul)]
EnvName = Annotated[str, matching(r"[A-Za-z_.-][A-Za-z0-9_.-]*", "must be an environment variable name")]
EnvValue = Annotated[str, StringConstraints(max_length=32768), AfterValidator(without_nul)]
Port = Annotated[int, BeforeValidator(_container_port), Field(ge=1, le=65535, strict=True)]
AbsolutePath = Annotated[
    str, StringConstraints(max_length=1024), matching(r"/[^:\x00-\x1f]*", "must be an absolute path without ':'")
]
Millicores = Annotated[
    int,
    BeforeValidator(quantities.millicores),
    PlainSerializer(quantities.format_millicores),
    WithJsonSchema(_QUANTITY_SCHEMA),
]
Bytes = Annotated[
    int,
    BeforeValidator(quantities.to_bytes),
    PlainSerializer(quantities.format_bytes),
    WithJsonSchema(_QUANTITY_SCHEMA),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(durations.format_iso8601, when_used="json"),
    WithJsonSchema(_DURATION_SCHEMA),
]
"""A length of time, as ISO 8601 or in Go's form; see shared.models.durations. It travels as ISO 8601."""

CalendarLength = Annotated[
    CalendarDuration,
    PlainValidator(_calendar_duration),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({**_DURATION_SCHEMA, "examples": [*_DURATION_SCHEMA["examples"], "P1M"]}),
]
"""As Duration, with calendar months and years."""
