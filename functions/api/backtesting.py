"""Runs backtests after their requests were answered: one at a time in a process, in a thread of its own.

A process may end at any moment. Its backtests then have no lease any more, and whoever polls one has it begun again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from functions.api.problems import RequestRefused
from shared.operations import backtest_runs

if TYPE_CHECKING:
    import uuid

    from shared.store.unit_of_work import Store

MAX_WAITING = 20
"""Backtests that wait in one process. More are refused, so that nobody fills the memory with them."""

_turn = threading.Lock()
_known = threading.Lock()
_waiting: set[uuid.UUID] = set()


def check_room() -> None:
    """Raises RequestRefused, 429, while too many backtests wait here."""
    if len(_waiting) >= MAX_WAITING:
        raise RequestRefused(
            "too-many-requests", "too many backtests wait; ask again later", headers={"retry-after": "30"}
        )


def start(store: Store, backtest_id: uuid.UUID) -> None:
    """Has a backtest run in this process, unless it does already or another process has it."""
    with _known:
        if backtest_id in _waiting or len(_waiting) >= MAX_WAITING:
            return
        _waiting.add(backtest_id)
    threading.Thread(target=_run, args=(store, backtest_id), name=f"backtest-{backtest_id}", daemon=True).start()


def _run(store: Store, backtest_id: uuid.UUID) -> None:
    try:
        with _turn:
            backtest_runs.run(store, backtest_id)
    finally:
        with _known:
            _waiting.discard(backtest_id)
