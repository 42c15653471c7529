"""What is kept of samples for each minute and each hour. Pure; shared.store.rollups has it done by PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from shared.telemetry.fields import Field

LATENCIES: Mapping[int, tuple[str, str]] = {
    percentile: (f"latency_p{percentile}_seconds", f"latency_p{percentile}_weight") for percentile in (50, 95, 99)
}
"""By percentile, the columns with the sum of weighted latencies and the sum of their weights."""


@dataclass(frozen=True)
class Rollup:
    """A table of rollups. rest: how long after its beginning a minute or hour is made, so that most samples are there.

    most: how many of a node or a workload are made at a time. longer: the rollup that follows from the same samples.
    """

    table: str
    unit: str
    rest: timedelta
    most: int
    longer: str | None = None


_GRACE = timedelta(seconds=15)
_GRACE_OF_HOURS = timedelta(minutes=2)
ROLLUPS = (
    Rollup("workload_minutes", "minute", timedelta(0), 2_000, "workload_hours"),
    Rollup("workload_hours", "hour", timedelta(hours=1) + _GRACE, 500),
    Rollup("gpu_minutes", "minute", timedelta(minutes=1) + _GRACE, 1_000, "gpu_hours"),
    Rollup("gpu_hours", "hour", timedelta(hours=1) + _GRACE_OF_HOURS, 50),
)
"""In the order of a tick. The minutes of workloads are made while they last: policy decides on them."""

SAMPLES = ("gpu_samples", "workload_samples")
MINUTES = ("gpu_minutes", "workload_minutes")
HOURS = ("gpu_hours", "workload_hours")

Aggregate = Literal["mean", "max"]


@dataclass(frozen=True)
class RollupColumn:
    """A column of a rollup: what is kept of one field."""

    field: str
    aggregate: Aggregate

    @property
    def name(self) -> str:
        return f"{self.field}_{self.aggregate}"


def rollup_columns(fields: Mapping[str, Field]) -> Iterator[RollupColumn]:
    """The columns that rollups of these fields have, in the order of the fields."""
    for field in fields.values():
        for aggregate in field.rollup:
            yield RollupColumn(field.name, _aggregate(aggregate))


def _aggregate(name: str) -> Aggregate:
    match name:
        case "mean" | "max":
            return name
        case _:
            raise ValueError(f"a rollup is mean or max, not {name[:20]!r}")
