"""When something is a fault, and when it is over: every threshold of the detectors, and where it comes from.

A fault is cleared later than it is raised and on a stricter condition, so that a value that goes up and down around a
threshold raises one fault.
"""

from dataclasses import dataclass
from datetime import timedelta


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


DEFAULTS = FaultSettings()
