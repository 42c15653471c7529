"""Between rows and models."""

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.dialects.postgresql import ARRAY

from shared.errors import RowUnreadable
from shared.models.amounts import Amounts

logger = logging.getLogger("sentinel.store")

T = TypeVar("T")
Row = sa.Row[Any]

NOT_UNDERSTOOD = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What the building of a model raises for a row that does not hold what the model needs."""

POLICY_SET_LOCK = 5_718_243_906_112_574_839
"""The advisory lock that a decision shares and a change of policies takes alone, both until their commit."""

WORKLOAD_LOCKS = 5_471_003
"""The class of the advisory locks of workload ids: a first submission and its withdrawal lock one in place of a row."""

IDENTITY_LOCK = 5_718_243_906_112_574_840
"""The advisory lock that a change of accounts and roles takes."""

MONTH_START = sa.func.date_trunc("month", sa.func.now(), "UTC")
"""When the calendar month began; money is counted by the month."""

_IDS = ARRAY(sa.Uuid)
AMOUNT_COLUMNS = ("replicas", "cpu", "memory", "gpus", "usd_per_hour")


def amounts_to_columns(amounts: Amounts) -> dict[str, Any]:
    return {name: getattr(amounts, name) for name in AMOUNT_COLUMNS}


def amounts_from(row: Mapping[Any, Any]) -> Amounts:
    """From a JSON document, or from a row that has the columns."""
    return Amounts(
        int(row["replicas"]),
        int(row["cpu"]),
        int(row["memory"]),
        int(row["gpus"]),
        Decimal(row["usd_per_hour"]),
    )


def any_of(column: sa.ColumnElement[uuid.UUID], name: str) -> sa.ColumnElement[bool]:
    """Whether a column is among a list of ids, the parameter `name`: one text and one plan for any number of them."""
    return column == sa.any_(sa.bindparam(name, type_=_IDS))


def one_of(column: sa.ColumnElement[T], page: sa.Select[Any]) -> sa.ColumnElement[bool]:
    """Whether a column is among the values of a limited selection, which is made once.

    PostgreSQL may make `IN (SELECT .. LIMIT n FOR UPDATE SKIP LOCKED)` again for every row that it looks at, and takes
    another n rows each time.
    """
    return column == sa.any_(sa.func.array(page.scalar_subquery()))


def unreadable(what: str, error: Exception) -> RowUnreadable:
    """The error for a row that cannot be understood; `what` names it. Values are left out: they may be secrets."""
    if isinstance(error, ValidationError):
        problem = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    else:
        problem = f"{type(error).__name__}: {error}"
    return RowUnreadable(f"{what} cannot be read by this release: {problem[:500]}")


def readable(rows: Iterable[Row], read: Callable[[Row], T]) -> Iterator[T]:
    """The rows of a page that can be understood. Each of the others is logged, and stops nobody."""
    for row in rows:
        try:
            yield read(row)
        except RowUnreadable as error:
            logger.error("%s", error)
