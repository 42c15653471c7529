"""When something is a fault, and when it is over: every threshold of the detectors, and where it comes from.

A fault is cleared later than it is raised and on a stricter condition, so that a value that goes up and down around a
threshold raises one fault.

Each is an environment variable too, `FAULT_` and its name: FAULT_DEGRADED_RATIO=0.8, FAULT_RECOVERED_AFTER=15m.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from shared.errors import ConfigurationError
from shared.settings import duration

_LONGEST = timedelta(days=1)


@dataclass(frozen=True)
class FaultSettings:
    """The thresholds. Times are counted in what the agent has observed: a reading after a long pause, or after the
    clock was put forward, counts as `longest_gap` at most.
    """

    longest_gap: timedelta = timedelta(minutes=2)

    recovered_after: timedelta = timedelta(minutes=5)
    """How long a GPU has to be well, after its reset where one is needed, until its fault is cleared. It is longer than
    the three minutes of silence that end a burst of XIDs (NVIDIA Fleet Intelligence, "XID Bursts")."""

    application_quiet: timedelta = timedelta(minutes=10)
    """After so long without the same XID, an application error is over. A container that crashes in a loop is restarted
    after five minutes at most (the kubelet's CrashLoopBackOff), and is one fault."""

    lost_after: timedelta = timedelta(seconds=30)
    """How long a GPU has to be away: a reset takes it away for some seconds."""

    hung_after: timedelta = timedelta(seconds=45)
    """How long the driver has to hang. NVIDIA's NVSentinel waits as long for an answer: three intervals of 15 s."""

    nvlink_down_after: timedelta = timedelta(minutes=1)
    """How long a link has to be down: it may be trained again by itself."""

    throttling_window: timedelta = timedelta(minutes=10)
    throttling_share: float = 0.5
    """Throttling that lasts: in half of the window. NVML reports a slowdown also for a moment at a change of clocks."""
    throttling_clear_share: float = 0.1

    degraded_window: timedelta = timedelta(minutes=10)
    degraded_share: float = 0.9
    degraded_clear_share: float = 0.1
    degraded_ratio: float = 0.75
    """A GPU below so much of its peers' median is slow. NVIDIA's Resiliency Extension calls a rank a straggler below a
    relative score of 0.75."""

    busy_percent: float = 80
    """From this utilization on, the clocks and links of a GPU can be expected to be at their best."""
    same_load_percent: float = 10
    """How far apart the utilization of two GPUs may be that have the same load."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "FaultSettings":
        """Raises ConfigurationError that names the variable."""
        given: dict[str, Any] = {}
        for one in fields(cls):
            variable = f"FAULT_{one.name.upper()}"
            if variable not in environment:
                continue
            if isinstance(one.default, timedelta):
                given[one.name] = _length(environment, variable, one.default)
            else:
                given[one.name] = _number(environment, variable, 100 if one.name.endswith("_percent") else 1)
        found = cls(**given)
        for clear, share in (
            ("throttling_clear_share", "throttling_share"),
            ("degraded_clear_share", "degraded_share"),
        ):
            if getattr(found, clear) >= getattr(found, share):
                raise ConfigurationError(f"FAULT_{clear.upper()} must be below FAULT_{share.upper()}")
        return found


def _length(environment: Mapping[str, str], variable: str, default: timedelta) -> timedelta:
    length = duration(environment, variable, default)
    if not timedelta(0) < length <= _LONGEST:
        raise ConfigurationError(f"{variable} must be longer than 0s, and at most 1d")
    return length


def _number(environment: Mapping[str, str], variable: str, largest: float) -> float:
    text = environment[variable]
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 < number <= largest:
        raise ConfigurationError(f"{variable} must be a number above 0 and at most {largest:g}, not {text[:20]!r}")
    return number


DEFAULTS = FaultSettings()
