"""Deletes what is over and old, a page of each table at a time.

Every statement follows an index of exactly the rows that may go, oldest first. So it costs the same however many rows
stay, and two of them at once skip each other's rows.
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from shared.models.retention import Retention
from shared.store import inbox
from shared.store.rows import MONTH_START, one_of
from shared.store.tables import (
    UNUSED,
    account_tokens,
    actions,
    backtests,
    dead_letters,
    fault_responses,
    gpu_faults,
    idempotency_keys,
    login_attempts,
    outbox,
    refresh_tokens,
    slo_breaches,
    usage,
    withdrawals,
    workload_costs,
)

_EXPIRED = timedelta(days=1)
"""A refresh token is over once it has expired, and so is a count of failed logins when its window has passed."""


def forget(connection: sa.Connection, retention: Retention, limit: int) -> None:
    """Deletes at most `limit` rows of each table, for each reason to delete them.

    Usage that counts nothing goes when its month is over: until then its row says what the month has cost.
    """
    inbox.forget_old(connection, retention.events, limit)
    _forget(connection, outbox.c.published_at, _ago(retention.events), limit)
    _forget(connection, withdrawals.c.updated_at, _ago(retention.events), limit)
    _forget(connection, idempotency_keys.c.created_at, _ago(retention.events), limit)
    _forget(connection, backtests.c.created_at, _ago(retention.events), limit)
    _forget(connection, outbox.c.updated_at, _ago(retention.letters), limit, outbox.c.refused.is_not(None))
    _forget(connection, dead_letters.c.redriven_at, _ago(retention.letters), limit)
    _forget(connection, gpu_faults.c.updated_at, _ago(retention.history), limit)
    _forget(connection, fault_responses.c.updated_at, _ago(retention.history), limit)
    _forget(connection, slo_breaches.c.over_at, _ago(retention.history), limit)
    _forget(connection, actions.c.taken_at, _ago(retention.actions), limit)
    _forget(connection, refresh_tokens.c.expires_at, _ago(_EXPIRED), limit)
    _forget(connection, account_tokens.c.expires_at, _ago(retention.letters), limit)
    _forget(connection, login_attempts.c.updated_at, _ago(_EXPIRED), limit)
    _forget(connection, usage.c.accrued_at, MONTH_START, limit, sa.text(UNUSED))
    connection.execute(_FORGET_COSTS, {"age": retention.history, "most": limit})


def _ago(age: timedelta) -> sa.ColumnElement[datetime]:
    return sa.func.now() - age


def _forget(
    connection: sa.Connection,
    moment: sa.Column[Any],
    before: sa.ColumnElement[datetime],
    limit: int,
    *over: sa.ColumnElement[bool] | sa.TextClause,
) -> None:
    """Deletes rows of a table with one key column whose `moment` is before another; NULL is no moment."""
    table = moment.table
    (key,) = table.primary_key
    old = sa.select(key).where(*over, moment < before).order_by(moment).limit(limit)
    connection.execute(sa.delete(table).where(one_of(key, old.with_for_update(skip_locked=True))))


def _forget_costs() -> sa.Delete:
    """Costs go when they are old, but never those of this month: policy adds them up."""
    table, key = workload_costs, workload_costs.primary_key.columns
    before = sa.func.timezone("UTC", sa.func.least(sa.func.now() - sa.bindparam("age", type_=sa.Interval), MONTH_START))
    old = sa.select(*key).where(table.c.day < sa.cast(before, sa.Date)).order_by(table.c.day)
    page = old.limit(sa.bindparam("most", type_=sa.BigInteger)).with_for_update(skip_locked=True).cte("old")
    return sa.delete(table).where(*(column == page.c[column.name] for column in key))


_FORGET_COSTS = _forget_costs()
