"""The audit log as readers want it: pages in the order in which rows became visible, and every row for an export.

Serial numbers and times become visible out of order: a transaction that began earlier may commit later. So a reader
that goes on behind the last row it saw stops before the oldest transaction that is still open. What is behind that
comes with a later page, and no row is ever passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from shared.models.audit import AuditFilter, AuditPosition, AuditRow, ChainHead, ExportedRow
from shared.models.page import HistoryPart, Page, PageRequest
from shared.store import audit, pages
from shared.store.audit import AuditEntry
from shared.store.tables import AUDIT_ORDER, audit_log

_ORDER = tuple(audit_log.c[name] for name in AUDIT_ORDER)
_UUID = "^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"
_SETTLED = sa.text("audit_log.transaction_id < ((pg_snapshot_xmin(pg_current_snapshot()))::text)::bigint")


@dataclass(frozen=True)
class AuditRows:
    """The audit log, inside one transaction. It can only be read and added to."""

    connection: sa.Connection

    def page(self, wanted: AuditFilter, request: PageRequest) -> Page[AuditRow]:
        """A page of the rows that are wanted. The one sort is `time`: the order of commits."""
        return pages.fetch(self.connection, _matching(wanted), {"time": _ORDER}, request, _row)

    def about(self, subject: str, part: HistoryPart) -> list[AuditEntry]:
        """What was done to one subject, by its moment."""
        statement = sa.select(audit_log).where(audit_log.c.subject == subject)
        rows = self.connection.execute(pages.part_of(statement, (audit_log.c.recorded_at, audit_log.c.sequence), part))
        return [audit.entry_from(row) for row in rows]

    def following(self, wanted: AuditFilter, after: AuditPosition | None, limit: int) -> list[AuditRow]:
        """At most `limit` rows, oldest first, those after a position (None: from the first)."""
        statement = _matching(wanted).order_by(*_ORDER).limit(limit)
        if after is not None:
            statement = statement.where(sa.tuple_(*_ORDER) > _place(after))
        return [_row(row) for row in self.connection.execute(statement)]

    def last_position(self) -> AuditPosition | None:
        """Where a reader that wants only what is to come begins; None for an empty log."""
        statement = sa.select(*_ORDER).where(_SETTLED).order_by(*(column.desc() for column in _ORDER)).limit(1)
        row = self.connection.execute(statement).one_or_none()
        return None if row is None else _position(row)

    def heads(self) -> list[ChainHead]:
        """The head of every chain."""
        return audit.heads(self.connection)

    def exported(self) -> Iterator[ExportedRow]:
        """Every row, chain by chain. A thousand are in memory at a time."""
        for row in audit.chain_rows(self.connection):
            hashes = bytes(row.previous_hash), bytes(row.hash)
            yield ExportedRow(row.shard, row.sequence, row.recorded_at, bytes(row.body), *hashes)

    def problems(self, known: Collection[ChainHead] = ()) -> list[str]:
        """What is wrong with the chains, and what became of heads that were exported. Empty is good."""
        return [*audit.verify(self.connection), *audit.missing_heads(self.connection, [*known])]


def _matching(wanted: AuditFilter) -> sa.Select[Any]:
    statement = sa.select(audit_log).where(_SETTLED)
    for column, value in (
        (audit_log.c.subject, wanted.subject),
        (audit_log.c.actor, wanted.actor),
        (audit_log.c.action, wanted.action),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if wanted.workloads:
        statement = statement.where(audit_log.c.subject.regexp_match(_UUID))
    if wanted.teams is not None:
        statement = statement.where(audit_log.c.team.in_(sorted(wanted.teams)))
    if wanted.since is not None:
        statement = statement.where(audit_log.c.recorded_at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(audit_log.c.recorded_at < wanted.until)
    return statement


def _place(position: AuditPosition) -> sa.ColumnElement[Any]:
    return sa.tuple_(
        sa.literal(position.transaction, sa.BigInteger),
        sa.literal(position.recorded_at),
        sa.literal(position.shard),
        sa.literal(position.sequence, sa.BigInteger),
    )


def _row(row: sa.Row[Any]) -> AuditRow:
    return AuditRow(
        _position(row), row.action, row.subject, row.actor, row.team, audit.detail(bytes(row.body)), bytes(row.hash)
    )


def _position(row: sa.Row[Any]) -> AuditPosition:
    return AuditPosition(row.transaction_id, row.recorded_at, row.shard, row.sequence)
