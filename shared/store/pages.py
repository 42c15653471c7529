"""Pages of a table: keyset pagination, whose cost does not depend on how far a page is from the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from shared.models.page import Page
from shared.store.rows import readable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shared.models.page import HistoryPart, PageRequest
    from shared.store.rows import Row

T = TypeVar("T")


def fetch(
    connection: sa.Connection,
    statement: sa.Select[Any],
    sorts: Mapping[str, Sequence[sa.Column[Any]]],
    request: PageRequest,
    read: Callable[[Row], T],
) -> Page[T]:
    """One page of what a statement selects; its rows have the columns of the key.

    sorts: of each sort of the list the columns of its key. No two rows share a key, and an index has its columns in
    this order.

    Rows that cannot be understood are left out, see shared.store.rows.readable: a page may have fewer than its limit.
    """
    key = sorts[request.sort]
    rows = connection.execute(page_of(statement, key, request)).all()
    shown = rows[: request.limit]
    following = tuple(shown[-1]._mapping[column] for column in key) if len(rows) > len(shown) else None
    return Page(list(readable(shown, read)), following)


def page_of(statement: sa.Select[Any], key: Sequence[sa.Column[Any]], request: PageRequest) -> sa.Select[Any]:
    """The statement of one page, and of one row more: it says whether there is another page."""
    if request.after is not None:
        here, there = sa.tuple_(*key), sa.tuple_(*map(sa.literal, request.after, (column.type for column in key)))
        statement = statement.where(here < there if request.descending else here > there)
    return statement.order_by(*(column.desc() if request.descending else column for column in key)).limit(
        request.limit + 1
    )


def part_of(statement: sa.Select[Any], key: Sequence[sa.Column[Any]], part: HistoryPart) -> sa.Select[Any]:
    """The statement of a part of what happened. key: the column of the moment, then what orders equal moments."""
    moment = key[0]
    if part.start is not None:
        statement = statement.where(moment <= part.start if part.backwards else moment >= part.start)
    return statement.order_by(*(column.desc() if part.backwards else column for column in key)).limit(part.limit)
