"""What Prometheus says of workloads becomes their telemetry: asked seldom, stored once, and in nobody's way."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from events import CATALOGUE
from events.continuation import CollectionDue
from functions.telemetry_ingestion.function import build
from shared.models.lifecycle import RevisionStatus
from shared.prometheus.client import Prometheus
from shared.store.tables import metric_collections, outbox
from shared.telemetry.service_queries import SOURCES
from tests.functions.telemetry_ingestion.conftest import TICK, Telemetry
from tests.support.builders import connection_of, id_of, in_parallel, request, revision_of, set_columns
from tests.support.prometheuses import FakePrometheus, fake_prometheus

DUE = CATALOGUE.name_of(CollectionDue)
MINUTE = timedelta(minutes=1)
ISTIO = SOURCES["istio"]
WEB = {"namespace": "search", "workload": "web"}
OWN = {
    "requestsPerSecond": 'sum(hits{namespace="{namespace}"})',
    "errorsPerSecond": 'sum(bad{namespace="{namespace}"})',
}
HITS, BAD = 'sum(hits{namespace="search"})', 'sum(bad{namespace="search"})'


@dataclass
class Collector:
    """Ticks of ingestion with a Prometheus, and what it stores."""

    telemetry: Telemetry
    fake: FakePrometheus

    def __post_init__(self) -> None:
        quick = Prometheus(self.fake.url, query_seconds=0.3, collection_seconds=1.0, backoff_seconds=0.01)
        self.function = build(prometheus=lambda: quick)

    def announced(self) -> list[dict[str, int]]:
        """What a tick announces, page by page."""
        assert self.telemetry.deliver(self.function, TICK, {}, subject=None).status == 202
        with self.telemetry.store.begin() as work:
            found = connection_of(work).execute(sa.select(outbox)).all()
            rows = [one for one in found if one.attributes["type"] == DUE]
            connection_of(work).execute(outbox.delete().where(outbox.c.id.in_([one.id for one in rows])))
            return sorted((json.loads(one.body)["collections"] for one in rows), key=str)

    def collect(self, page: dict[str, int]) -> None:
        answer = self.telemetry.deliver(self.function, DUE, {"collections": page}, subject="collection/x")
        assert (answer.status, answer.body) == (202, b"")

    def tick(self) -> None:
        for page in self.announced():
            self.collect(page)

    def due(self, **columns: Any) -> None:
        """Has everything due again, as if time had passed."""
        with self.telemetry.store.begin() as work:
            values = {"due_at": work.now - timedelta(seconds=1), **columns}
            connection_of(work).execute(metric_collections.update().values(**values))

    def set(self, subject: object, **columns: Any) -> None:
        with self.telemetry.store.begin() as work:
            known = metric_collections.c.subject == str(subject)
            connection_of(work).execute(metric_collections.update().where(known).values(**columns))

    def state(self, subject: object = "istio") -> dict[str, Any]:
        return next(row for row in self.telemetry.rows("metric_collections", "1") if row["subject"] == str(subject))

    def samples(self, *fields: str) -> list[tuple[Any, ...]]:
        rows = self.telemetry.rows("workload_samples", "1, 2")
        return [tuple(row[name] for name in fields) for row in rows]

    def run(self, name: str = "web", *, cluster: str = "local", **spec: Any) -> uuid.UUID:
        """A workload of team search that runs."""
        self.telemetry.deliver.decide(name, **spec)
        found = id_of(name, spec.get("team", "search"), spec.get("namespace", "search"))
        with self.telemetry.store.begin() as work:
            workload = work.workloads.get(found)
            assert workload is not None
            plan = work.plans.get(workload.plan_id)
            assert plan is not None
            revision = revision_of(workload, plan, RevisionStatus.HEALTHY)
            work.deployments.add(revision)
            set_columns(work, "deployments", revision.id, cluster=cluster)
            set_columns(work, "workloads", found, revision=1)
        return found

    @property
    def minute(self) -> datetime:
        """The last minute that is asked for."""
        with self.telemetry.store.begin() as work:
            return (work.now - timedelta(seconds=20)).replace(second=0, microsecond=0)


@pytest.fixture
def collector(telemetry: Telemetry) -> Iterator[Collector]:
    with fake_prometheus() as fake:
        yield Collector(telemetry, fake)


def serving(fake: FakePrometheus, requests: float = 10.0, errors: float = 1.0, **labels: str) -> None:
    """Istio knows of a workload."""
    named = labels or WEB
    fake.knows(ISTIO["requests"], requests, **named).knows(ISTIO["errors"], errors, **named)
    fake.knows(ISTIO["latency_p99_seconds"], 0.25, **named).knows(ISTIO["latency_p50_seconds"], float("nan"), **named)


def test_what_a_source_knows_of_a_workload_becomes_its_telemetry(collector: Collector) -> None:
    web = collector.run()
    serving(collector.fake)
    serving(collector.fake, namespace="search", workload="of-somebody-else")
    minute = collector.minute
    collector.tick()
    fields = ("workload_id", "observed_at", "received_at", "requests", "errors", "latency_p99_seconds")
    assert collector.samples(*fields, "latency_p50_seconds", "up") == [(web, minute, minute, 600, 60, 0.25, None, None)]
    collector.telemetry.tick()
    [rollup] = collector.telemetry.rows("workload_minutes", "1")
    assert (rollup["starts_at"], rollup["newest_at"], rollup["requests"]) == (minute, minute, 600)
    state = collector.state()
    assert (state["until"], state["workloads"], state["failure"]) == (minute, 1, "")


def test_a_minute_is_asked_for_once(collector: Collector) -> None:
    collector.run()
    serving(collector.fake)
    collector.tick()
    asked = collector.fake.times()
    for _ in range(3):
        assert collector.announced() == []
    collector.due()
    collector.tick()  # what is due before its time finds no new minute
    assert collector.fake.times(*ISTIO.values()) == len(ISTIO)
    assert collector.fake.times() == asked


def test_sources_and_workloads_without_metrics_cost_one_query_an_hour(collector: Collector) -> None:
    own = collector.run("own", metrics=OWN)
    for name in ("a", "b", "c"):
        collector.run(name)
    hours = 0
    for hours in range(1, 4):
        collector.tick()
        assert collector.announced() == []
        with collector.telemetry.store.begin() as work:
            for row in collector.telemetry.rows("metric_collections", "1"):
                first = hours == 1 and row["subject"] == str(own)
                wait = timedelta(minutes=5) if first else timedelta(hours=1)
                assert abs(row["due_at"] - work.now - wait) < MINUTE
        if hours == 1:
            collector.set(own, due_at=collector.telemetry.now, until=None)
            collector.tick()
        collector.due(until=collector.minute - timedelta(hours=1))
    assert collector.fake.times() == hours * (len(SOURCES) + 1)
    assert collector.fake.times(HITS) == hours
    assert collector.fake.times(BAD) == 0


def test_a_source_that_had_nothing_is_looked_at_again_when_a_workload_came(collector: Collector) -> None:
    collector.tick()
    assert collector.announced() == []
    with collector.telemetry.store.begin() as work:
        asked_at = work.now - timedelta(minutes=11)
    collector.due(asked_at=asked_at, due_at=asked_at + timedelta(hours=1))
    assert collector.announced() == []
    collector.run()
    [page] = collector.announced()
    assert page.keys() == SOURCES.keys()


def test_a_workload_names_its_own_queries(collector: Collector) -> None:
    own = collector.run("web", metrics={**OWN, "up": 'min(up{namespace="{namespace}",app="{name}"})'})
    serving(collector.fake)  # which does not count then
    collector.fake.knows(HITS, 2.0, some="label").knows(BAD, 0.5).knows('min(up{namespace="search",app="web"})', 1.0)
    collector.tick()
    assert collector.samples("requests") == []
    collector.set(own, due_at=collector.telemetry.now, until=None)
    collector.tick()
    assert collector.samples("workload_id", "requests", "errors", "up") == [(own, 120, 30, 1)]
    state = collector.state(own)
    assert state["due_at"] == state["until"] + MINUTE + timedelta(seconds=20)


def test_a_query_of_several_series_says_so_and_is_asked_less_and_less(collector: Collector) -> None:
    own = collector.run(metrics=OWN)
    collector.fake.knows(HITS, 2.0, pod="a").knows(HITS, 3.0, pod="b")
    collector.tick()
    for failures in (1, 2, 3):
        collector.set(own, due_at=collector.telemetry.now, until=None)
        collector.tick()
        state = collector.state(own)
        assert state["failures"] == failures
        assert "requests: gives 2 series where it must give one" in state["failure"]
        with collector.telemetry.store.begin() as work:
            assert abs(state["due_at"] - work.now - MINUTE * 2**failures) < MINUTE / 2
    assert collector.samples("requests") == []


def test_another_generation_is_looked_at_soon_and_a_withdrawn_workload_no_more(collector: Collector) -> None:
    own = collector.run(metrics=OWN)
    collector.tick()
    collector.set(own, failures=9, due_at=collector.telemetry.now + timedelta(hours=1))
    with collector.telemetry.store.begin() as work:
        set_columns(work, "workloads", own, generation=2)
    collector.tick()
    state = collector.state(own)
    assert (state["failures"], state["generation"]) == (0, 2)
    assert state["due_at"] < collector.telemetry.now + timedelta(minutes=6)
    with collector.telemetry.store.begin() as work:
        set_columns(work, "workloads", own, withdrawn=True)
    collector.due()
    collector.tick()
    collector.tick()
    assert str(own) not in {row["subject"] for row in collector.telemetry.rows("metric_collections", "1")}


def test_a_gap_is_filled_at_the_times_at_which_it_was(collector: Collector) -> None:
    web = collector.run()
    collector.tick()
    minute = collector.minute
    began = minute - 150 * MINUTE
    lacking = (minute - 140 * MINUTE).timestamp()
    collector.fake.knows(ISTIO["requests"], lambda at: None if at == lacking else at - began.timestamp(), **WEB)
    collector.set("istio", until=began, due_at=collector.telemetry.now)
    for _ in range(2):
        collector.tick()
    found = dict(collector.samples("observed_at", "requests"))
    assert found == {began + at * MINUTE: at * 3600 for at in range(1, 151) if at != 10}
    assert "/api/v1/query_range" in collector.fake.paths
    collector.telemetry.tick()
    [early] = [
        row for row in collector.telemetry.rows("workload_minutes", "1, 2") if row["starts_at"] == began + MINUTE
    ]
    assert (early["workload_id"], early["requests"], early["newest_at"]) == (web, 3600, began + MINUTE)
    assert early["starts_at"] == began + MINUTE


def test_a_prometheus_whose_clock_is_wrong_moves_no_sample(collector: Collector) -> None:
    collector.run()
    collector.fake.ahead = 3600.0
    recently = time.time() + 3600 - 300  # by its own clock it has collected for five minutes
    collector.fake.knows(ISTIO["requests"], lambda at: 10.0 if at > recently else None, **WEB)
    collector.tick()
    [(observed_at, received_at)] = collector.samples("observed_at", "received_at")
    assert observed_at == received_at == collector.state()["until"]
    assert observed_at <= collector.minute


def test_what_is_delivered_twice_is_asked_and_stored_once(collector: Collector) -> None:
    collector.run()
    serving(collector.fake)
    [page] = collector.announced()
    in_parallel(*[lambda: collector.collect(page)] * 4)
    assert collector.fake.times(ISTIO["requests"]) == 1
    assert len(collector.samples("requests")) == 1


def test_ticks_at_once_announce_once(collector: Collector) -> None:
    collector.run()
    deliver = collector.telemetry.deliver
    in_parallel(*[lambda: deliver(collector.function, TICK, {}, subject=None)] * 4)
    with collector.telemetry.store.begin() as work:
        rows = connection_of(work).execute(sa.select(outbox)).all()
    assert len([one for one in rows if one.attributes["type"] == DUE]) == 1


def test_a_crash_while_prometheus_is_asked_loses_nothing(collector: Collector) -> None:
    collector.run()
    serving(collector.fake)
    [page] = collector.announced()
    with collector.telemetry.store.begin() as work:
        task = collector.function.prepare(_event(page), work)
    collector.function.perform(task)  # and then it is killed
    assert collector.announced() == []
    with collector.telemetry.store.begin() as work:
        collector.due(reading_until=work.now - timedelta(seconds=1))
    collector.tick()
    assert len(collector.samples("requests")) == 1
    with collector.telemetry.store.begin() as work:  # the killed one was only slow
        collector.function.conclude(_event(page), task, collector.function.perform(task), work)
    assert len(collector.samples("requests")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["hang", "reset", (503, b"busy"), (200, b"<html>"), (422, b'{"error": "x"}')])
def test_what_prometheus_does_wrong_is_told_and_made_up_for(collector: Collector, fault: Any) -> None:
    collector.run()
    serving(collector.fake)
    collector.tick()
    minute = collector.minute
    collector.set("istio", until=minute - 5 * MINUTE, due_at=collector.telemetry.now)
    collector.fake.lasting = fault
    collector.tick()
    state = collector.state()
    assert (state["failures"], state["until"]) == (1, minute - 5 * MINUTE)
    assert state["failure"]
    counted = [row for row in collector.telemetry.rows("tallies", "1") if row["name"] == "collections_failed_total"]
    assert [(row["labels"], row["value"]) for row in counted] == [(["istio"], 1)]
    collector.fake.lasting = None
    collector.set("istio", due_at=collector.telemetry.now)
    for _ in range(3):
        collector.tick()
    state = collector.state()
    assert (state["failures"], state["failure"]) == (0, "")
    assert minute <= state["until"] <= collector.minute  # a minute may have passed meanwhile
    assert len(collector.samples("requests")) == 5 + (state["until"] - minute) // MINUTE


def test_a_sample_without_its_errors_is_not_stored_and_one_without_latency_is(collector: Collector) -> None:
    collector.run()
    serving(collector.fake)
    collector.tick()

    def again(broken: str) -> int:
        collector.set("istio", until=collector.minute - MINUTE, due_at=collector.telemetry.now)
        with collector.telemetry.store.begin() as work:
            connection_of(work).execute(sa.text("DELETE FROM workload_samples"))
        collector.fake.broken = ISTIO[broken]
        collector.tick()
        return len(collector.samples("requests"))

    assert again("latency_p99_seconds") == 1
    assert again("errors") == 0


def test_a_name_that_two_workloads_have_is_nobodys(collector: Collector) -> None:
    collector.run()
    serving(collector.fake)
    collector.run("web", team="other", namespace="search", cluster="elsewhere")
    collector.tick()
    assert collector.samples("requests") == []


@pytest.mark.slow
def test_a_hung_prometheus_keeps_no_tick_and_no_connection(collector: Collector) -> None:
    collector.run()
    collector.fake.lasting = "hang"
    [page] = collector.announced()
    with collector.telemetry.store.begin() as work:
        task = collector.function.prepare(_event(page), work)
    began = time.monotonic()
    collector.function.perform(task)
    assert time.monotonic() - began < 5
    assert collector.announced() == []


def test_many_workloads_with_queries_of_their_own_are_announced_page_by_page_and_within_a_bound(
    collector: Collector,
) -> None:
    with collector.telemetry.store.begin() as work:
        rows = [{"subject": str(uuid.uuid4()), "workload_id": uuid.uuid4(), "due_at": work.now} for _ in range(130)]
        connection_of(work).execute(metric_collections.insert(), rows)
    pages = collector.announced()
    sizes = sorted(map(len, pages))
    assert sizes == [5, 25, 25, 25, 25]
    assert len({subject for page in pages for subject in page}) == 105
    assert sum(map(len, collector.announced())) <= 5  # the others wait until these are done


def test_without_a_prometheus_nothing_is_announced_or_asked(telemetry: Telemetry) -> None:
    telemetry.tick()
    assert telemetry.rows("metric_collections", "1") == []
    assert telemetry.deliver(build(), DUE, {"collections": {"istio": 1}}, subject="collection/istio").status == 202


def _event(page: dict[str, int]) -> Any:
    from shared.eventing import codec
    from shared.eventing.event import Event

    headers, body = request(DUE, {"collections": page}, subject="collection/x")
    return Event(codec.decode(headers, body), CollectionDue.model_validate({"collections": page}), 0)
