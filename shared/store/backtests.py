"""Backtests that somebody asked for, and what came of them."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue

from shared.models.stored_backtest import BacktestState, StoredBacktest
from shared.store.tables import backtests


@dataclass(frozen=True)
class BacktestRows:
    """Backtests, inside one transaction."""

    connection: sa.Connection

    def add(self, backtest_id: uuid.UUID, requested_by: str, command: dict[str, JsonValue]) -> None:
        """A backtest that nobody has begun."""
        values = {"id": backtest_id, "requested_by": requested_by, "state": BacktestState.RUNNING, "command": command}
        self.connection.execute(backtests.insert().values(**values))

    def get(self, backtest_id: uuid.UUID) -> StoredBacktest | None:
        row = self.connection.execute(sa.select(backtests).where(backtests.c.id == backtest_id)).one_or_none()
        return None if row is None else _backtest(row)

    def begin(self, backtest_id: uuid.UUID, lease: timedelta) -> StoredBacktest | None:
        """Takes a backtest that is not over and that nobody works on; None for any other."""
        statement = (
            backtests.update()
            .where(
                backtests.c.id == backtest_id,
                backtests.c.state == BacktestState.RUNNING,
                sa.or_(backtests.c.lease_until.is_(None), backtests.c.lease_until < sa.func.clock_timestamp()),
            )
            .values(attempts=backtests.c.attempts + 1, lease_until=sa.func.clock_timestamp() + lease)
        )
        row = self.connection.execute(statement.returning(backtests)).one_or_none()
        return None if row is None else _backtest(row)

    def report(
        self, one: StoredBacktest, state: BacktestState, report: dict[str, JsonValue] | None, lease: timedelta
    ) -> bool:
        """Stores what an attempt has found; False when another one has replaced it, or the backtest was cancelled."""
        values = {"state": state, "report": report, "lease_until": sa.func.clock_timestamp() + lease}
        return self._write(one, values)

    def cancel(self, backtest_id: uuid.UUID) -> bool:
        """Ends a backtest with the report that it has; False for one that there is not, or that is over."""
        running = (backtests.c.id == backtest_id, backtests.c.state == BacktestState.RUNNING)
        ended = backtests.update().where(*running).values(state=BacktestState.CANCELLED, lease_until=None)
        return bool(self.connection.execute(ended).rowcount)

    def fail(self, one: StoredBacktest, problem: str) -> None:
        """Ends a backtest without a report."""
        self._write(one, {"state": BacktestState.FAILED, "problem": problem, "lease_until": None})

    def _write(self, one: StoredBacktest, values: dict[str, Any]) -> bool:
        mine = (
            backtests.c.id == one.id,
            backtests.c.attempts == one.attempts,
            backtests.c.state == BacktestState.RUNNING,
        )
        return bool(self.connection.execute(backtests.update().where(*mine).values(**values)).rowcount)


def _backtest(row: sa.Row[Any]) -> StoredBacktest:
    return StoredBacktest(
        id=row.id,
        requested_by=row.requested_by,
        state=BacktestState(row.state),
        command=row.command,
        report=row.report,
        problem=row.problem,
        attempts=row.attempts,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
