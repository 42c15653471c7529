"""A backtest replays decisions one by one into its report."""

from datetime import timedelta

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.operations import backtest
from shared.operations.backtest import BacktestCommand, BacktestReport, Replay
from shared.policy.backtest import BacktestOutcome
from shared.policy.documents import PolicyDocument
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver

QUOTA = PolicyDocument.model_validate({"name": "quota", "rules": [{"type": "quota", "gpus": 3}]})
COMMAND = BacktestCommand([QUOTA], timedelta(days=1), only=False, limit=10)


def begun(store: Store, command: BacktestCommand) -> Replay:
    with store.read() as work:
        return backtest.begin(work, command)


def replayed(store: Store, command: BacktestCommand) -> BacktestReport:
    under_way = begun(store, command)
    for _ in backtest.replay(store, under_way, page=2):
        pass
    return under_way.report


def test_differences_are_counted_by_outcome_and_team(store: Store, deliver: Deliver) -> None:
    deliver.decide("a")
    deliver.decide("b")
    deliver.decide("c", team="ads")
    report = replayed(store, COMMAND)
    assert (report.total, report.replayed, report.unchanged) == (3, 3, 2)
    assert report.outcomes == {BacktestOutcome.DENIED: 1}
    assert report.teams == {"search": {BacktestOutcome.DENIED: 1}}
    assert [one.plan.name for one in report.listed] == ["b"]


def test_a_backtest_that_is_stopped_keeps_what_it_found(store: Store, deliver: Deliver) -> None:
    for name in ("a", "b", "c"):
        deliver.decide(name)
    under_way = begun(store, COMMAND)
    next(backtest.replay(store, under_way, page=2))
    report = under_way.report
    assert (report.total, report.replayed, report.outcomes.total()) == (3, 2, 1)


def test_what_is_decided_meanwhile_is_not_replayed(store: Store, deliver: Deliver) -> None:
    deliver.decide("a")
    under_way = begun(store, COMMAND)
    deliver.decide("b")
    assert list(backtest.replay(store, under_way)) == []
    assert (under_way.report.total, under_way.report.replayed) == (1, 1)


def test_a_replay_holds_no_connection_between_its_pages(postgres: EmbeddedPostgres, deliver: Deliver) -> None:
    for name in ("a", "b", "c"):
        deliver.decide(name)
    engine = connect(postgres.url, pool_size=1, max_overflow=0)
    try:
        store = Store(engine)
        for _ in backtest.replay(store, begun(store, COMMAND), page=1):
            assert store.now(), "the only connection is free"
    finally:
        engine.dispose()


def test_the_limit_lists_and_never_counts(store: Store, deliver: Deliver) -> None:
    for name in ("a", "b", "c"):
        deliver.decide(name)
    report = replayed(store, BacktestCommand([QUOTA], timedelta(days=1), only=False, limit=1))
    assert (report.outcomes.total(), len(report.listed)) == (2, 1)
