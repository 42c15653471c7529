"""How often callers were denied what they asked for, as far as no row of the audit log says so yet."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.dialects.postgresql import ARRAY, insert

from shared.store.rows import one_of
from shared.store.tables import denials

_NOW = sa.func.clock_timestamp()


@dataclass(frozen=True)
class DenialRows:
    """Denials by a key, which names the caller and what they lack; inside one transaction."""

    connection: sa.Connection

    def count(self, key: str, subject: str, entry: Mapping[str, JsonValue], window: timedelta, most: int) -> int | None:
        """Counts a denial. None where it is only counted; for one that is to have a row, how many only were since.

        A row is for the first about each subject in a window, up to `most` subjects. entry: what the last row says.
        """
        known, named = denials.c, hashlib.sha256(subject.encode()).hexdigest()[:32]
        over, first = known.began_at < _NOW - window, sa.cast([named], ARRAY(sa.Text))
        listed = sa.or_(known.subjects.contains(first), sa.func.cardinality(known.subjects) >= most)
        recorded = sa.or_(over, sa.not_(listed))
        upsert = insert(denials).values(
            key=key, subjects=[named], entry=dict(entry), counted=0, earlier=0, began_at=_NOW
        )
        statement = upsert.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "began_at": sa.case((over, _NOW), else_=known.began_at),
                "subjects": sa.case((over, first), (listed, known.subjects), else_=known.subjects + first),
                "earlier": sa.case((recorded, known.counted), else_=0),
                "counted": sa.case((recorded, 0), else_=known.counted + 1),
                "entry": dict(entry),
                "updated_at": _NOW,
            },
        )
        row = self.connection.execute(statement.returning(known.counted, known.earlier)).one()
        return int(row.earlier) if row.counted == 0 else None

    def drop_quiet(self, window: timedelta, limit: int) -> list[tuple[dict[str, Any], int]]:
        """Deletes keys without a denial in the window: what the last row says, and how many only were counted."""
        quiet = sa.select(denials.c.key).where(denials.c.updated_at < _NOW - window)
        page = quiet.order_by(denials.c.updated_at).limit(limit).with_for_update(skip_locked=True)
        dropped = sa.delete(denials).where(one_of(denials.c.key, page)).returning(denials.c.entry, denials.c.counted)
        return [(row.entry, row.counted) for row in self.connection.execute(dropped)]
