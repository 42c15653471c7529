"""From what Prometheus answers to samples of workloads: which minutes are asked for, and what their values mean. Pure.

Every moment here is one of PostgreSQL's clock. Prometheus has its own, which may be wrong: its moments are these and an
offset in seconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from shared.models.collection import STEP, CollectedSample
from shared.telemetry.fields import WORKLOAD_FIELDS
from shared.telemetry.rollups import LATENCIES
from shared.telemetry.service_queries import ERRORS, REQUESTS, SUCCESSES

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator, Mapping, Sequence

    from shared.models.collection import Collection, Series

LAG: Final = timedelta(seconds=20)
"""A minute is asked for so long after its end, because Prometheus has to collect it first."""

GAP: Final = timedelta(hours=24)
"""How far back minutes are asked for that nobody could ask for in time. Samples are kept for that long at least."""

MOST_MINUTES: Final = 120
"""More than pass between two looks at what has no metrics, which are one query each."""

MOST_SAMPLES: Final = 20_000
"""Of one collection; what is left of a gap is asked for by the next."""

RETRY: Final = STEP
FOUND_WITHIN: Final = timedelta(minutes=15)
RARELY: Final = timedelta(hours=1)
"""How often what has no metrics is asked, by one query."""

TRUSTED_SECONDS: Final = 10.0
"""A clock that is off by less is taken for PostgreSQL's."""

Key = tuple[str, str]
_NO_KEY: Final[Key] = ("", "")
_NAMED = ("namespace", "workload")
_NAME = re.compile(r"[-.a-z0-9]{1,253}")
_RATES = (REQUESTS, SUCCESSES, ERRORS)
OPTIONAL: Final = frozenset(name for name, _ in LATENCIES.values())
"""What a sample may lack: a histogram may be too large for Prometheus where a counter is not."""


def minutes_to_collect(collection: Collection, now: datetime) -> list[datetime]:
    """The minutes, by their ends, that are asked for now: oldest first, none before they can be answered."""
    last = (now - LAG).replace(second=0, microsecond=0)
    first = last if collection.until is None else max(collection.until + STEP, last - GAP)
    fit = MOST_SAMPLES // max(1, collection.workloads)
    most = max(1, min(MOST_MINUTES, fit) >> min(collection.failures, 6))
    return [first + at * STEP for at in range(min(most, (last - first) // STEP + 1))]


def is_found(collection: Collection, now: datetime) -> bool:
    """Whether there were metrics lately: all of them are asked for then, and otherwise the first alone."""
    return collection.found_at is not None and now - collection.found_at <= FOUND_WITHIN


def clock_offset(prometheus: float, now: datetime) -> float:
    """The seconds by which Prometheus's clock is ahead of PostgreSQL's; 0 for what their answers take."""
    ahead = prometheus - now.timestamp()
    return 0.0 if abs(ahead) < TRUSTED_SECONDS else float(round(ahead))


def by_workload(series: Sequence[Series], offset: float) -> dict[Key, dict[datetime, float]]:
    """Values by (namespace, workload) and minute. Series without names that Kubernetes gives are left out."""
    found: dict[Key, dict[datetime, float]] = {}
    for one in series:
        namespace, workload = (one.labels.get(name, "") for name in _NAMED)
        if _NAME.fullmatch(namespace) and _NAME.fullmatch(workload):
            found.setdefault((namespace, workload), {}).update(_by_minute(one, offset))
    return found


def of_one(series: Sequence[Series], offset: float) -> dict[Key, dict[datetime, float]]:
    """The same of a query that is about one workload. Raises ValueError for several series."""
    if len(series) > 1:
        raise ValueError(f"gives {len(series)} series where it must give one: aggregate them, as by sum(...)")
    return {_NO_KEY: _by_minute(series[0], offset)} if series else {}


def samples(
    measured: Mapping[str, Mapping[Key, Mapping[datetime, float]]],
    minutes: Sequence[datetime],
    workloads: Mapping[Key, uuid.UUID],
) -> Iterator[CollectedSample]:
    """A sample for each workload and minute of which there is a value. measured: by measure."""
    for key in sorted(set().union(*measured.values())):
        if (workload_id := workloads.get(key)) is None:
            continue
        for minute in minutes:
            values = {name: one[key][minute] for name, one in measured.items() if minute in one.get(key, {})}
            if metrics := _metrics(values):
                yield CollectedSample(workload_id, minute, metrics)


def of_workload(
    measured: Mapping[str, Mapping[Key, Mapping[datetime, float]]], minutes: Sequence[datetime], workload_id: uuid.UUID
) -> Iterator[CollectedSample]:
    """The same of queries that are about one workload."""
    return samples(measured, minutes, {_NO_KEY: workload_id})


def _metrics(values: Mapping[str, float]) -> dict[str, float]:
    """A sample's fields: rates become the requests of a minute. What is out of a field's bounds is left out.

    Errors alone say nothing: their share is not known.
    """
    metrics = {name: value for name, value in values.items() if name not in _RATES and _fits(name, value)}
    if REQUESTS in values or SUCCESSES in values:
        seconds = STEP.total_seconds()
        errors = max(0.0, values.get(ERRORS, 0.0)) * seconds
        requests = values[REQUESTS] * seconds if REQUESTS in values else values[SUCCESSES] * seconds + errors
        if _fits("requests", requests):
            metrics |= {"requests": requests, "errors": min(errors, requests)}
    return metrics


def _fits(name: str, value: float) -> bool:
    field = WORKLOAD_FIELDS[name]
    return field.minimum <= value <= field.maximum


def _by_minute(series: Series, offset: float) -> dict[datetime, float]:
    return {datetime.fromtimestamp(round(at - offset), UTC): value for at, value in series.points.items()}
