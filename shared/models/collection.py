"""What is asked of Prometheus about workloads, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping
    from datetime import datetime

STEP: Final = timedelta(minutes=1)
"""A workload has one sample a minute, at the whole minute of PostgreSQL's clock."""


@dataclass(frozen=True)
class MetricQuery:
    """PromQL at a moment (start and end are the same), or at each STEP of a time; now by Prometheus's clock where both
    are None. In Unix seconds of Prometheus's clock.
    """

    promql: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Series:
    """Values of one set of labels, by their moments in Unix seconds of Prometheus's clock. All are finite."""

    labels: Mapping[str, str]
    points: Mapping[float, float]


@dataclass(frozen=True)
class Collection:
    """What is collected together: a source of shared/telemetry/service_queries.csv, or the queries of a workload.

    subject: the source's name, or the id of the workload, which `workload_id` is as well. number: which collection of
    the subject this is. until: the last minute that is stored; None before the first. found_at: when anything was found
    last. workloads: of how many. failures: how many collections in a row have failed.
    """

    subject: str
    workload_id: uuid.UUID | None
    number: int
    until: datetime | None = None
    found_at: datetime | None = None
    workloads: int = 0
    failures: int = 0


@dataclass(frozen=True)
class DueCollection:
    """A collection that is announced, with the number by which it may be claimed."""

    subject: str
    number: int
    workload_id: uuid.UUID | None


@dataclass(frozen=True)
class CollectionResult:
    """What became of a collection, and when it is due again. failure: why there is nothing, or nothing new."""

    subject: str
    due_at: datetime
    until: datetime | None
    found_at: datetime | None
    workloads: int
    failures: int = 0
    failure: str = ""


@dataclass(frozen=True)
class CollectedSample:
    """What a workload did in the minute that ends at `at`, by PostgreSQL's clock.

    metrics: by names of shared/telemetry/workload_fields.csv.
    """

    workload_id: uuid.UUID
    at: datetime
    metrics: Mapping[str, float]
