"""The audit log: who did what to which workload, as hash chains that show any later change.

A row's hash covers the bytes that are stored, the moment, and the hash before it. Chains are sharded by subject, so
that two workloads rarely wait for each other; the shard's lock is taken by the `audit_append` function
in the database and held to the end of the transaction, so it is the last thing that a transaction takes.
The columns beside the bytes are an index: what they say must be what the bytes say. Where the bytes name no team, the
column `team` is that of the workload that the row is about.

A chain whose newest rows are cut off, or that is written anew as a whole, is right in itself. Only heads that were
exported and signed before show it; see shared.operations.audit_export.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
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
_PER_READ = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_APPEND = sa.text("SELECT audit_append(CAST(:shard AS smallint), :action, :subject, :body, :actor, :team)")


@dataclass(frozen=True)
class AuditEntry:
    """One row, as a reader wants it."""

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
    return [AuditEntry(row.recorded_at, row.action, row.subject, row.actor, _detail(bytes(row.body))) for row in rows]


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
    problems: list[str] = []
    expected = dict.fromkeys(range(SHARDS), (1, b""))
    for row in chain_rows(connection):
        sequence, previous = expected[row.shard]
        if row.sequence != sequence:
            problems.append(f"shard {row.shard}: row {sequence} is missing")
        body = bytes(row.body)
        digest = hashlib.sha256(previous + _microseconds(row.recorded_at) + body).digest()
        if (bytes(row.previous_hash), bytes(row.hash)) != (previous, digest) or not _indexed(row, body):
            problems.append(f"shard {row.shard}: row {row.sequence} was changed")
        expected[row.shard] = (row.sequence + 1, bytes(row.hash))
    return problems


def chain_rows(connection: sa.Connection) -> Iterator[sa.Row[Any]]:
    """Every row, chain by chain, a thousand in memory at a time. The transaction must see one moment."""
    key = (audit_log.c.shard, audit_log.c.sequence)
    after = (-1, 0)
    while rows := connection.execute(
        sa.select(audit_log).where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, after))).order_by(*key).limit(_PER_READ)
    ).all():
        yield from rows
        after = (rows[-1].shard, rows[-1].sequence)


def _indexed(row: sa.Row[tuple[object, ...]], body: bytes) -> bool:
    """Whether the columns that rows are found by say what the bytes say."""
    try:
        said = json.loads(body)
        actor = said.get("actor", str(SYSTEM))  # rows of earlier releases name none
        named = said.get("team")
        of_team = not isinstance(named, str) or row.team == named or row.transaction_id == 0  # an earlier release
        return bool((row.action, row.subject, row.actor) == (said["action"], said["subject"], actor) and of_team)
    except (ValueError, KeyError, TypeError):
        return False


def _microseconds(at: datetime) -> bytes:
    """Since 1970, as PostgreSQL's int8send writes a bigint."""
    return ((at - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, signed=True)


def _detail(body: bytes) -> dict[str, Any]:
    return {name: value for name, value in json.loads(body).items() if name not in ("action", "subject", "actor")}
