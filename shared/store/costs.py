"""What lines of the ledger have cost in a period, and how much of their GPUs was used."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from shared.models.cost import CostDimension, CostLine
from shared.models.gpu import normalise_sku
from shared.store.ledger import hours_since
from shared.store.rows import MONTH_START
from shared.store.tables import reservations, workload_costs, workloads
from shared.store.telemetry_tables import gpu_hours

_SUMS = ("usd", "gpu_usd", "gpu_hours", "month_usd", "usd_per_hour")


@dataclass(frozen=True)
class ObservedHours:
    """GPU hours that agents have told of; used: each times the utilization of its GPU, from 0 to 1."""

    observed: Decimal
    used: Decimal


@dataclass(frozen=True)
class CostRows:
    """Costs, inside one transaction."""

    connection: sa.Connection

    def lines(self, by: CostDimension, since: datetime, teams: frozenset[str] | None) -> list[CostLine]:
        """A line for each that has cost something since then, or costs something now. since: midnight in UTC.

        Without its forecast, its ceiling and what was used. teams: whose; None for all.
        """
        values: dict[str, object] = {"since": since}
        statement = _costs(by, teams is not None)
        if teams is not None:
            values["teams"] = sorted(teams)
        return [
            CostLine(key=str(row.key), label=str(row.label), **{name: getattr(row, name) for name in _SUMS})
            for row in self.connection.execute(statement, values)
        ]

    def observed_gpu_hours(
        self, by: CostDimension, since: datetime, teams: frozenset[str] | None
    ) -> dict[str, ObservedHours]:
        """Of the GPUs that workloads have been given, by the key of `lines`.

        By whole hours: one that has just ended is there some minutes later. A GPU that was observed in an hour counts
        for all of it, or for the part of its samples in which a container had it.
        """
        values: dict[str, object] = {"since": since}
        if teams is not None:
            values["teams"] = sorted(teams)
        found: dict[str, ObservedHours] = {}
        for row in self.connection.execute(_observed(by, teams is not None), values):
            key = normalise_sku(row.key) if by is CostDimension.SKU else str(row.key)
            known = found.get(key, ObservedHours(Decimal(0), Decimal(0)))
            found[key] = ObservedHours(known.observed + Decimal(str(row.observed)), known.used + Decimal(str(row.used)))
        return found


@lru_cache
def _costs(by: CostDimension, of_teams: bool) -> sa.Select[Any]:
    """What was charged, and what ran up since the last charge: together they are what the ledger says."""
    since = sa.bindparam("since", type_=sa.DateTime(timezone=True))
    day = sa.cast(workload_costs.c.day, sa.DateTime(timezone=False)).op("AT TIME ZONE")("UTC")
    in_period, in_month = day >= since, day >= MONTH_START
    of_gpus = workload_costs.c.gpu_hours > 0
    charged = sa.select(
        _key(by, workload_costs),
        _sum(workload_costs.c.usd, in_period).label("usd"),
        _sum(workload_costs.c.usd, sa.and_(in_period, of_gpus)).label("gpu_usd"),
        _sum(workload_costs.c.gpu_hours, in_period).label("gpu_hours"),
        _sum(workload_costs.c.usd, in_month).label("month_usd"),
        sa.literal(Decimal(0), sa.Numeric).label("usd_per_hour"),
    ).where(workload_costs.c.day >= sa.func.timezone("UTC", sa.func.least(since, MONTH_START)))
    hours = hours_since(sa.func.greatest(reservations.c.accrued_at, since))
    hours_of_month = hours_since(sa.func.greatest(reservations.c.accrued_at, MONTH_START))
    rate = reservations.c.usd_per_hour
    running = sa.select(
        _key(by, reservations),
        sa.func.sum(rate * hours),
        _sum(rate * hours, reservations.c.gpus > 0),
        sa.func.sum(reservations.c.gpus * hours),
        sa.func.sum(rate * hours_of_month),
        sa.func.sum(rate),
    )
    if of_teams:
        charged = charged.where(workload_costs.c.team.in_(sa.bindparam("teams", expanding=True)))
        running = running.where(reservations.c.team.in_(sa.bindparam("teams", expanding=True)))
    both = sa.union_all(charged.group_by(_key(by, workload_costs)), running.group_by(_key(by, reservations))).subquery()
    sums = [sa.func.sum(both.c[name]).label(name) for name in _SUMS]
    if by is not CostDimension.WORKLOAD:
        return sa.select(both.c.key, both.c.key.label("label"), *sums).group_by(both.c.key)
    label = sa.func.concat_ws("/", workloads.c.team, workloads.c.namespace, workloads.c.name)
    shown = sa.func.coalesce(sa.func.nullif(sa.func.max(label), ""), sa.cast(both.c.key, sa.Text)).label("label")
    rows = both.outerjoin(workloads, workloads.c.id == both.c.key)
    return sa.select(both.c.key, shown, *sums).select_from(rows).group_by(both.c.key)


@lru_cache
def _observed(by: CostDimension, of_teams: bool) -> sa.Select[Any]:
    """A row for each key; of SKUs the key is the product, as the driver names it."""
    hour = gpu_hours.c
    allocated = sa.cast(hour.allocated_samples, sa.Double) / hour.samples
    keys: dict[CostDimension, sa.ColumnElement[Any]] = {
        CostDimension.TEAM: workloads.c.team,
        CostDimension.WORKLOAD: hour.workload_id,
        CostDimension.SKU: hour.product,
        CostDimension.CLUSTER: hour.cluster,
    }
    statement = (
        sa.select(
            keys[by].label("key"),
            sa.func.sum(allocated).label("observed"),
            sa.func.sum(allocated * hour.utilization_percent_mean / 100).label("used"),
        )
        .join(workloads, workloads.c.id == hour.workload_id)
        .where(
            hour.starts_at >= sa.bindparam("since", type_=sa.DateTime(timezone=True)),
            hour.allocated_samples > 0,
            hour.utilization_percent_mean.is_not(None),
            hour.product.is_not(None),
        )
        .group_by(keys[by])
    )
    if of_teams:
        statement = statement.where(workloads.c.team.in_(sa.bindparam("teams", expanding=True)))
    return statement


def _key(by: CostDimension, table: sa.Table) -> sa.ColumnElement[Any]:
    return table.c["workload_id" if by is CostDimension.WORKLOAD else by.value].label("key")


def _sum(value: sa.ColumnElement[Any], where: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(value).filter(where), 0)
