"""How many replicas a workload has: a number, or a range in which an autoscaler chooses."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Self

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from shared.models.fields import Wire
from shared.models.validation import is_stored, read_stored

MAX_REPLICAS = 10_000


class ReplicaRange(Wire):
    """Replicas that an autoscaler chooses. min: the first, and what must be available. max: what is reserved."""

    min: Annotated[int, Field(ge=0, le=MAX_REPLICAS, strict=True)] = 1
    max: Annotated[int, Field(ge=1, le=MAX_REPLICAS, strict=True)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min must be at most max: {self.min} is more than {self.max}")
        return self

    def __str__(self) -> str:
        return f"{self.min}-{self.max}"


ReplicaCount = Annotated[int, Field(ge=0, le=MAX_REPLICAS, strict=True)]


@cache
def _count() -> TypeAdapter[int]:
    return TypeAdapter(ReplicaCount)


def _replicas(value: object, info: ValidationInfo) -> int | ReplicaRange:
    """One of both by its form, so that an error is about the one that was meant. null is any number of replicas."""
    match value:
        case ReplicaRange():
            return value
        case None:
            return ReplicaRange(max=MAX_REPLICAS)
        case Mapping():
            return read_stored(ReplicaRange, value) if is_stored(info) else ReplicaRange.model_validate(value)
        case int() if is_stored(info):
            return value
        case _:
            return _count().validate_python(value)


_COUNT_SCHEMA = {"type": "integer", "minimum": 0, "maximum": MAX_REPLICAS}
_RANGE_SCHEMA = {
    "type": "object",
    "properties": {"min": {**_COUNT_SCHEMA, "default": 1}, "max": {**_COUNT_SCHEMA, "minimum": 1}},
    "required": ["max"],
    "additionalProperties": False,
}
Replicas = Annotated[
    int | ReplicaRange,
    PlainValidator(_replicas),
    PlainSerializer(lambda value: value if isinstance(value, int) else {"min": value.min, "max": value.max}),
    WithJsonSchema({"anyOf": [_COUNT_SCHEMA, _RANGE_SCHEMA, {"type": "null"}]}),
]
