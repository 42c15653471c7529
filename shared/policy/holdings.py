"""All that one workload holds, and the usage that this is in the workload's own scope."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from shared.models.amounts import NOTHING, Amounts
from shared.policy.facts import ScopeUsage


@dataclass(frozen=True)
class WorkloadHoldings:
    """The lines of one workload by cluster and GPU SKU, and what it has cost this month, in US dollars."""

    workload_id: uuid.UUID
    lines: Mapping[str, Mapping[str, Amounts]]
    month_to_date_usd: Decimal

    def at(self, cluster: str) -> Mapping[str, Amounts]:
        """The lines on one cluster."""
        return self.lines.get(cluster, {})

    def elsewhere(self, cluster: str) -> dict[str, Mapping[str, Amounts]]:
        """The lines on all other clusters."""
        return {name: lines for name, lines in self.lines.items() if name != cluster}

    @property
    def usage(self) -> ScopeUsage:
        """The same as usage in the workload's own scope."""
        return ScopeUsage(
            sum_by_sku(line for lines in self.lines.values() for line in lines.items()), self.month_to_date_usd
        )


def sum_by_sku(lines: Iterable[tuple[str, Amounts]]) -> dict[str, Amounts]:
    """Sums by GPU SKU; a SKU of which nothing is held is left out."""
    by_sku: dict[str, Amounts] = {}
    for sku, amounts in lines:
        by_sku[sku] = by_sku.get(sku, NOTHING) + amounts
    return {sku: amounts for sku, amounts in by_sku.items() if amounts != NOTHING}
