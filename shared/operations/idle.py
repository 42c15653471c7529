"""GPUs that are allocated and not used, with what they cost."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from shared.models.idle import IdleReport

if TYPE_CHECKING:
    from shared.models.idle import IdleRules
    from shared.store.unit_of_work import UnitOfWork


def report(work: UnitOfWork, rules: IdleRules, teams: frozenset[str] | None, limit: int) -> IdleReport:
    """The idle GPUs, the dearest first. teams: whose; None for all. limit: how many; the sums count all."""
    found = sorted(work.idle.gpus(rules, work.now, teams), key=lambda one: (-one.usd, one.cluster, one.node, one.gpu))
    usd = sum((one.usd for one in found), Decimal(0))
    usd_per_hour = sum((one.usd_per_hour for one in found), Decimal(0))
    return IdleReport(rules, work.now, found[:limit], len(found), usd, usd_per_hour)
