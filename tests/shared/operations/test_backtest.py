"""A backtest replays decisions one by one into its report."""

from datetime import timedelta

from shared.operations import backtest
from shared.operations.backtest import BacktestCommand, BacktestReport
from shared.policy.backtest import BacktestOutcome
from shared.policy.documents import PolicyDocument
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver

QUOTA = PolicyDocument.model_validate({"name": "quota", "rules": [{"type": "quota", "gpus": 3}]})
COMMAND = BacktestCommand([QUOTA], timedelta(days=1), only=False, limit=10)


def replayed(store: Store, command: BacktestCommand, decisions: int | None = None) -> BacktestReport:
    """The report of a backtest that is stopped after so many decisions."""
    with store.read() as work:
        report = backtest.begin(work, command)
        for _ in backtest.replay(work, command, report):
            if report.replayed == decisions:
                break
    return report


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
    report = replayed(store, COMMAND, decisions=2)
    assert (report.total, report.replayed, report.outcomes.total()) == (3, 2, 1)


def test_the_limit_lists_and_never_counts(store: Store, deliver: Deliver) -> None:
    for name in ("a", "b", "c"):
        deliver.decide(name)
    report = replayed(store, BacktestCommand([QUOTA], timedelta(days=1), only=False, limit=1))
    assert (report.outcomes.total(), len(report.listed)) == (2, 1)
