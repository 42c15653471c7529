"""Durations in the two notations of Kubernetes' world, and in no other.

- ISO 8601 (section 5.5.2.2): `PT10M`, `P1DT12H`, `P2W`, `PT0.2S`. Only the smallest part may have a fraction.
- Go's (package time, ParseDuration): `10m`, `1h30m`, `1.5h`, `300ms`. Sentinel adds the unit d: `30d` is `P30D`.
  Knative's annotations are Go's alone.

A number without a unit is refused, because nobody can tell seconds from minutes. So is `01:30`, which is read as an
hour and a half by some and as ninety seconds by others.

A month has no fixed length. `parse` refuses months and years; `parse_calendar` takes them where a duration begins at a
known day: `P1M` from 1 December ends at 1 January, and from 31 January at the last day of February.
"""

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from functools import lru_cache

EXAMPLES = "10m, 1h30m, 30d or PT10M"
_NUMBER = r"[0-9]{1,15}(?:[.,][0-9]{1,15})?"
_ISO = re.compile(
    rf"P(?=.)(?:({_NUMBER})Y)?(?:({_NUMBER})M)?(?:({_NUMBER})W)?(?:({_NUMBER})D)?"
    rf"(?:T(?=.)(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?"
)
_GO_PART = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(ns|us|µs|μs|ms|s|m|h|d)")
_SECOND = 1_000_000  # microseconds, in which timedelta counts
_GO_UNITS = {
    "ns": Fraction(1, 1000),
    "us": Fraction(1),
    "µs": Fraction(1),
    "μs": Fraction(1),
    "ms": Fraction(1000),
    "s": Fraction(_SECOND),
    "m": Fraction(60 * _SECOND),
    "h": Fraction(3600 * _SECOND),
    "d": Fraction(86_400 * _SECOND),
}
_LONGEST_TEXT = 100
_DAYS_A_STORED_YEAR = 365
_TOO_LONG = f"must not be longer than {timedelta.max.days} days"


@dataclass(frozen=True)
class CalendarDuration:
    """Calendar months, then calendar days, then an exact time, as RFC 5545 (section 3.3.6) adds days and hours."""

    months: int = 0
    days: int = 0
    exact: timedelta = timedelta(0)

    @classmethod
    def of(cls, value: timedelta) -> "CalendarDuration":
        """The whole days as calendar days, the rest as an exact time."""
        return cls(days=value.days, exact=value - timedelta(days=value.days))

    @property
    def longest(self) -> timedelta:
        """No calendar makes it longer: a month has at most 31 days and twelve months have at most 366."""
        years, months = divmod(self.months, 12)
        return timedelta(days=366 * years + 31 * months + self.days) + self.exact

    def calendar_end(self, start: datetime) -> datetime:
        """A local start after the months and the days, at the same time of day. `exact` is left to the caller.

        A month that lacks the day ends it at its last one: 31 January and a month is 28 or 29 February.
        """
        year, month = divmod(start.year * 12 + start.month - 1 + self.months, 12)
        day = min(start.day, calendar.monthrange(year, month + 1)[1])
        return start.replace(year=year, month=month + 1, day=day) + timedelta(days=self.days)

    def __str__(self) -> str:
        months = f"{self.months}M" if self.months else ""
        days = f"{self.days}D" if self.days else ""
        rest = _iso_time(self.exact) if self.exact else ""
        return f"P{months}{days}{rest}" if months or days or rest else "PT0S"


def parse(value: object) -> timedelta:
    """The length of a text in either notation. Raises ValueError that says what to write."""
    text = _text(value)
    return iso8601(text) if text.startswith("P") else _go(text, days=True)


def parse_calendar(value: object) -> CalendarDuration:
    """As `parse`, with months and years: `P1M`, `P1Y2M10D`. Raises ValueError that says what to write."""
    text = _text(value)
    months, exact = Fraction(0), Fraction(0)
    if text.startswith("P"):
        years, months, weeks, days, *time = _iso_parts(text)
        if years.denominator != 1 or months.denominator != 1:
            raise ValueError("must not have a fraction of a month or a year: write days, such as P10D")
        months, days, exact = 12 * years + months, 7 * weeks + days, _time(time)
    else:
        parts = _go_parts(text, days=True)
        days = sum((number for number, unit in parts if unit == "d"), Fraction(0))
        exact = sum((number * _GO_UNITS[unit] for number, unit in parts if unit != "d"), Fraction(0))
    whole, rest = divmod(days, 1)
    if whole > timedelta.max.days:
        raise ValueError(_TOO_LONG)
    return CalendarDuration(int(months), int(whole), _timedelta(exact + rest * _GO_UNITS["d"]))


def iso8601(text: str, *, days_a_year: int | None = None) -> timedelta:
    """The length of an ISO 8601 duration. Raises ValueError that says what to write.

    days_a_year: how many days a year is taken for; None, which is for whatever a caller sends, refuses years.
    """
    years, months, weeks, days, *time = _iso_parts(text)
    if months or (years and days_a_year is None):
        raise ValueError("must not have months or years, whose length depends on the date: write days, such as P30D")
    return _timedelta((years * (days_a_year or 0) + 7 * weeks + days) * _GO_UNITS["d"] + _time(time))


@lru_cache(maxsize=1024)  # every stored workload has two, and most of them are the same
def stored(text: str) -> timedelta:
    """The length of a duration that an earlier release has stored: it wrote 365 days as `P1Y`. Raises ValueError."""
    return iso8601(text, days_a_year=_DAYS_A_STORED_YEAR)


def go(text: str) -> timedelta:
    """The length of a Go duration, without days. Raises ValueError that says what to write."""
    return _go(text, days=False)


def format_iso8601(value: timedelta) -> str:
    """The canonical text: 90 seconds -> "PT1M30S", 30 days -> "P30D", 366 days -> "P366D", nothing -> "PT0S"."""
    rest = value - timedelta(days=value.days)
    days = f"{value.days}D" if value.days else ""
    return f"P{days}{_iso_time(rest) if rest or not days else ''}"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a duration with a unit, as text: {EXAMPLES}")
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"must be a duration such as {EXAMPLES}")
    if value[:1] in ("-", "+"):
        raise ValueError(f"must be a duration without a sign, such as {EXAMPLES}")
    return value


def _iso_parts(text: str) -> list[Fraction]:
    """Years, months, weeks, days, hours, minutes, seconds."""
    found = _ISO.fullmatch(text)
    given = [part for part in found.groups() if part is not None] if found else []
    if found is None or any(not part.isdecimal() for part in given[:-1]):
        raise ValueError(f"{text[:40]!r} is not an ISO 8601 duration such as PT0.2S, PT30S, PT10M or P30D")
    return [Fraction((part or "0").replace(",", ".")) for part in found.groups()]


def _time(parts: list[Fraction]) -> Fraction:
    hours, minutes, seconds = parts
    return (hours * 3600 + minutes * 60 + seconds) * _SECOND


def _go_parts(text: str, *, days: bool) -> list[tuple[Fraction, str]]:
    """The numbers and their units. days: whether the unit d is taken."""
    if text == "0":  # the one number that Go takes without a unit
        return []
    parts = _GO_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        unit = f": write {text}s, {text}m or {text}h" if text.isascii() and text.isdecimal() else ""
        raise ValueError(f"{text[:40]!r} is not a duration such as {EXAMPLES if days else '30s or 1m30s'}{unit}")
    if not days and any(unit == "d" for _, unit in parts):
        raise ValueError(f"{text[:40]!r} is not a duration such as 30s or 1m30s: Go has no unit for days, write hours")
    return [(Fraction(number if number[-1] != "." else number[:-1]), unit) for number, unit in parts]


def _go(text: str, *, days: bool) -> timedelta:
    return _timedelta(sum((number * _GO_UNITS[unit] for number, unit in _go_parts(text, days=days)), Fraction(0)))


def _timedelta(microseconds: Fraction) -> timedelta:
    if microseconds.denominator != 1:
        raise ValueError("must not be finer than a microsecond")
    try:
        return timedelta(microseconds=int(microseconds))
    except OverflowError:
        raise ValueError(_TOO_LONG) from None


def _iso_time(value: timedelta) -> str:
    """ "T1M30S" of less than a day, or of more where days are not told apart: "T48H"."""
    minutes, microseconds = divmod(value // timedelta(microseconds=1), 60 * _SECOND)
    hours, minutes = divmod(minutes, 60)
    seconds, fraction = divmod(microseconds, _SECOND)
    text = f"{hours}H" if hours else ""
    text += f"{minutes}M" if minutes else ""
    if fraction:
        text += f"{seconds}.{fraction:06}".rstrip("0") + "S"
    elif seconds or not text:
        text += f"{seconds}S"
    return f"T{text}"
