"""The kinds of faults: whose fault each is, what NVIDIA says to do, and how long it has to last."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from agent.faults.fault import FaultKey
from agent.faults.settings import FaultSettings
from shared.models.telemetry import Blame, FaultKind
from shared.telemetry.xids import lookup

INCIDENTS = (FaultKind.XID, FaultKind.DOUBLE_BIT_ECC)
"""What happens at a moment. All other kinds are conditions, which last."""

STREAKS: Mapping[FaultKind, Callable[[FaultSettings], timedelta]] = {
    FaultKind.GPU_LOST: lambda settings: settings.lost_after,
    FaultKind.DRIVER_HUNG: lambda settings: settings.hung_after,
    FaultKind.ROW_REMAP_FAILURE: lambda settings: timedelta(0),
    FaultKind.NVLINK_DOWN: lambda settings: settings.nvlink_down_after,
}
"""How long a condition has to hold without a break. The flag of a failed row remapping is kept by the GPU itself."""


def _throttling(settings: FaultSettings) -> tuple[timedelta, float, float]:
    return settings.throttling_window, settings.throttling_share, settings.throttling_clear_share


def _degradation(settings: FaultSettings) -> tuple[timedelta, float, float]:
    return settings.degraded_window, settings.degraded_share, settings.degraded_clear_share


WINDOWS: Mapping[FaultKind, Callable[[FaultSettings], tuple[timedelta, float, float]]] = {
    FaultKind.THERMAL_THROTTLING: _throttling,
    FaultKind.POWER_THROTTLING: _throttling,
    FaultKind.DEGRADED: _degradation,
}
"""The window, and the shares of it at which a fault is raised and cleared."""

_SAME_ERROR = {
    FaultKind.DOUBLE_BIT_ECC: 48,
    FaultKind.ROW_REMAP_FAILURE: 64,
    FaultKind.NVLINK_DOWN: 74,
    FaultKind.GPU_LOST: 79,
}
"""The XID of the same error."""


def blame_of(key: FaultKey) -> Blame:
    """Whose fault a kind other than an XID is. NVML says of the power brake that it is pulled from outside of the GPU,
    for example by the power supply of the system."""
    return Blame.NODE if key.gpu is None or key.kind is FaultKind.POWER_THROTTLING else Blame.GPU


def action_of(key: FaultKey) -> str | None:
    """What NVIDIA says to do about a kind other than an XID: as about the XID of the same error. NVSentinel recommends
    RESTART_BM for a driver that hangs."""
    if key.kind is FaultKind.DRIVER_HUNG:
        return "RESTART_BM"
    code = _SAME_ERROR.get(key.kind)
    return lookup(code).immediate_action if code is not None else None
