"""What GPUs cost that nobody used."""

from decimal import Decimal

_NOTHING = Decimal(0)


def idle_usd(gpu_usd: Decimal, gpu_hours: Decimal, observed: Decimal, used: Decimal) -> Decimal:
    """What was paid for GPU hours that were observed and not used.

    gpu_usd: the cost of `gpu_hours`, the hours of GPUs that were allocated. observed: the hours of those that agents
    have told of; used: these, each times the utilization of its GPU, from 0 to 1. Nothing is known of an hour that
    nobody observed, so it is not called idle.
    """
    if not gpu_hours or not observed:
        return _NOTHING
    unused = min(observed, gpu_hours) * max(_NOTHING, 1 - used / observed)
    return gpu_usd * unused / gpu_hours
