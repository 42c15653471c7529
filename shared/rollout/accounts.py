"""What a workload should hold in the ledger, by what Sentinel's own revisions and plans say. Pure.

1. At least what its live revisions take up.
2. While a plan is being done, up to what policy held for it: the larger of the old and the new, with its surge. What
   was live when the plan was judged may have ended since, so revisions that ended after it was made count too, and
   those that rollouts have replaced since one of them last was healthy.
   A plan is being done from its approval until its revision has settled. While the newest is undecided, what was
   held for those before it stays: the decision replaces it.
3. The newest plan, once approved, holds at least what is needed to do it.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from shared.models.amounts import NOTHING, Amounts
from shared.models.deployment import Deployment
from shared.models.lifecycle import SETTLED_REVISIONS, PlanStatus
from shared.models.plan import ActionPlan
from shared.rollout import holding
from shared.rollout.holding import Lines


@dataclass(frozen=True)
class Account:
    """One workload with what it holds, by cluster.

    live: its live revisions. ended: those that ended after a plan in `plans` was made, or were replaced since it last
    was healthy. plans: those that its lines are held for. newest: its newest plan.
    """

    workload_id: uuid.UUID
    label: str
    team: str
    kind: str
    newest: ActionPlan | None
    held: Mapping[str, Mapping[str, Amounts]] = field(default_factory=dict)
    plans: Sequence[ActionPlan] = ()
    live: Sequence[Deployment] = ()
    ended: Sequence[Deployment] = ()


@dataclass(frozen=True)
class LineDifference:
    """A line that is not what it should be; `expected` is the nearest right value."""

    cluster: str
    sku: str
    held: Amounts
    expected: Amounts


@dataclass(frozen=True)
class _Bounds:
    least: Lines
    most: Lines


def differences(account: Account) -> list[LineDifference]:
    """Every line that is too small or too large, by cluster and SKU."""
    return sorted(_differences(account), key=lambda line: (line.cluster, line.sku))


def corrected(account: Account, cluster: str) -> Lines:
    """The lines of a cluster with every difference mended; a line of nothing is left out."""
    wrong = {line.sku: line.expected for line in _differences(account) if line.cluster == cluster}
    lines = {**account.held.get(cluster, {}), **wrong}
    return {sku: amounts for sku, amounts in lines.items() if amounts != NOTHING}


def awaits_execution(account: Account, cluster: str) -> bool:
    """Whether the lines of a cluster are held for a plan that nobody has begun to execute."""
    newest = account.newest
    return newest is not None and newest.status is PlanStatus.APPROVED and newest.decision.cluster == cluster


def _differences(account: Account) -> Iterator[LineDifference]:
    clusters = {*account.held, *(revision.cluster for revision in account.live)}
    if account.newest is not None and holding.holds(account.newest):
        clusters.add(account.newest.decision.cluster)
    for cluster in clusters:
        held, bounds = account.held.get(cluster, {}), _bounds(account, cluster)
        for sku in {*held, *bounds.least}:
            amounts, least = held.get(sku, NOTHING), bounds.least.get(sku, NOTHING)
            most = bounds.most.get(sku, NOTHING)
            if not (least.within(amounts) and amounts.within(most)):
                yield LineDifference(cluster, sku, amounts, _between(amounts, least, most))


def _bounds(account: Account, cluster: str) -> _Bounds:
    live = [revision for revision in account.live if revision.cluster == cluster]
    once = [revision for revision in account.ended if revision.cluster == cluster]
    least = most = holding.standing(live)
    for plan in _being_done(account, cluster):
        most = _larger(most, holding.while_doing(plan, account.kind, live))
        most = _larger(most, holding.while_doing(plan, account.kind, [*live, *once]))
    newest = account.newest
    if newest is not None and holding.holds(newest) and newest.decision.cluster == cluster:
        least = _larger(least, holding.while_doing(newest, account.kind, live))
    return _Bounds(least, most)


def _being_done(account: Account, cluster: str) -> Iterator[ActionPlan]:
    """The plans that the cluster's lines may be held for; see rule 2 above."""
    unsettled = {revision.plan_id for revision in account.live if revision.status not in SETTLED_REVISIONS}
    newest = account.newest
    undecided = newest is not None and newest.status is PlanStatus.PROPOSED
    held_for = {plan.id: plan for plan in account.plans}
    if newest is not None and holding.holds(newest):
        held_for[newest.id] = newest
    for plan in held_for.values():
        here = plan.decision.cluster == cluster and plan.decision.verb.applies
        if here and (undecided or holding.holds(plan) or plan.id in unsettled):
            yield plan


def _larger(one: Lines, other: Lines) -> Lines:
    return {sku: one.get(sku, NOTHING).largest(other.get(sku, NOTHING)) for sku in {*one, *other}}


def _between(amounts: Amounts, least: Amounts, most: Amounts) -> Amounts:
    """The amounts, field by field raised to the least and cut to the most."""
    raised = amounts.largest(least)
    return most if most.within(raised) else most - (most - raised).largest(NOTHING)
