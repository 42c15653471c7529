"""Durations: two notations, no other, and what each text comes to."""

import re
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shared.models import durations
from shared.models.durations import CalendarDuration
from shared.models.fields import CalendarLength, Duration
from shared.models.validation import STORED

DURATION: TypeAdapter[timedelta] = TypeAdapter(Duration)
CALENDAR: TypeAdapter[CalendarDuration] = TypeAdapter(CalendarLength)
PLAIN: TypeAdapter[timedelta] = TypeAdapter(timedelta)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT0.2S", 0.2),
        ("PT0,2S", 0.2),
        ("PT30S", 30),
        ("PT10M", 600),
        ("PT1H30M", 5400),
        ("P1DT2H", 93_600),
        ("P1.5D", 129_600),
        ("P1W", 604_800),
        ("PT0S", 0),
    ],
)
def test_iso_8601_is_read(text: str, seconds: float) -> None:
    assert durations.iso8601(text).total_seconds() == seconds
    assert durations.parse(text).total_seconds() == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1m30s", 90), ("1h", 3600), ("1.5s", 1.5), (".5h", 1800), ("1.m", 60), ("250ms", 0.25),
     ("7us", 7e-6), ("2µs", 2e-6), ("3000ns", 3e-6), ("0", 0)],
)  # fmt: skip
def test_go_s_form_is_read(text: str, seconds: float) -> None:
    assert durations.go(text).total_seconds() == seconds
    assert durations.parse(text).total_seconds() == seconds


def test_a_day_belongs_to_documents_and_options_and_not_to_knative() -> None:
    assert durations.parse("1d12h") == durations.parse("P1DT12H") == timedelta(hours=36)
    with pytest.raises(ValueError, match="Go has no unit for days, write hours"):
        durations.go("1d")


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1DT", "30s", "PT-1S", "pt1s", "PT1", "1S", "PT1S ", "PT1.5H3M", "P1H"]
)
def test_what_is_not_iso_8601_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an ISO 8601 duration such as PT0\.2S"):
        durations.iso8601(text)


@pytest.mark.parametrize("text", ["P1M", "P1Y", "P0.5Y", "P1Y1D"])
def test_a_month_and_a_year_have_no_length_outside_of_a_calendar(text: str) -> None:
    with pytest.raises(ValueError, match="must not have months or years, whose length depends on the date: write days"):
        durations.parse(text)


@pytest.mark.parametrize("text", ["", "30", "PT30S", "30 s", "s", "1h30", "01:30", "5min", "٣s", "1e3s"])
def test_what_is_not_a_go_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 30s or 1m30s"):
        durations.go(text)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "must be a duration with a unit, as text: 10m, 1h30m, 30d or PT10M"),
        (90, "must be a duration with a unit, as text"),
        (None, "must be a duration with a unit, as text"),
        ("40", "write 40s, 40m or 40h"),
        ("01:30", "'01:30' is not a duration such as 10m, 1h30m, 30d or PT10M"),
        ("1 day", "is not a duration such as"),
        ("-5m", "must be a duration without a sign"),
        ("-PT5M", "must be a duration without a sign"),
        ("1ns", "must not be finer than a microsecond"),
        ("P999999999999D", "must not be longer than 999999999 days"),
        ("9" * 200 + "s", "must be a duration such as"),
    ],
)
def test_no_other_notation_is_guessed_at(value: object, said: str) -> None:
    for read in (durations.parse, durations.parse_calendar):
        with pytest.raises(ValueError, match=re.escape(said)):
            read(value)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("P1M", "2026-12-01", "2027-01-01"),
        ("P1M", "2027-01-31", "2027-02-28"),
        ("P1M", "2028-01-31", "2028-02-29"),
        ("P1Y", "2026-12-01", "2027-12-01"),
        ("P12M", "2028-02-29", "2029-02-28"),
        ("P1M2D", "2027-01-31", "2027-03-02"),
        ("P2W", "2026-12-01", "2026-12-15"),
        ("8d", "2026-12-24", "2027-01-01"),
    ],
)
def test_months_and_days_are_those_of_the_calendar(text: str, start: str, end: str) -> None:
    found = durations.parse_calendar(text)
    assert found.calendar_end(datetime.fromisoformat(start)) == datetime.fromisoformat(end)
    assert found.exact == timedelta(0)


def test_hours_are_exact_and_never_become_calendar_days() -> None:
    assert durations.parse_calendar("PT48H") == CalendarDuration(exact=timedelta(hours=48))
    assert durations.parse_calendar("1d12h") == CalendarDuration(days=1, exact=timedelta(hours=12))


@given(st.timedeltas(timedelta(0), timedelta(days=364)))
def test_a_duration_is_written_as_it_always_was(value: timedelta) -> None:
    assert DURATION.dump_python(value, mode="json") == PLAIN.dump_python(value, mode="json")


@given(st.timedeltas(timedelta(0), timedelta(days=4000)))
def test_what_is_written_reads_back_the_same(value: timedelta) -> None:
    text = DURATION.dump_python(value, mode="json")
    assert DURATION.validate_python(text) == value
    assert DURATION.validate_python(text, context=STORED) == value


@given(st.timedeltas(timedelta(0), timedelta(days=4000)))
def test_what_earlier_releases_have_stored_is_read(value: timedelta) -> None:
    assert DURATION.validate_python(PLAIN.dump_python(value, mode="json"), context=STORED) == value
    assert CALENDAR.validate_python(PLAIN.dump_python(value, mode="json"), context=STORED) == CalendarDuration.of(value)


@given(st.integers(0, 12), st.integers(0, 366), st.timedeltas(timedelta(0), timedelta(days=3)))
def test_a_calendar_duration_reads_back_the_same(months: int, days: int, exact: timedelta) -> None:
    duration = CalendarDuration(months, days, exact)
    text = CALENDAR.dump_python(duration, mode="json")
    assert CALENDAR.validate_python(text) == CALENDAR.validate_python(text, context=STORED) == duration
