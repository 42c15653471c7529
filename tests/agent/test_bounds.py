"""A reading keeps the values that can be measurements, whatever the readings before had."""

import math

from hypothesis import given
from hypothesis import strategies as st

from agent.bounds import Bounds
from shared.telemetry.fields import GPU_FIELDS

BOUNDS = Bounds(GPU_FIELDS)
SOME = sorted(GPU_FIELDS)[:6]
EDGES = [bound for name in SOME for bound in (GPU_FIELDS[name].minimum, GPU_FIELDS[name].maximum)]
values = st.one_of(st.floats(), st.sampled_from([*EDGES, 0.5, 1.5]))


@given(st.lists(st.dictionaries(st.sampled_from([*SOME, "colour"]), values), max_size=3))
def test_what_is_kept_are_the_values_of_known_fields_within_their_bounds(readings: list[dict[str, float]]) -> None:
    for reading in readings:
        expected = {
            name: value
            for name, value in reading.items()
            if (field := GPU_FIELDS.get(name)) and not math.isnan(value) and field.minimum <= value <= field.maximum
        }
        assert BOUNDS.believed(reading) == expected
