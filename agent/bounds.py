"""Which values can be measurements: those of a known field within its bounds (shared/telemetry/*_fields.csv)."""

from collections.abc import Mapping
from functools import lru_cache
from operator import le

from agent import counters
from agent.counters import CounterSpec
from shared.telemetry.fields import GPU_FIELDS, NODE_FIELDS, Field

UNBELIEVED = CounterSpec(
    "sentinel_agent_unbelieved_values", "Values that were left out: no field, or out of its bounds.", ("field",)
)


class Bounds:
    """Tells which values can be measurements of these fields. NaN is within no bounds.

    Readings have the same fields again and again, so their limits are kept in rows, and compared in one go. Products
    differ in what they support, and a call may fail now and then: rows are kept of 64 sets of fields.
    """

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self._fields = fields
        self._limits = lru_cache(maxsize=64)(self._limits_of)

    def believed(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """The values without those that are no measurement; these are counted."""
        least, most = self._limits(tuple(values))
        if all(map(le, least, values.values())) and all(map(le, values.values(), most)):
            return values
        believed = {}
        for (name, value), low, high in zip(values.items(), least, most, strict=True):
            if low <= value <= high:
                believed[name] = value
            else:
                counters.count(UNBELIEVED, field=name)
        return believed

    def _limits_of(self, names: tuple[str, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The least and the greatest value of each; none lies between those of an unknown field."""
        known = [self._fields.get(name) for name in names]
        return (
            tuple(1.0 if field is None else field.minimum for field in known),
            tuple(0.0 if field is None else field.maximum for field in known),
        )


GPU_BOUNDS, NODE_BOUNDS = Bounds(GPU_FIELDS), Bounds(NODE_FIELDS)
