"""sla, slo and rate limits on facts that the store gathers: rollups of telemetry, actions as approved."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from functions.telemetry_ingestion import function as telemetry_ingestion
from shared.eventing.processing import HttpAnswer
from shared.models.cluster import Cluster
from shared.models.retention import DEFAULT_RETENTION
from shared.operations.telemetry import roll_up
from shared.store.telemetry_tables import workload_samples
from shared.store.unit_of_work import Store
from shared.telemetry.fields import WORKLOAD_FIELDS
from shared.telemetry.rollups import HOURS, MINUTES, SAMPLES
from tests.functions.policy_evaluation.test_handler import approved, denied, policy, runs
from tests.support.builders import Deliver, connection_of, id_of

INGESTION = telemetry_ingestion.build()
REPORT = "dev.sentinel.telemetry.workload.v1"
AGE = timedelta(days=40)

Sample = tuple[timedelta, dict[str, float]]
"""How long ago it was measured, and what."""

HOURLY = [timedelta(hours=hours) for hours in range(24 * 7)]


@pytest.fixture
def old(deliver: Deliver, store: Store) -> None:
    """The workload runs and was taken in 40 days ago."""
    approved(deliver.decide())
    runs(store)
    with store.begin() as work:
        statement = sa.text("UPDATE workloads SET created_at = created_at - CAST(:age AS interval)")
        connection_of(work).execute(statement, {"age": f"{AGE.days} days"})


@pytest.fixture(autouse=True)
def _without_old_partitions(store: Store) -> Iterator[None]:
    yield
    with store.begin() as work:
        yesterday = work.now - timedelta(days=1)
        work.rollups.drop_partitions(dict.fromkeys((*SAMPLES, *MINUTES, *HOURS), yesterday))


def report(store: Store, *samples: Sample, workload: str = "test-inference") -> None:
    """Each sample arrives when it is measured, and then rollups are made."""
    with store.begin() as work:
        taken = [(work.now - age, metrics) for age, metrics in samples]
        work.telemetry.make_partitions("workload_samples", [at for at, _ in taken])
        rows = [
            dict.fromkeys(WORKLOAD_FIELDS)
            | {"workload_id": id_of(workload), "observed_at": at, "received_at": at, **metrics}
            for at, metrics in taken
        ]
        connection_of(work).execute(workload_samples.insert().values(rows))
    with store.begin() as work:
        roll_up(work, DEFAULT_RETENTION)


def update(deliver: Deliver, image: str = "nginx:1.30") -> HttpAnswer:
    return deliver.decide(image=image)


def ago(**how: float) -> timedelta:
    return timedelta(**how)


SLA = {"type": "sla", "min_uptime": 0.99, "window": "P7D"}
SLOW = {"type": "slo", "window": "PT1H", "max_latency_seconds": 0.3, "latency_percentile": 95}
BURNING = {"type": "slo", "window": "P30D", "min_success_rate": 0.99, "burn_rates": "workbook"}


def up(down: int) -> list[Sample]:
    """A week of hourly samples, of which the `down` oldest say that it was down."""
    return [(age, {"up": float(number < len(HOURLY) - down)}) for number, age in enumerate(HOURLY)]


@pytest.mark.usefixtures("old")
def test_uptime_is_that_of_the_samples_in_the_window(deliver: Deliver, store: Store) -> None:
    policy(store, SLA)
    report(store, *up(down=1), (ago(days=8), {"up": 0.0}), (ago(hours=-1), {"up": 0.0}))
    report(store, (ago(minutes=1), {"up": 0.0}), workload="another")
    assert approved(update(deliver)).warnings == ()
    report(store, (ago(minutes=1), {"up": 0.0}))
    [finding] = denied(update(deliver, "nginx:1.31")).violations
    assert (finding.rule, finding.field, finding.observed) == ("sla", "min_uptime", f"{167 / 169:.6f}")


@pytest.mark.usefixtures("old")
def test_without_telemetry_or_without_news_a_change_is_denied(deliver: Deliver, store: Store) -> None:
    policy(store, SLA)
    [finding] = denied(update(deliver)).violations
    assert finding.message.startswith("there is no telemetry of the workload over 7 days")
    report(store, (ago(minutes=20), {"up": 1.0}))
    [finding] = denied(update(deliver, "nginx:1.31")).violations
    assert finding.message.startswith("the newest telemetry of the workload is from")
    report(store, (ago(minutes=10), {"requests": 5.0}))
    approved(update(deliver, "nginx:1.32"))


def test_a_workload_that_is_younger_than_the_window_is_not_bound(deliver: Deliver, store: Store) -> None:
    policy(store, SLA)
    approved(deliver.decide())
    runs(store)
    assert approved(update(deliver)).warnings == ()


@pytest.mark.usefixtures("old")
def test_latencies_are_weighed_by_their_requests(deliver: Deliver, store: Store) -> None:
    policy(store, SLOW)
    report(
        store,
        (ago(minutes=5), {"latency_p95_seconds": 0.2, "requests": 900.0}),
        (ago(minutes=10), {"latency_p95_seconds": 1.1, "requests": 100.0}),
        (ago(minutes=15), {"latency_p99_seconds": 9.0, "requests": 1_000_000.0}),
        (ago(minutes=70), {"latency_p95_seconds": 9.0, "requests": 1_000_000.0}),
    )
    approved(update(deliver))
    report(store, (ago(minutes=6), {"latency_p95_seconds": 1.1, "requests": 100.0}))
    [finding] = denied(update(deliver, "nginx:1.31")).violations
    assert (finding.field, finding.observed) == ("max_latency_seconds", f"{(180 + 110 + 110) / 1100:g}")


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize(
    ("spans", "fire"),
    [
        ([(0, 60, 0.2)], ["14.4"]),
        ([(5, 60, 0.2)], []),  # it burned, and burns no more
        ([(0, 5, 0.2)], []),  # a blip
        ([(0, 360, 0.07)], ["6"]),
        ([(30, 360, 0.07)], []),
        ([(0, 1440, 0.035)], ["3", "1"]),  # three times too fast over a day is as fast as may be over three
        ([(0, 4320, 0.02)], ["1"]),
        ([(360, 4320, 0.02)], []),
    ],
)
def test_a_pair_of_windows_fires_when_both_burn_too_fast(
    deliver: Deliver, store: Store, spans: list[tuple[int, int, float]], fire: list[str]
) -> None:
    """spans: from, to (minutes ago) and the rate of errors between; there are as many requests in every hour."""
    policy(store, BURNING)

    def errors(age: float) -> float:
        return next((rate for start, end, rate in spans if start <= age < end), 0.0)

    sent = [(minutes + 2.5, 500.0) for minutes in range(0, 6 * 60, 5)]
    sent += [(minutes + 2.5, 12 * 500.0) for minutes in range(6 * 60, 3 * 24 * 60, 60)]
    report(store, *((ago(minutes=age), {"requests": count, "errors": count * errors(age)}) for age, count in sent))
    before = [(ago(days=days), {"requests": 1e6, "errors": 0.0}) for days in (6, 10)]
    report(store, *before)
    answer = update(deliver)
    if not fire:
        approved(answer)
    else:
        found = denied(answer).violations
        assert [(finding.field, finding.limit) for finding in found] == [("burn_rates", factor) for factor in fire]


@pytest.mark.parametrize(
    ("scope", "others", "counted"),
    [
        ("workload", {"name": "other"}, False),
        ("team", {"name": "other"}, True),
        ("team", {"name": "other", "team": "ads"}, False),
        ("cluster", {"name": "other", "team": "ads"}, True),
        ("cluster", {"name": "other", "clusters": {"matchLabels": {"region": "us"}}}, False),
        ("global", {"name": "other", "team": "ads", "clusters": {"matchLabels": {"region": "us"}}}, True),
    ],
)
def test_a_rate_limit_counts_the_approved_actions_of_its_scope(
    deliver: Deliver, store: Store, scope: str, others: dict[str, Any], counted: bool
) -> None:
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("remote", {"region": "us"}, {"L4": 16}))
    policy(store, {"type": "rate_limit", "scope": scope, "actions": 1, "window": "PT1H"})
    here: dict[str, Any] = {"clusters": {"matchLabels": {"region": "eu"}}}
    approved(deliver.decide(**{**here, **others}))
    if counted:
        [finding] = denied(deliver.decide(**here)).violations
        assert (finding.rule, finding.observed) == ("rate_limit", "2")
    else:
        approved(deliver.decide(**here))


def test_a_rate_limit_of_one_verb_counts_no_other_and_forgets_what_left_the_window(
    deliver: Deliver, store: Store
) -> None:
    policy(store, {"type": "rate_limit", "scope": "team", "actions": 1, "window": "PT1H", "verbs": ["update"]})
    approved(deliver.decide())
    runs(store)
    approved(update(deliver))
    runs(store)
    denied(update(deliver, "nginx:1.31"))
    with store.begin() as work:
        connection_of(work).execute(sa.text("UPDATE actions SET taken_at = taken_at - interval '1 hour'"))
    approved(update(deliver, "nginx:1.32"))


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize("off", [timedelta(hours=-1), timedelta(hours=1)], ids=["behind", "ahead"])
def test_an_agents_clock_that_is_off_decides_nothing(deliver: Deliver, store: Store, off: timedelta) -> None:
    policy(store, SLOW)
    with store.begin() as work:
        observed = (work.now + off).isoformat()
    samples = [{"observedAt": observed, "metrics": {"latency_p95_seconds": 0.1, "requests": 10.0}}]
    data = {"workload": str(id_of()), "samples": samples}
    assert deliver(INGESTION, REPORT, data, subject=str(id_of())).status == 202
    with store.begin() as work:
        roll_up(work, DEFAULT_RETENTION)
    approved(update(deliver))


def test_a_rate_limit_reads_no_more_actions_than_it_allows_and_one(deliver: Deliver, store: Store) -> None:
    policy(store, {"type": "rate_limit", "scope": "global", "actions": 2, "window": "P30D"})
    approved(deliver.decide("first"))
    with store.begin() as work:
        connection_of(work).execute(
            sa.text(
                "INSERT INTO actions (plan_id, workload_id, team, cluster, verb, taken_at) SELECT gen_random_uuid(),"
                " gen_random_uuid(), 'x', 'local', 'deploy', now() - interval '1 day' FROM generate_series(1, 20)"
            )
        )
    [finding] = denied(deliver.decide("second")).violations
    assert "had more than 2 actions" in finding.message
    with store.begin() as work:
        [record] = work.plans.decisions_on(id_of("second"))
    assert [len(one["times"]) for one in record.facts["actions"]] == [3]
