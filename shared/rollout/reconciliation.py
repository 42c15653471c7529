"""The ledger reconciled with Sentinel's revisions and plans: what each workload should have reserved. Pure.

1. At least what its live revisions take up.
2. While a plan is in progress, up to what policy reserved for it: the larger of the old and the new, with its surge.
   What was live when the plan was evaluated may have ended since. So revisions that ended after the plan was made
   count too, and those that rollouts have replaced since one of them last was healthy.
   A plan is in progress from its approval until its revision has settled. While the newest plan is undecided, what was
   reserved for those before it stays: the decision replaces it.
3. The newest plan, once approved, has reserved at least what it needs.

For example, a Deployment of 2 replicas that is scaled to 5 may have reserved 2 to 6 replicas while it rolls out (5 and
a surge of 1), and exactly 5 when it is healthy.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from shared.models.amounts import NOTHING, Amounts
from shared.models.deployment import Deployment
from shared.models.lifecycle import SETTLED_REVISIONS, PlanStatus
from shared.models.plan import ActionPlan
from shared.rollout import occupancy
from shared.rollout.occupancy import Lines


@dataclass(frozen=True)
class WorkloadAccount:
    """One workload with its lines in the ledger, by cluster and GPU SKU, and the records that they follow from.

    live: its live revisions. ended: those that ended after a plan in `plans` was made, or were replaced since it last
    was healthy. plans: those that its lines are reserved for, and those of its rollouts, which a later plan may have
    taken the lines over from.
    """

    workload_id: uuid.UUID
    label: str
    team: str
    kind: str
    newest_plan: ActionPlan | None
    reserved: Mapping[str, Mapping[str, Amounts]] = field(default_factory=dict)
    plans: Sequence[ActionPlan] = ()
    live: Sequence[Deployment] = ()
    ended: Sequence[Deployment] = ()


@dataclass(frozen=True)
class Discrepancy:
    """A line that is not what it should be; `expected` is the nearest right value."""

    cluster: str
    sku: str
    reserved: Amounts
    expected: Amounts


@dataclass(frozen=True)
class _Range:
    """What the lines of a cluster may be."""

    minimum: Lines
    maximum: Lines


def discrepancies(account: WorkloadAccount) -> list[Discrepancy]:
    """Every line that is too small or too large, by cluster and SKU."""
    return sorted(_discrepancies(account), key=lambda line: (line.cluster, line.sku))


def corrected_lines(account: WorkloadAccount, cluster: str) -> Lines:
    """The lines of a cluster with every discrepancy corrected; a line of nothing is left out."""
    wrong = {line.sku: line.expected for line in _discrepancies(account) if line.cluster == cluster}
    lines = {**account.reserved.get(cluster, {}), **wrong}
    return {sku: amounts for sku, amounts in lines.items() if amounts != NOTHING}


def awaits_execution(account: WorkloadAccount, cluster: str) -> bool:
    """Whether the lines of a cluster are reserved for a plan whose execution has not begun."""
    newest = account.newest_plan
    return newest is not None and newest.status is PlanStatus.APPROVED and newest.decision.cluster == cluster


def _discrepancies(account: WorkloadAccount) -> Iterator[Discrepancy]:
    clusters = {*account.reserved, *(revision.cluster for revision in account.live)}
    if account.newest_plan is not None and occupancy.keeps_reservation(account.newest_plan):
        clusters.add(account.newest_plan.decision.cluster)
    for cluster in clusters:
        reserved, allowed = account.reserved.get(cluster, {}), _allowed(account, cluster)
        for sku in {*reserved, *allowed.minimum}:
            amounts, minimum = reserved.get(sku, NOTHING), allowed.minimum.get(sku, NOTHING)
            maximum = allowed.maximum.get(sku, NOTHING)
            if not (minimum.within(amounts) and amounts.within(maximum)):
                yield Discrepancy(cluster, sku, amounts, _clamped(amounts, minimum, maximum))


def _allowed(account: WorkloadAccount, cluster: str) -> _Range:
    live = [revision for revision in account.live if revision.cluster == cluster]
    ended = [revision for revision in account.ended if revision.cluster == cluster]
    minimum = maximum = occupancy.occupied_by(live)
    for plan in _in_progress(account, cluster):
        maximum = _larger(maximum, occupancy.occupied_during(plan, account.kind, live))
        maximum = _larger(maximum, occupancy.occupied_during(plan, account.kind, [*live, *ended]))
    newest = account.newest_plan
    if newest is not None and occupancy.keeps_reservation(newest) and newest.decision.cluster == cluster:
        minimum = _larger(minimum, occupancy.occupied_during(newest, account.kind, live))
    return _Range(minimum, maximum)


def _in_progress(account: WorkloadAccount, cluster: str) -> Iterator[ActionPlan]:
    """The plans that the cluster's lines may be reserved for; see rule 2 above."""
    unsettled = {revision.plan_id for revision in account.live if revision.status not in SETTLED_REVISIONS}
    newest = account.newest_plan
    undecided = newest is not None and newest.status is PlanStatus.PROPOSED
    candidates = {plan.id: plan for plan in account.plans}
    if newest is not None and occupancy.keeps_reservation(newest):
        candidates[newest.id] = newest
    for plan in candidates.values():
        here = plan.decision.cluster == cluster and plan.decision.verb.applies
        if here and (undecided or occupancy.keeps_reservation(plan) or plan.id in unsettled):
            yield plan


def _larger(one: Lines, other: Lines) -> Lines:
    return {sku: one.get(sku, NOTHING).largest(other.get(sku, NOTHING)) for sku in {*one, *other}}


def _clamped(amounts: Amounts, minimum: Amounts, maximum: Amounts) -> Amounts:
    """The amounts, field by field raised to the minimum and cut to the maximum."""
    raised = amounts.largest(minimum)
    return maximum if maximum.within(raised) else maximum - (maximum - raised).largest(NOTHING)
