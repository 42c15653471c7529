"""The recurrences of a calendar: RFC 5545 RRULEs of days and longer, worked out by dateutil.

Every decision asks for the last occurrence, and dateutil counts from the first one. So occurrences are cached.
Rules that would make dateutil count for ever are refused: an interval of zero, a rule that no day fits, and a frequency
above daily (the time of day is the start's). Rules that RFC 5545 does not allow, such as a ninth Monday, are refused
too: dateutil takes them, and fails or ends when it comes to them.
"""

import functools
import re
import threading
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime

from dateutil.rrule import rrule, rrulestr

_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_PARTS = ("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYSETPOS",
          "BYDAY", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYMONTH")  # fmt: skip
_NUMBERS = {"BYSETPOS": (-366, 366), "BYMONTHDAY": (-31, 31), "BYYEARDAY": (-366, 366), "BYWEEKNO": (-53, 53),
            "BYMONTH": (1, 12)}  # fmt: skip
_NUMBER = re.compile(r"[+-]?\d{1,3}", re.ASCII)
_DAY = re.compile(r"(?P<which>[+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_UNTIL_DAY = re.compile(r"[0-9]{8}")
_UNTIL = re.compile(r"[0-9]{8}(T[0-9]{6})?")
_ANY_DAY = datetime(2026, 1, 1)  # noqa: DTZ001 - local times are naive here
_WHOLE_CYCLES = 19 * 400


@dataclass(frozen=True)
class Recurrence:
    """The parts of an RRULE, by name."""

    parts: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str, *, strict: bool = False) -> "Recurrence":
        """Raises ValueError that says what is wrong.

        strict: also refuse an UNTIL at which dateutil would guess. Rows that earlier releases have stored may hold one.
        """
        pairs = [part.partition("=") for part in text.upper().removeprefix("RRULE:").split(";")]
        found = cls(tuple((name, value) for name, _, value in pairs))
        names = [name for name, _ in found.parts]
        if unknown := [name for name in names if name not in _PARTS]:
            raise ValueError(f"{unknown[0][:40]!r} is not a part of a recurrence such as FREQ=WEEKLY;BYDAY=FR")
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is given twice")
        if strict:
            found._check_until()
        found._check(dict(found.parts))
        return found

    def _check_until(self) -> None:
        """`FRIDAY` and `2027` meant another day on each day that they were read."""
        for name, value in self.parts:
            if name == "UNTIL" and not _is_until(value.removesuffix("Z")):
                raise ValueError(
                    f"UNTIL holds {value[:40]!r}: write the last day, such as 20261218, or a local time, such as"
                    " 20261218T170000"
                )

    def rule(self, start: datetime) -> rrule:
        """The occurrences from `start` on. Raises ValueError.

        An UNTIL that is a day includes all of it (RFC 5545, section 3.3.10: "bounds the recurrence rule in an inclusive
        manner"); dateutil takes it for the day's first moment.
        """
        parts = {n: f"{v}T235959" if n == "UNTIL" and _UNTIL_DAY.fullmatch(v) else v for n, v in self.parts}
        text = ";".join(f"{name}={value}" for name, value in parts.items())
        try:
            return rrulestr(text, dtstart=start)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ValueError(f"is not an RFC 5545 recurrence such as FREQ=WEEKLY;BYDAY=FR: {error}") from None

    def happens(self, start: datetime) -> bool:
        """Whether there is an occurrence at all, for a start before the year 2200.

        dateutil looks for one to the end of the year 9999; the calendar repeats after 400 years, so starting near
        that end finds the same days and gives up soon.
        """
        endless = Recurrence(tuple(part for part in self.parts if part[0] not in ("COUNT", "UNTIL")))
        near_the_end = start.replace(year=start.year + _WHOLE_CYCLES)
        return _first(endless.rule(near_the_end)) is not None and _first(self.rule(start)) is not None

    def _check(self, parts: dict[str, str]) -> None:
        if parts.get("FREQ") not in _FREQUENCIES:
            raise ValueError(f"FREQ must be one of {', '.join(_FREQUENCIES)}")
        for name in ("INTERVAL", "COUNT"):
            if not re.fullmatch(r"[1-9]\d{0,3}", parts.get(name, "1"), re.ASCII):
                raise ValueError(f"{name} must be a number from 1 to 9999")
        if parts.get("UNTIL", "").endswith("Z"):
            raise ValueError("UNTIL is a local time of the time zone beside it: leave the Z out")
        for name, (least, most) in _NUMBERS.items():
            for value in parts[name].split(",") if name in parts else ():
                if not _NUMBER.fullmatch(value) or not int(value) or not least <= int(value) <= most:
                    raise ValueError(f"{name} holds {value[:40]!r}: it must be from {least} to {most}, and not 0")
        _check_days(parts)
        self.rule(_ANY_DAY)


def _check_days(parts: dict[str, str]) -> None:
    """The days of the week; one with a number, such as the second Monday, is counted in its month or year."""
    most = 0
    if parts["FREQ"] in ("MONTHLY", "YEARLY"):
        most = 5 if parts["FREQ"] == "MONTHLY" or "BYMONTH" in parts else 53
    for value in parts["BYDAY"].split(",") if "BYDAY" in parts else ():
        day = _DAY.fullmatch(value)
        if day is None:
            raise ValueError(
                f"is not an RFC 5545 recurrence such as FREQ=WEEKLY;BYDAY=FR: {value[:40]!r} is no day of the week"
            )
        which = day["which"]
        if which is not None and not most:
            raise ValueError(f"BYDAY holds {value!r}: days are numbered with FREQ=MONTHLY or FREQ=YEARLY only")
        if which is not None and not 1 <= abs(int(which)) <= most:
            raise ValueError(f"BYDAY holds {value!r}: there are at most {most} of a day in what it is counted in")


def _is_until(value: str) -> bool:
    form = "%Y%m%d" if _UNTIL_DAY.fullmatch(value) else "%Y%m%dT%H%M%S"
    try:
        return bool(_UNTIL.fullmatch(value) and datetime.strptime(value, form))  # noqa: DTZ007 - local
    except ValueError:
        return False


def _first(rule: rrule) -> datetime | None:
    return next(iter(rule), None)


class Occurrences:
    """The starts of one recurrence, cached up to the latest that was asked for. Safe for threads."""

    def __init__(self, text: str, start: datetime) -> None:
        self._coming = iter(Recurrence.parse(text).rule(start))
        self._known: list[datetime] = []
        self._lock = threading.Lock()

    def last(self, until: datetime) -> datetime | None:
        """The last one that is not later."""
        with self._lock:
            while not self._known or self._known[-1] <= until:
                following = next(self._coming, None)
                if following is None:
                    break
                self._known.append(following)
            index = bisect_right(self._known, until)
            return self._known[index - 1] if index else None


@functools.lru_cache(maxsize=10_000)
def recurrence(text: str, start: datetime) -> Occurrences:
    """The occurrences of a rule from a start, shared within this process."""
    return Occurrences(text, start)
