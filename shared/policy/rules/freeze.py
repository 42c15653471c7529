"""change_freeze: no changes in windows of a calendar.

A window starts at a local time of a time zone and lasts for a duration. A recurrence (RFC 5545 RRULE) repeats it by
that zone's calendar, so a freeze at midnight stays at midnight when daylight saving begins or ends. As in RFC 5545,
the days of a duration are calendar days and the rest is exact: P2D from a Saturday's midnight is the weekend, also
when that has 47 or 49 hours. Months are calendar months: P1M from 1 December ends at 1 January. A start in the hour
that clocks skip means an hour later; one in the hour that they repeat means the first time.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from shared.models.durations import CalendarDuration
from shared.models.fields import CalendarLength, LabelKey
from shared.models.validation import is_stored
from shared.policy.context import EvaluationContext
from shared.policy.rules.base import ExceededLimit, RuleModel
from shared.policy.rules.recurrence import Recurrence, recurrence
from shared.policy.vocabulary import PolicyModel

BREAK_GLASS = "break-glass"
_ANY_CHANGE_OF_CLOCKS = timedelta(days=1)
_LONGEST = timedelta(days=366)


@lru_cache(maxsize=1)
def _iana_zones() -> frozenset[str]:
    """The names of the IANA database, from the package tzdata: the same on every machine.

    The machine's own directory has more: `localtime` and `posixrules` are what its owner has chosen, and names in
    `right/` count leap seconds.
    """
    names = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(names) - {"Factory"}  # the zone of a machine that nobody has set up


def _known_zone(name: str, info: ValidationInfo) -> str:
    if is_stored(info):  # an earlier release took every name that its machine knew
        with suppress(ZoneInfoNotFoundError, ValueError, OSError):
            return ZoneInfo(name).key
    if name not in _iana_zones():
        raise ValueError(f"{name[:60]!r} is not a time zone of the IANA database, such as Europe/Berlin")
    return name


def _local(value: datetime) -> datetime:
    if value.tzinfo is not None:
        raise ValueError("is a local time of the time zone beside it: leave the offset out")
    if not 2000 <= value.year < 2200:
        raise ValueError("must be a year from 2000 to 2199")
    return value


def _some_of_a_year(value: CalendarDuration) -> CalendarDuration:
    if value == CalendarDuration():
        raise ValueError("must be longer than zero")
    if value.longest > _LONGEST:
        raise ValueError(f"must be at most {_LONGEST.days} days, or P12M")
    return value


def _readable(text: str, info: ValidationInfo) -> str:
    Recurrence.parse(text, strict=not is_stored(info))
    return text


class FreezeWindow(PolicyModel):
    """One window, or with a recurrence many. A recurrence begins at `start`, and keeps its time of day."""

    start: Annotated[datetime, AfterValidator(_local)]
    duration: Annotated[CalendarLength, AfterValidator(_some_of_a_year)]
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    recurrence: Annotated[str, Field(max_length=500), AfterValidator(_readable)] | None = None

    @model_validator(mode="after")
    def _happens(self) -> Self:
        if self.recurrence is not None and not Recurrence.parse(self.recurrence).happens(self.start):
            raise ValueError("never happens: no day from `start` on fits the recurrence")
        return self

    def ends(self, now: datetime) -> datetime | None:
        """When the window that `now` is in ends, in UTC; None outside. The start is inside, the end is outside."""
        zone = ZoneInfo(self.timezone)
        local = now.astimezone(zone).replace(tzinfo=None)
        start = self._last_start(local + _ANY_CHANGE_OF_CLOCKS)
        while start is not None and start > local - self.duration.longest - 2 * _ANY_CHANGE_OF_CLOCKS:
            end = _instant(self.duration.calendar_end(start), zone) + self.duration.exact
            if _instant(start, zone) <= now < end:
                return end
            start = self._last_start(start - timedelta(microseconds=1))
        return None

    def _last_start(self, until: datetime) -> datetime | None:
        if self.recurrence is None:
            return self.start if self.start <= until else None
        return recurrence(self.recurrence, self.start).last(until)


class ChangeFreeze(RuleModel):
    """No changes in any of the windows, but for workloads that carry the break-glass label with the value "true"."""

    type: Literal["change_freeze"]
    windows: Annotated[tuple[FreezeWindow, ...], Field(min_length=1, max_length=100)]
    break_glass_label: LabelKey = BREAK_GLASS

    def check(self, context: EvaluationContext) -> Iterator[ExceededLimit]:
        if context.plan.labels.get(self.break_glass_label) == "true":
            return
        now = context.now
        ends = max((end for window in self.windows if (end := window.ends(now))), default=None)
        if ends is not None:
            message = f"changes are frozen until {ends.isoformat()}"
            yield ExceededLimit("now", ends.isoformat(), now.astimezone(UTC).isoformat(), message, until=ends)


def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    return local.replace(tzinfo=zone).astimezone(UTC)
