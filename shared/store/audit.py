"""The audit log: who did what to which workload, as hash chains that show any later change.

A row's hash covers the bytes that are stored, the moment, and the hash before it. Chains are sharded by subject, so
that two workloads rarely wait for each other; the shard's lock is taken by the `audit_append` function
in the database and held to the end of the transaction, so it is the last thing that a transaction takes.
The columns beside the bytes are an index: what they say must be what the bytes say. Where the bytes name no team, the
column `team` is that of the workload that the row is about. `transaction_id` gives readers the order of commits. It is
0 in rows of earlier releases, which have no team, and must be set to 0 in rows that come from another database.

A chain whose newest rows are cut off, or that is written anew as a whole, is right in itself. Only heads that were
exported and signed before show it; see shared.operations.audit_export.
"""

import hashlib
import itertools
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue

from shared.eventing import strict_json
from shared.models.actor import SYSTEM, Actor
from shared.models.audit import ChainHead
from shared.store.tables import audit_log

SHARDS = 16
MAX_PROBLEMS = 1000
"""So many are listed: a log that somebody else wrote has one for each row."""
_PER_READ = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEFORE_ALL = (-(2**15), 0)
_WORKLOAD_TEAM: sa.Label[Any] = sa.literal_column(
    "CASE WHEN subject ~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$'"
    " THEN (SELECT w.team FROM workloads w WHERE w.id = CAST(subject AS uuid)) END"
).label("workload_team")
_HAS_BEGUN: sa.Label[Any] = sa.literal_column(
    "transaction_id BETWEEN 0 AND greatest(CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint) - 1,"
    " CAST(CAST(pg_current_xact_id_if_assigned() AS text) AS bigint))"
).label("has_begun")
_APPEND = sa.text("SELECT audit_append(CAST(:shard AS smallint), :action, :subject, :body, :actor, :team)")


@dataclass(frozen=True)
class AuditEntry:
    """One row, as a reader wants it. sequence: its place among the rows of its subject."""

    sequence: int
    recorded_at: datetime
    action: str
    subject: str
    actor: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class NewEntry:
    """A row to be written: what `actor` does to `subject`. `detail` must hold no secret."""

    action: str
    subject: str
    actor: Actor
    detail: dict[str, JsonValue]


def append(connection: sa.Connection, entry: NewEntry, at: datetime) -> None:
    """Adds a row to the chain of the subject's shard."""
    columns = {"action": entry.action, "subject": entry.subject, "actor": str(entry.actor)}
    body = strict_json.canonical({**entry.detail, **columns, "at": at.isoformat()})
    team = entry.detail.get("team")
    named = team if isinstance(team, str) else None
    connection.execute(_APPEND, {"shard": shard_of(entry.subject), **columns, "body": body, "team": named})


def shard_of(subject: str) -> int:
    """The chain that a subject's rows are in."""
    return zlib.crc32(subject.encode()) % SHARDS


def entries(connection: sa.Connection, subject: str) -> list[AuditEntry]:
    """All that was done to one subject, oldest first."""
    rows = connection.execute(
        sa.select(audit_log).where(audit_log.c.subject == subject).order_by(audit_log.c.shard, audit_log.c.sequence)
    )
    return [entry_from(row) for row in rows]


def entry_from(row: sa.Row[Any]) -> AuditEntry:
    """A row as a reader wants it."""
    return AuditEntry(row.sequence, row.recorded_at, row.action, row.subject, row.actor, detail(bytes(row.body)))


def heads(connection: sa.Connection) -> list[ChainHead]:
    """The head of every chain that has a row."""
    last = sa.select(audit_log.c.shard, sa.func.max(audit_log.c.sequence)).group_by(audit_log.c.shard)
    key = sa.tuple_(audit_log.c.shard, audit_log.c.sequence)
    newest = sa.select(audit_log).where(key.in_(last)).order_by(audit_log.c.shard)
    return [ChainHead(row.shard, row.sequence, bytes(row.hash)) for row in connection.execute(newest)]


def missing_heads(connection: sa.Connection, known: Sequence[ChainHead]) -> list[str]:
    """What became of heads of an earlier time: each must still be a row of its chain. Empty is good."""
    problems = []
    for head in known:
        statement = sa.select(audit_log.c.hash).where(
            audit_log.c.shard == head.shard, audit_log.c.sequence == head.sequence
        )
        found = connection.execute(statement).scalar_one_or_none()
        if found is None:
            problems.append(
                f"shard {head.shard}: row {head.sequence}, which was exported, is missing: the chain was cut"
            )
        elif bytes(found) != head.hash:
            problems.append(f"shard {head.shard}: row {head.sequence} is not the one that was exported")
    return problems


def verify(connection: sa.Connection) -> list[str]:
    """What is wrong with the chains: gaps, and rows whose hash is not that of their bytes. Empty is good."""
    problems = list(itertools.islice(_problems(connection), MAX_PROBLEMS + 1))
    return problems if len(problems) <= MAX_PROBLEMS else [*problems[:-1], "and more: only the first are listed"]


def _problems(connection: sa.Connection) -> Iterator[str]:
    shard, expected = None, (1, b"")
    for row in chain_rows(connection):
        if row.shard != shard:
            shard, expected = row.shard, (1, b"")
        sequence, previous = expected
        if row.sequence != sequence:
            yield f"shard {shard}: row {sequence} is missing"
        signed = b"".join((previous, _microseconds(row.recorded_at), bytes(row.body)))
        hashes = (previous, hashlib.sha256(signed).digest())
        if (bytes(row.previous_hash), bytes(row.hash)) != hashes or not _is_indexed(row):
            yield f"shard {shard}: row {row.sequence} was changed"
        elif not row.has_begun:
            yield f"shard {shard}: row {row.sequence} is of a transaction to come, so it is in no list"
        expected = (row.sequence + 1, bytes(row.hash))


def chain_rows(connection: sa.Connection) -> Iterator[sa.Row[Any]]:
    """Every row, chain by chain, a thousand in memory at a time. The transaction must see one moment."""
    key = (audit_log.c.shard, audit_log.c.sequence)
    after = _BEFORE_ALL
    while rows := connection.execute(
        sa.select(audit_log, _WORKLOAD_TEAM, _HAS_BEGUN)
        .where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, after)))
        .order_by(*key)
        .limit(_PER_READ)
    ).all():
        yield from rows
        after = (rows[-1].shard, rows[-1].sequence)


def _is_indexed(row: sa.Row[Any]) -> bool:
    """Whether the columns that rows are found by say what the bytes say, and the chain is the subject's."""
    said = _read(bytes(row.body))
    if said is None:
        return False
    named = (said.get("action"), said.get("subject"), said.get("actor", str(SYSTEM)))  # earlier releases name no actor
    return (
        (row.action, row.subject, row.actor) == named and row.shard == shard_of(row.subject) and _is_of_team(row, said)
    )


def _is_of_team(row: sa.Row[Any], said: Mapping[str, Any]) -> bool:
    named = said.get("team")
    if row.transaction_id == 0 and row.team is None:
        return True
    if isinstance(named, str):
        return bool(row.team == named)
    return row.team is None or row.workload_team in (None, row.team)


def _microseconds(at: object) -> bytes:
    """Since 1970, as PostgreSQL's int8send writes a bigint; empty for what no clock gives, such as `infinity`."""
    if not isinstance(at, datetime):
        return b""
    return ((at - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, signed=True)


def detail(body: bytes) -> dict[str, Any]:
    """What the bytes say beside action, subject and actor; bytes that were changed to no JSON say nothing."""
    said = _read(body) or {}
    return {name: value for name, value in said.items() if name not in ("action", "subject", "actor")}


def _read(body: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
