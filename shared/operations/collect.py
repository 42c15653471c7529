"""Collect from Prometheus what workloads do for their users, and store it as their telemetry.

What is asked, and how often:

| what                                            | queries                                                        |
|-------------------------------------------------|----------------------------------------------------------------|
| a source of service_queries.csv that has metrics | 5 a minute, for all workloads together                        |
| a source that has none                          | 1 an hour, and 2 in the minutes after a workload came          |
| a workload that names PromQL and has metrics    | 1 a minute for each field that it names                        |
| a workload that names PromQL and has none       | 1 an hour; it is found again within the hour                   |
| each page of these                              | 1, for the time at Prometheus                                  |

The tick announces what is due, a page at a time. Whoever gets the event claims its page, so no two ask for the same.
What a crash has left is announced again when the claim has lapsed. Prometheus is asked with no transaction open. A
minute of a workload is one row, so whatever is collected twice is stored once.

Each collection goes on where it has stopped, for a day at most. When Prometheus or the tick was away, the minutes in
between are asked for as a range. Their samples count at the time at which they were taken, so rollups and burn rates
are what they would have been.

A workload's own PromQL wins over the sources. Of several sources that have a workload's requests in a minute, one
counts: the first that is stored.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from shared.errors import PrometheusError, PrometheusUnavailable, QueryRefused
from shared.models.collection import STEP, CollectionResult, MetricQuery
from shared.telemetry.collection import (
    FOUND_WITHIN,
    LAG,
    OPTIONAL,
    RARELY,
    RETRY,
    by_workload,
    clock_offset,
    is_found,
    minutes_to_collect,
    of_one,
    of_workload,
    samples,
)
from shared.telemetry.metrics import COLLECTIONS_FAILED
from shared.telemetry.service_queries import SOURCES

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from shared.models.collection import CollectedSample, Collection, DueCollection, Series
    from shared.store.unit_of_work import UnitOfWork
    from shared.telemetry.collection import Key

logger = logging.getLogger("sentinel.collect")

PAGE = 25
"""Workloads with PromQL of their own that one event is about."""

AT_ONCE = 4 * PAGE
"""Of these, how many are announced or being collected at any time, so that a slow Prometheus keeps few threads busy."""

CLAIM = timedelta(seconds=45)
"""A collection takes 25 s at most; see shared.prometheus.client."""

ANNOUNCED = timedelta(seconds=60)
FIRST_LOOK = timedelta(minutes=5)
"""After a workload came: its rates are over 5 minutes."""

_TIME = MetricQuery("time()")
_FIELDS = {"requests_per_second": "requests", "errors_per_second": "errors"}

Measured = dict[str, dict["Key", dict["datetime", float]]]


class Prometheus(Protocol):
    """What is asked; see shared.prometheus.client."""

    def deadline(self) -> float:
        """When a collection that begins now has to end."""

    def ask(self, queries: Sequence[MetricQuery], deadline: float) -> list[list[Series] | PrometheusError]:
        """The answer of each query, or why there is none."""


@dataclass(frozen=True)
class CollectionTask:
    """What is claimed. queries: PromQL of each collection by measure; the first tells whether there is anything.

    now: PostgreSQL's clock.
    """

    queries: Mapping[Collection, Mapping[str, str]]
    now: datetime


@dataclass(frozen=True)
class Collected:
    """What was read for one collection: values of these minutes, or why there are none."""

    minutes: Sequence[datetime]
    measured: Measured
    failure: PrometheusError | None = None


def due(work: UnitOfWork) -> list[list[DueCollection]]:
    """What a tick announces, page by page: the sources, and then workloads."""
    work.collections.add_missing(SOURCES, work.now, work.now + FIRST_LOOK)
    found = work.collections.take_due(work.now, ANNOUNCED, AT_ONCE)
    sources = [one for one in found if one.workload_id is None]
    workloads = [one for one in found if one.workload_id is not None]
    pages = [workloads[at : at + PAGE] for at in range(0, len(workloads), PAGE)]
    return [page for page in (sources, *pages) if page]


def claim(work: UnitOfWork, announced: Mapping[str, int]) -> CollectionTask | None:
    """The task for a page; None when somebody else has it, or has done it. announced: numbers by subject."""
    claimed = work.collections.claim(announced, CLAIM)
    ids = [one.workload_id for one in claimed if one.workload_id is not None]
    workloads = work.workloads.get_many(ids) if ids else {}
    queries: dict[Collection, Mapping[str, str]] = {}
    gone = []
    for collection in claimed:
        found: Mapping[str, str] = {}
        if collection.workload_id is None:
            found = SOURCES.get(collection.subject, {})
        elif (workload := workloads.get(collection.workload_id)) is not None and not workload.withdrawn:
            spec = workload.spec
            found = {} if spec.metrics is None else spec.metrics.queries(spec.namespace, spec.name)
        if found:
            queries[collection] = {_FIELDS.get(name, name): promql for name, promql in found.items()}
        else:
            gone.append(collection.subject)
    if gone:
        work.collections.remove(gone)
    return CollectionTask(queries, work.now) if queries else None


def read(prometheus: Prometheus, task: CollectionTask) -> dict[str, Collected]:
    """Asks Prometheus, with no transaction open. By subject."""
    deadline = prometheus.deadline()
    minutes = {one: minutes_to_collect(one, task.now) for one in task.queries}
    [told] = prometheus.ask([_TIME], deadline)
    try:
        offset = _offset(told, task.now)
    except PrometheusError as error:
        return {one.subject: Collected(minutes[one], {}, error) for one in task.queries}
    if offset:
        logger.warning("the clock of Prometheus is ahead by %d s; its samples are moved by that", offset)
    asked: list[tuple[Collection, str]] = []
    for one, queries in task.queries.items():
        if minutes[one]:
            asked += ((one, name) for name in (queries if is_found(one, task.now) else [next(iter(queries))]))
    reading = _Reading(prometheus, task, minutes, offset, deadline)
    answers = reading.ask(asked)
    others = [
        (one, name)
        for one, queries in task.queries.items()
        for name in queries
        if name not in answers[one] and answers[one] and not _is_empty(next(iter(answers[one].values())))
    ]
    for one, found in reading.ask(others).items():
        answers[one] |= found
    return {one.subject: _collected(one, minutes[one], found) for one, found in answers.items()}


def conclude(work: UnitOfWork, task: CollectionTask, read: Mapping[str, Collected]) -> None:
    """Stores what was read, and says when each collection is due again."""
    held = work.collections.hold(list(task.queries))
    mine = [one for one in task.queries if one.subject in held]
    answers = [values for one in mine if one.workload_id is None for values in read[one.subject].measured.values()]
    keys = {key for values in answers for key in values}
    workloads = work.collections.workloads_named(keys) if keys else {}
    stored = {one.subject: list(_samples(one, read[one.subject], workloads)) for one in mine}
    everything = [sample for found in stored.values() for sample in found]
    if everything:
        work.telemetry.make_partitions("workload_samples", {sample.at for sample in everything})
        work.telemetry.add_collected(everything)
    results = [_result(one, read[one.subject], stored[one.subject], work.now) for one in mine]
    if results:
        work.collections.finish(results, work.now)
    _report_failures(work, mine, read)


def _report_failures(work: UnitOfWork, collections: Sequence[Collection], read: Mapping[str, Collected]) -> None:
    """A line of the log for each reason: a Prometheus that is away is the same for all."""
    reasons: dict[str, list[str]] = {}
    sources: dict[str, int] = {}
    for one in collections:
        if (failure := read[one.subject].failure) is not None:
            reasons.setdefault(str(failure), []).append(one.subject)
            source = one.subject if one.workload_id is None else "workload"
            sources[source] = sources.get(source, 0) + 1
    for reason, subjects in reasons.items():
        logger.warning("nothing was collected for %s: %s", ", ".join(subjects), reason)
    for source, number in sorted(sources.items()):
        work.measurements.count(COLLECTIONS_FAILED, source, number=number)


@dataclass(frozen=True)
class _Reading:
    """Asks the queries of a task for the minutes of each collection."""

    prometheus: Prometheus
    task: CollectionTask
    minutes: Mapping[Collection, Sequence[datetime]]
    offset: float
    deadline: float

    def ask(
        self, wanted: Sequence[tuple[Collection, str]]
    ) -> dict[Collection, dict[str, dict[Key, dict[datetime, float]] | PrometheusError]]:
        """What was answered, by measure."""
        found: dict[Collection, dict[str, dict[Key, dict[datetime, float]] | PrometheusError]] = {
            one: {} for one in self.task.queries
        }
        queries = [self._query(one, self.task.queries[one][name]) for one, name in wanted]
        for (one, name), answer in zip(wanted, self.prometheus.ask(queries, self.deadline), strict=True):
            found[one][name] = answer if isinstance(answer, PrometheusError) else self._values(one, name, answer)
        return found

    def _query(self, collection: Collection, promql: str) -> MetricQuery:
        first, last = self.minutes[collection][0], self.minutes[collection][-1]
        return MetricQuery(promql, first.timestamp() + self.offset, last.timestamp() + self.offset)

    def _values(
        self, collection: Collection, name: str, series: Sequence[Series]
    ) -> dict[Key, dict[datetime, float]] | PrometheusError:
        if collection.workload_id is None:
            return by_workload(series, self.offset)
        try:
            return of_one(series, self.offset)
        except ValueError as error:
            return QueryRefused(f"{name}: {error}")


def _offset(told: Sequence[Series] | PrometheusError, now: datetime) -> float:
    if isinstance(told, PrometheusError):
        raise told
    values = [value for series in told for value in series.points.values()]
    if len(values) != 1:
        raise PrometheusUnavailable("Prometheus does not tell its time")
    return clock_offset(values[0], now)


def _is_empty(answer: Mapping[Key, Mapping[datetime, float]] | PrometheusError) -> bool:
    return isinstance(answer, PrometheusError) or not any(answer.values())


def _collected(
    collection: Collection,
    minutes: Sequence[datetime],
    answers: Mapping[str, dict[Key, dict[datetime, float]] | PrometheusError],
) -> Collected:
    """A sample without its latencies says something; one without its errors would say that there were none."""
    failed = {name: answer for name, answer in answers.items() if isinstance(answer, PrometheusError)}
    measured = {name: answer for name, answer in answers.items() if not isinstance(answer, PrometheusError)}
    for name, failure in failed.items():
        if name not in OPTIONAL or not measured:
            return Collected(minutes, {}, failure)
        logger.warning("%s has no %s: %s", collection.subject, name, failure)
    return Collected(minutes, measured)


def _samples(collection: Collection, read: Collected, workloads: Mapping[Key, uuid.UUID]) -> Iterator[CollectedSample]:
    if not read.measured:
        return iter(())
    if collection.workload_id is not None:
        return of_workload(read.measured, read.minutes, collection.workload_id)
    return samples(read.measured, read.minutes, workloads)


def _result(
    collection: Collection, read: Collected, stored: Sequence[CollectedSample], now: datetime
) -> CollectionResult:
    if read.failure is not None:
        failures = collection.failures + 1
        # What is refused today is refused tomorrow; what does not answer may be back in a minute.
        refused = isinstance(read.failure, QueryRefused)
        pause = min(RETRY * 2 ** min(failures, 10), RARELY) if refused else RETRY
        return CollectionResult(
            collection.subject,
            now + pause,
            collection.until,
            collection.found_at,
            collection.workloads,
            failures,
            str(read.failure),
        )
    until = read.minutes[-1] if read.minutes else collection.until
    found_at = now if stored else collection.found_at
    lately = found_at is not None and now - found_at <= FOUND_WITHIN
    workloads = len({sample.workload_id for sample in stored}) if stored or not lately else collection.workloads
    next_minute = now + RETRY if until is None else until + STEP + LAG
    # In a gap that moment has passed: the next tick goes on.
    due_at = next_minute if lately or next_minute <= now else now + RARELY
    return CollectionResult(collection.subject, due_at, until, found_at, workloads)
