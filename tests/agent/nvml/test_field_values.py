"""Readings by field ids follow from the answers alone, whatever the readings before were like."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.nvml.calls import FieldId, Output
from agent.nvml.failures import Failures
from agent.nvml.field_values import FieldValues

LINKS = 3
WHOLE = {1: ("nvlinks_supported", 1.0), 2: ("memory_temperature_celsius", 0.5), 3: ("retired_pages_pending", 1.0)}
OF_LINKS = {7: ("nvlinks_active", 1.0), 8: ("nvlink_replay_errors_total", 2.0)}
IDS = [
    *(FieldId(field, number, Output(field, float, factor), False) for number, (field, factor) in WHOLE.items()),
    *(FieldId(field, number, Output(field, float, factor), True) for number, (field, factor) in OF_LINKS.items()),
]
FORMATS = "dIQQqiH"  # by nvmlValueType_t
PLACES = [(number, 0) for number in WHOLE] + [(number, link) for number in OF_LINKS for link in range(LINKS)]


@dataclass(frozen=True)
class Answer:
    """kind: nvmlValueType_t; 7 is of a driver that is newer than this agent, and no number."""

    code: int
    kind: int
    number: int

    @property
    def value(self) -> float:
        return 0.0 if self.kind >= len(FORMATS) else self.number


Answers = Mapping[tuple[int, int], Answer]
WELL = Answer(pynvml.NVML_SUCCESS, 1, 1)
FIRST: Answers = {**dict.fromkeys(PLACES, WELL), (1, 0): Answer(pynvml.NVML_SUCCESS, 1, LINKS)}

answers = st.builds(
    Answer,
    st.sampled_from([pynvml.NVML_SUCCESS] * 5 + [pynvml.NVML_ERROR_UNKNOWN, pynvml.NVML_ERROR_NOT_SUPPORTED]),
    st.sampled_from([1] * 5 + [0, 3, 4, 6, 7]),
    st.integers(0, 9),
)
changes = st.dictionaries(st.sampled_from(PLACES), answers, max_size=2)
"""Of one reading to the next: most answers stay, so that readings are alike for a while."""


class Library:
    """nvmlDeviceGetFieldValues as in C: it fills the places of an array in, each with a code of its own."""

    def __init__(self) -> None:
        self.now: Answers = FIRST
        self.asked: list[tuple[int, int]] = []

    def fill(self, _handle: object, _count: int, values: Any) -> int:
        self.asked = [(value.fieldId, value.scopeId) for value in values]
        for value in values:
            answer = self.now[value.fieldId, value.scopeId]
            value.valueType, value.nvmlReturn = answer.kind, answer.code
            raw = struct.pack(f"={FORMATS[answer.kind]}", answer.number) if answer.kind < len(FORMATS) else b""
            value.value.ullVal = int.from_bytes(raw.ljust(8, b"\xff"), "little")  # the rest is not said
        return int(pynvml.NVML_SUCCESS)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setattr(pynvml, "nvmlLib", SimpleNamespace(nvmlDeviceGetFieldValues=library.fill))
    return library


def expected(answers: Answers, supported: set[tuple[int, int]]) -> dict[str, float]:
    """By the rules; takes the places away that are not supported any more."""
    found = {}
    for number, (field, factor) in {**WHOLE, **OF_LINKS}.items():
        places = [place for place in PLACES if place[0] == number and place in supported]
        gone = {place for place in places if answers[place].code == pynvml.NVML_ERROR_NOT_SUPPORTED}
        supported -= gone
        if len(gone) == len(places) or any(answers[place].code == pynvml.NVML_ERROR_UNKNOWN for place in places):
            continue
        found[field] = sum(answers[place].value for place in places if place not in gone) * factor
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(changes, min_size=1, max_size=8))
def test_a_reading_is_what_the_rules_make_of_its_answers(library: Library, steps: list[Answers]) -> None:
    library.now = FIRST
    values, metrics = FieldValues(Failures("GPU-0"), IDS), dict[str, float]()
    values.explore(None, metrics)
    supported = set(PLACES)
    assert metrics == expected(FIRST, supported)
    for step in steps:
        library.now = {**library.now, **step}
        for _ in range(2):
            found = dict[str, float]()
            values.read(None, found)
            assert found == expected(library.now, supported)
    values.read(None, {})
    assert set(library.asked) == supported or not supported
