"""Field types that workloads and policies share."""

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from shared.models import durations
from shared.models.durations import CalendarDuration
from shared.models.validation import is_stored

_SCHEMA = {"type": "string", "examples": ["PT10M", "10m", "1h30m", "P30D"]}


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


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(durations.format_iso8601, when_used="json"),
    WithJsonSchema(_SCHEMA),
]
"""A length of time, as ISO 8601 or in Go's form; see shared.models.durations. It travels as ISO 8601."""

CalendarLength = Annotated[
    CalendarDuration,
    PlainValidator(_calendar_duration),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({**_SCHEMA, "examples": [*_SCHEMA["examples"], "P1M"]}),
]
"""As Duration, with calendar months and years."""
