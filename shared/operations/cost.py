"""What teams, workloads, SKUs or clusters have cost, and what they will have cost when the month ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from shared.models.cost import CostDimension, CostLine, CostReport
from shared.policy.months import cost, next_month
from shared.policy.rules.amounts import CostCeiling
from shared.policy.vocabulary import Mode, ScopeKind
from shared.telemetry.cost import idle_usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shared.policy.documents import PolicyDocument, Selector
    from shared.store.costs import ObservedHours
    from shared.store.unit_of_work import UnitOfWork

_SCOPES = {
    CostDimension.TEAM: (ScopeKind.TEAM, "teams"),
    CostDimension.CLUSTER: (ScopeKind.CLUSTER, "clusters"),
    CostDimension.WORKLOAD: (ScopeKind.WORKLOAD, ""),
}
"""The scope whose ceilings are shown, and the field of a selector that names what they are for."""


def report(
    work: UnitOfWork, by: CostDimension, since: datetime, teams: frozenset[str] | None, limit: int
) -> CostReport:
    """Costs from the beginning of the day of `since` (UTC), the dearest first. teams: whose; None for all.

    limit: how many lines; the total counts all.
    """
    start = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    hours = work.costs.observed_gpu_hours(by, start, teams)
    documents = [one.document for one in work.policies.all() if one.document is not None]
    ceilings = _Ceilings([one for one in documents if one.in_force(work.now) and one.mode is Mode.ENFORCE])
    left = next_month(work.now) - work.now
    lines = [
        replace(
            _with_use(line, hours.get(line.key)),
            forecast_usd=line.month_usd + cost(line.usd_per_hour, left),
            ceiling_usd=ceilings.of(by, line.key),
        )
        for line in work.costs.lines(by, start, teams)
    ]
    lines.sort(key=lambda line: (-line.usd, line.label, line.key))
    total = replace(_total(lines), ceiling_usd=ceilings.of_everything() if teams is None else None)
    return CostReport(by, start, work.now, lines[:limit], total, len(lines))


def _with_use(line: CostLine, hours: ObservedHours | None) -> CostLine:
    if hours is None:
        return line
    idle = idle_usd(line.gpu_usd, line.gpu_hours, hours.observed, hours.used)
    return replace(line, used_gpu_hours=hours.used, idle_usd=idle)


class _Ceilings:
    """What policies let things cost in a calendar month: the lowest that holds for all plans of a thing."""

    def __init__(self, documents: Sequence[PolicyDocument]) -> None:
        self._documents = documents

    def of(self, by: CostDimension, key: str) -> Decimal | None:
        if by not in _SCOPES:
            return None
        scope, named_by = _SCOPES[by]
        return _lowest(self._documents, scope, named_by, key)

    def of_everything(self) -> Decimal | None:
        return _lowest(self._documents, ScopeKind.GLOBAL, "", "")


def _lowest(documents: Iterable[PolicyDocument], scope: ScopeKind, named_by: str, key: str) -> Decimal | None:
    ceilings = [
        rule.usd_per_month
        for document in documents
        if _selects_all_of(document.selector, named_by, key)
        for rule in document.rules
        if isinstance(rule, CostCeiling) and rule.scope is scope and rule.usd_per_month is not None
    ]
    return min(ceilings, default=None)


def _selects_all_of(selector: Selector, named_by: str, key: str) -> bool:
    """Whether a selector asks for nothing but, perhaps, the name: one that asks for more binds only some plans."""
    asked = selector.model_dump(exclude_defaults=True)
    names = asked.pop(named_by, None)
    return not asked and (names is None or key in names)


def _total(lines: Sequence[CostLine]) -> CostLine:
    def together(name: str) -> Decimal:
        return sum((getattr(line, name) for line in lines), Decimal(0))

    def known(name: str) -> Decimal | None:
        values = [value for line in lines if (value := getattr(line, name)) is not None]
        return sum(values, Decimal(0)) if values else None

    return CostLine(
        key="",
        label="total",
        usd=together("usd"),
        gpu_usd=together("gpu_usd"),
        gpu_hours=together("gpu_hours"),
        used_gpu_hours=known("used_gpu_hours"),
        idle_usd=known("idle_usd"),
        month_usd=together("month_usd"),
        usd_per_hour=together("usd_per_hour"),
        forecast_usd=together("forecast_usd"),
    )
