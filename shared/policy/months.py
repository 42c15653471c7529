"""Calendar months in UTC, which ceilings a month count in, and exact cost over time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

_MICROSECOND = timedelta(microseconds=1)
_AN_HOUR = Decimal(timedelta(hours=1) // _MICROSECOND)


def month_start(moment: datetime) -> datetime:
    """The first moment of its calendar month, in UTC."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(moment: datetime) -> datetime:
    """The first moment of the following calendar month, in UTC."""
    return month_start(month_start(moment) + timedelta(days=32))


def cost(usd_per_hour: Decimal, time: timedelta) -> Decimal:
    """Multiplied before it is divided: a result that has an exact decimal comes out exact."""
    return usd_per_hour * (time // _MICROSECOND) / _AN_HOUR
