"""What faults and breaches have led to: the two reads that bound it, of a table with workload, outcome and moment."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from shared.models.faults import ResponseOutcome


def proposals(table: sa.Table) -> sa.Select[int]:
    """How many plans were proposed for the `workload` after the moment `since`."""
    return (
        sa.select(sa.func.count())
        .select_from(table)
        .where(
            table.c.workload_id == sa.bindparam("workload"),
            table.c.decided_at > sa.bindparam("since"),
            _is(table, ResponseOutcome.PROPOSED),
        )
    )


def waiting(table: sa.Table, rows: sa.Select[Any]) -> sa.Select[Any]:
    """Locks `most` of the rows that wait for another plan and were not looked at after `before`, longest ago first.

    Those that another transaction looks at are left out. rows: what is selected from the table.
    """
    return (
        rows.where(_is(table, ResponseOutcome.WAITING), table.c.decided_at <= sa.bindparam("before"))
        .order_by(table.c.decided_at, *table.primary_key)
        .limit(sa.bindparam("most", type_=sa.Integer))
        .with_for_update(of=table, skip_locked=True)
    )


def _is(table: sa.Table, outcome: ResponseOutcome) -> sa.ColumnElement[bool]:
    # A literal: the partial indexes of both tables are found by it.
    column: sa.Column[Any] = table.c.outcome
    return column == sa.literal_column(f"'{outcome.value}'")
