"""Answers that requests were given under their idempotency keys."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.errors import AlreadyInProgress
from shared.store.tables import idempotency_keys

_CLASS = 1_768_186_224
"""The first half of the keys of these advisory locks."""


@dataclass(frozen=True)
class KeptAnswer:
    """An answer. digest: of the request that it was given to."""

    digest: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class IdempotencyRows:
    """Idempotency keys, inside one transaction. owner: whose key it is; others may have the same one."""

    connection: sa.Connection

    def claim(self, owner: str, key: str) -> KeptAnswer | None:
        """The answer that was given under a key; None when there is none, and the key is this transaction's now.

        Raises AlreadyInProgress while another transaction has it: nobody waits for one.
        """
        row = self.connection.execute(_CLAIM, {"owner": owner, "key": key, "lock": _lock(owner, key)}).one()
        if row.status is not None:
            return KeptAnswer(bytes(row.digest), row.status, row.headers, bytes(row.body))
        if not row.locked:
            raise _in_progress(key)
        return None

    def keep(self, owner: str, key: str, answer: KeptAnswer) -> None:
        """Keeps an answer. Raises AlreadyInProgress when a transaction that ended just now had the key."""
        values = {
            "owner": owner,
            "key": key,
            "digest": answer.digest,
            "status": answer.status,
            "headers": dict(answer.headers),
            "body": answer.body,
        }
        if self.connection.execute(_KEEP, values).rowcount == 0:
            raise _in_progress(key)


def _lock(owner: str, key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{owner}\n{key}".encode()).digest()[:4], "big", signed=True)


def _in_progress(key: str) -> AlreadyInProgress:
    return AlreadyInProgress(f"the request with the Idempotency-Key {key!r} is being carried out; ask again")


_columns = idempotency_keys.c
# The lock is tried by the statement that reads: whoever had it until just now is found by the insert.
_CLAIM = sa.select(
    sa.func.pg_try_advisory_xact_lock(_CLASS, sa.bindparam("lock", type_=sa.Integer)).label("locked"),
    _columns.digest,
    _columns.status,
    _columns.headers,
    _columns.body,
).select_from(
    sa.select(sa.literal(1).label("one"))
    .subquery()
    .outerjoin(
        idempotency_keys,
        sa.and_(_columns.owner == sa.bindparam("owner"), _columns.key == sa.bindparam("key")),
    )
)
_KEEP = insert(idempotency_keys).on_conflict_do_nothing()
