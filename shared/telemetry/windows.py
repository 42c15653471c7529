"""Which minutes and hours a window is made of. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class RollupRange:
    """The whole minutes from `minutes` up to `hours`, and the whole hours from there on; UTC."""

    minutes: datetime
    hours: datetime


def rollup_range(window: timedelta, now: datetime) -> RollupRange:
    """What covers the window that ends now. It begins with a whole minute; one of more than a day with a whole hour.

    Five minutes at 12:00:30 begin at 11:55:00, and a week at 12:30 begins at 12:00.
    """
    start = now - window
    hour = start.replace(minute=0, second=0, microsecond=0)
    if window > _DAY:
        return RollupRange(hour, hour)
    minute = start.replace(second=0, microsecond=0)
    return RollupRange(minute, hour if minute == hour else hour + _HOUR)
