"""Backtests that somebody asks for and comes back to: they are stored, with what was found up to now.

A run has a lease, which it renews with every part of its report. One that was cut off, as with its process, is begun
again by the next one who looks; after MAX_ATTEMPTS it has failed.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import NotFound, StoreUnavailable, WrongState
from shared.models.stored_backtest import BacktestState, StoredBacktest
from shared.models.validation import STORED
from shared.operations import backtest
from shared.operations.backtest import BacktestCommand
from shared.policy.documents import PolicyDocument

if TYPE_CHECKING:
    import uuid

    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.operations.backtest import BacktestReport
    from shared.store.unit_of_work import Store, UnitOfWork

logger = logging.getLogger("sentinel.backtest")

LEASE = timedelta(seconds=30)
REPORT_SECONDS = 1.0
REPORT_SHARE = 10
"""What is found up to now is stored that often, and takes at most one part in so many of the time."""
MAX_ATTEMPTS = 5


def ask(work: UnitOfWork, backtest_id: uuid.UUID, command: BacktestCommand, actor: Actor) -> StoredBacktest:
    """Stores a backtest; the caller has it run after the commit."""
    work.backtests.add(backtest_id, str(actor), _to_json(command))
    names: list[JsonValue] = [one.name for one in command.candidates]
    work.audit("policy.backtest_requested", f"backtest/{backtest_id}", actor, policies=names)
    return get(work, backtest_id)


def cancel(work: UnitOfWork, backtest_id: uuid.UUID, actor: Actor) -> StoredBacktest:
    """Ends a backtest with what it found up to now. Raises NotFound, and WrongState for one that is over."""
    cancelled = work.backtests.cancel(backtest_id)
    found = get(work, backtest_id)
    if not cancelled:
        raise WrongState(f"backtest {backtest_id} is {found.state} already")
    work.audit("policy.backtest_cancelled", f"backtest/{backtest_id}", actor)
    return found


def get(work: UnitOfWork, backtest_id: uuid.UUID) -> StoredBacktest:
    """A backtest. Raises NotFound, also for one that is not kept any more."""
    found = work.backtests.get(backtest_id)
    if found is None:
        raise NotFound(f"there is no backtest {backtest_id}; reports are kept for some days")
    return found


def run(store: Store, backtest_id: uuid.UUID) -> None:
    """Runs a backtest to its end, unless somebody else does. Never raises: its row says what came of it."""
    try:
        with store.begin() as work:
            one = work.backtests.begin(backtest_id, LEASE)
            if one is not None and one.attempts > MAX_ATTEMPTS:
                work.backtests.fail(one, f"it was cut off {MAX_ATTEMPTS} times: ask for fewer days")
                one = None
        if one is not None:
            _run(store, one)
    except StoreUnavailable as error:
        logger.warning("backtest %s was cut off, and begins again when somebody looks: %s", backtest_id, error)


def _run(store: Store, one: StoredBacktest) -> None:
    try:
        report = _replay(store, one)
    except StoreUnavailable:
        raise
    except Exception as error:  # whatever it is, it is about this backtest alone
        logger.exception("backtest %s failed", one.id)
        with store.begin() as work:
            work.backtests.fail(one, f"it failed: {type(error).__name__}; the server's log has the reason")
        return
    if report is not None:
        with store.begin() as work:
            work.backtests.report(one, BacktestState.DONE, report, LEASE)


def _replay(store: Store, one: StoredBacktest) -> dict[str, JsonValue] | None:
    """The report; None when the backtest was cancelled, or another attempt has replaced this one."""
    command = _from_json(one.command)
    with store.read() as reading:
        under_way = backtest.begin(reading, command)
    if not _store(store, one, under_way.report):
        return None
    due = time.monotonic() + REPORT_SECONDS
    for _ in backtest.replay(store, under_way):
        if (began := time.monotonic()) >= due:
            if not _store(store, one, under_way.report):
                return None
            now = time.monotonic()
            due = now + max(REPORT_SECONDS, (now - began) * REPORT_SHARE)
    return under_way.report.as_json()


def _store(store: Store, one: StoredBacktest, report: BacktestReport) -> bool:
    """Stores what was found up to now; False when nobody asks for more."""
    with store.begin() as work:
        return work.backtests.report(one, BacktestState.RUNNING, report.as_json(), LEASE)


def _to_json(command: BacktestCommand) -> dict[str, JsonValue]:
    return {
        "policies": [one.model_dump(mode="json", by_alias=True) for one in command.candidates],
        "seconds": command.reach.total_seconds(),
        "only": command.only,
        "limit": command.limit,
    }


def _from_json(document: dict[str, JsonValue]) -> BacktestCommand:
    policies, seconds, limit = document["policies"], document["seconds"], document["limit"]
    assert isinstance(policies, list)
    assert isinstance(seconds, int | float)
    assert isinstance(limit, int)
    candidates = [PolicyDocument.model_validate(one, context=STORED) for one in policies]
    return BacktestCommand(candidates, timedelta(seconds=seconds), document["only"] is True, limit)
