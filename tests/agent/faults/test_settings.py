"""The thresholds of faults, from the environment."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.faults.settings import DEFAULTS, FaultSettings
from shared.errors import ConfigurationError


def test_defaults_hold_where_nothing_is_set() -> None:
    assert FaultSettings.from_environment({}) == DEFAULTS


def test_each_threshold_has_a_variable() -> None:
    given = {"FAULT_DEGRADED_RATIO": "0.8", "FAULT_RECOVERED_AFTER": "15m", "FAULT_BUSY_PERCENT": "90"}
    assert FaultSettings.from_environment(given) == replace(
        DEFAULTS, degraded_ratio=0.8, recovered_after=timedelta(minutes=15), busy_percent=90
    )


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FAULT_DEGRADED_RATIO", "75%", "must be a number above 0 and at most 1, not '75%'"),
        ("FAULT_DEGRADED_RATIO", "nan", "must be a number above 0 and at most 1"),
        ("FAULT_BUSY_PERCENT", "101", "must be a number above 0 and at most 100"),
        ("FAULT_HUNG_AFTER", "45", "write 45s, 45m or 45h"),
        ("FAULT_HUNG_AFTER", "0s", "must be longer than 0s"),
        ("FAULT_THROTTLING_WINDOW", "2d", "at most 1d"),
        ("FAULT_THROTTLING_CLEAR_SHARE", "0.5", "must be below FAULT_THROTTLING_SHARE"),
    ],
)
def test_bad_threshold_names_its_variable(variable: str, value: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        FaultSettings.from_environment({variable: value})
    assert variable in str(refused.value)
