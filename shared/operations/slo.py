"""Error budgets: which burn too fast by the objectives of policy, found by the tick from rollups.

A breach begins when the burn rates of both windows of a pair are above its factor, and is over when one is not any
more. Each is told of once when it begins, and once when it is over: one transaction at a time makes rollups, and the
same looks at budgets. While telemetry of a workload is missing, its breaches stay as they are.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.models.amounts import Amounts
from shared.models.plan import Verb
from shared.models.pod import Security
from shared.models.slo import Breach, BreachChange, BreachState, Crossing
from shared.policy import objectives
from shared.policy.decision import PlanView
from shared.policy.resources import ANY_SKU
from shared.telemetry.burn import burns_too_fast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime
    from decimal import Decimal

    from shared.models.actor import Actor
    from shared.models.stored import Workload
    from shared.operations.policy_cache import PolicyCache
    from shared.policy.facts import ServiceLevel
    from shared.policy.policy_set import PolicySet
    from shared.store.unit_of_work import UnitOfWork

INTERVAL = timedelta(minutes=1)
"""How often the budgets of a workload are looked at: the shortest window of the workbook is 5 minutes."""

PAGE = 100
"""Workloads that a tick looks at."""

_NAMESPACE = uuid.UUID("5e471e1a-0000-5000-8000-000000000005")


def check(work: UnitOfWork, policies: PolicyCache, reported: Collection[uuid.UUID], actor: Actor) -> list[BreachChange]:
    """The breaches that begin or are over. reported: the workloads that there is new telemetry of.

    The caller makes rollups in the same transaction, so no other transaction does this meanwhile.
    """
    due = work.breaches.take_due(work.now, INTERVAL, PAGE)
    if not due and not reported:
        return []
    current = policies.current(work)
    if reported and objectives.promise_anything(current.policies):
        work.breaches.watch(reported, work.now)
    if not due:
        return []
    lasting = work.breaches.lasting(due)
    workloads = work.workloads.get_many(due)
    changes: list[BreachChange] = []
    idle: list[uuid.UUID] = []
    burning: dict[uuid.UUID, float] = {}
    for workload_id in due:
        workload, breaches = workloads.get(workload_id), lasting.get(workload_id, {})
        crossings = {} if workload is None else _crossings(current, workload, work.now)
        if workload is None or not crossings:
            changes += _end_all(work, breaches)
            idle.append(workload_id)
            continue
        windows = sorted({window for one in crossings for window in (one.long, one.short)})
        levels = work.facts.service_levels(workload_id, windows, work.now)
        rates = {one: objectives.burn_rate_of(one, levels, workload.created_at, work.now) for one in crossings}
        gone = {crossing: one for crossing, one in breaches.items() if crossing not in crossings}
        changes += [*_end_all(work, gone), *_compare(work, workload_id, crossings, rates, breaches)]
        burning |= _rates_now(breaches, rates)
        if not breaches and _is_silent(levels):
            idle.append(workload_id)
    if burning:
        work.breaches.update_rates(burning)
    if idle:
        work.breaches.unwatch(idle)
    for change in changes:
        work.audit(f"slo.breach.{change.state}", str(change.breach.workload_id), actor, **described(change))
    return changes


def described(change: BreachChange) -> dict[str, str | float | None]:
    """A change for the history of its workload."""
    return {
        "breach": str(change.breach.id),
        "policy": change.breach.policy,
        "target": change.breach.crossing.target,
        "burn_rate": change.burn_rate,
        "message": change.message,
    }


def _crossings(policies: PolicySet, workload: Workload, now: datetime) -> Mapping[Crossing, str]:
    if workload.withdrawn or not workload.revision:
        return {}
    spec = workload.spec
    resources = spec.resources
    replica = Amounts(1, resources.cpu, resources.memory, resources.gpu.count, workload.usd_per_replica_hour)
    view = PlanView(
        plan_id=workload.plan_id,
        workload_id=workload.id,
        name=spec.name,
        verb=Verb.UPDATE,
        type=spec.type,
        team=spec.team,
        namespace=spec.namespace,
        cluster=workload.cluster,
        labels=spec.labels,
        image=spec.image,
        security=Security(),
        host_paths=(),
        lines={resources.gpu.sku or ANY_SKU: replica.times(spec.most_replicas)},
        held={},
    )
    return objectives.crossings(policies, view, now)


def _compare(
    work: UnitOfWork,
    workload_id: uuid.UUID,
    crossings: Mapping[Crossing, str],
    rates: Mapping[Crossing, Decimal | None],
    lasting: Mapping[Crossing, Breach],
) -> Iterator[BreachChange]:
    """What has begun or ended, the fastest burning first."""
    for crossing, policy in sorted(crossings.items(), key=lambda one: -one[0].factor):
        rate, breach = rates[crossing], lasting.get(crossing)
        if rate is None:
            continue
        too_fast = burns_too_fast(rate, crossing.factor)
        if breach is None and too_fast:
            name = "\n".join(map(str, (workload_id, crossing, work.now.isoformat())))
            begun = Breach(uuid.uuid5(_NAMESPACE, name), workload_id, policy, crossing, float(rate), work.now)
            if work.breaches.add(begun):
                message = f"{_burns(crossing, rate)}; {crossing.factor:g} is the most"
                yield BreachChange(begun, BreachState.RAISED, float(rate), message)
        elif breach is not None and not too_fast and work.breaches.end(breach.id, work.now):
            yield BreachChange(breach, BreachState.OVER, float(rate), _burns(crossing, rate))


def _rates_now(lasting: Mapping[Crossing, Breach], rates: Mapping[Crossing, Decimal | None]) -> dict[uuid.UUID, float]:
    """How fast the budgets of breaches burn that were there before, where that has changed."""
    return {
        breach.id: float(rate)
        for crossing, breach in lasting.items()
        if (rate := rates.get(crossing)) is not None and float(rate) != breach.burn_rate
    }


def _end_all(work: UnitOfWork, breaches: Mapping[Crossing, Breach]) -> Iterator[BreachChange]:
    for breach in breaches.values():
        if work.breaches.end(breach.id, work.now):
            yield BreachChange(breach, BreachState.OVER, None, "no policy has this objective for the workload any more")


def _burns(crossing: Crossing, rate: Decimal) -> str:
    budget = f"the error budget of {crossing.target:.4%}"
    return f"{budget} burns {rate:.1f} times as fast as it may over {crossing.long} and {crossing.short}"


def _is_silent(levels: Mapping[timedelta, ServiceLevel]) -> bool:
    return all(level.newest is None for level in levels.values())
