"""Capacity: a plan that may wait does, rather than be approved for GPUs that its cluster is known not to have.

1. Only a plan whose workload says `queue: true` is refused, and then it waits; nothing is denied for capacity. What is
   registered may be out of date, and an autoscaler may add nodes: without `queue` the cluster's scheduler has the last
   word, and the deadline.
2. Only GPUs count, and only where it is known how many the cluster has and holds. Exactly as many as it has passes.
   GPUs of nodes that are excluded from placement are not counted as the cluster's.
3. GPUs of a SKU are held against those that the cluster has of it. Everything together, and so what asks for any GPU,
   is held against the sum: there, no SKU counts for more than the cluster has of it, since what waits on the cluster
   for one SKU takes none of another. That any GPU is one of a scarce SKU is not assumed: only what certainly does not
   fit waits.
4. A plan that takes no more of it than its workload holds already is never refused, nor is one that reduces harm.
5. It waits for a release on the cluster. One that takes more than all that the cluster has waits for the cluster to
   grow: no release makes room for it, so nobody competes with it, and it can starve nobody.

A MIG slice counts as one GPU of its SKU, as everywhere.
"""

from collections.abc import Iterator

from shared.models.amounts import NOTHING
from shared.policy.context import EvaluationContext
from shared.policy.decision import Finding
from shared.policy.resources import ANY_SKU, CAPACITY, Resource
from shared.policy.vocabulary import ScopeKind

CAPACITY_RULE = "capacity"
"""What a finding names as its rule when the plan's cluster has too few GPUs."""


def check(context: EvaluationContext) -> Iterator[Finding]:
    """What the plan would hold beyond what its cluster has: of the SKUs in their order, then of all together."""
    plan, capacity = context.plan, context.facts.capacity
    if capacity is None or not plan.queue or not plan.adds_gpus:
        return
    if plan.counting(ScopeKind.CLUSTER) not in context.facts.usage:
        return
    after = {sku: amounts.gpus for sku, amounts in context.after(ScopeKind.CLUSTER).by_sku.items()}
    for sku, amounts in sorted(plan.lines.items()):
        if sku != ANY_SKU and amounts.gpus > plan.held.get(sku, NOTHING).gpus:
            has = capacity.get(sku, 0)
            if after[sku] > has:
                yield _finding(context, sku, has, amounts.gpus, after[sku])
    gpus = Resource("gpus")
    own, has = gpus.of(plan.lines), sum(capacity.values())
    together = sum(count if sku == ANY_SKU else min(count, capacity.get(sku, 0)) for sku, count in after.items())
    if own > gpus.of(plan.held) and together > has:
        yield _finding(context, None, has, own, together)


def _finding(context: EvaluationContext, sku: str | None, has: int, own: int, observed: int) -> Finding:
    """own: what the plan alone takes."""
    gpus = Resource("gpus", sku)
    noun = "GPUs" if sku is None else f"{sku} GPUs"
    message = f"{context.plan.described(ScopeKind.CLUSTER)} would hold {observed} {noun}; it has {has}"
    wanted = gpus if own <= has else Resource(CAPACITY, sku)
    waits_for = context.waits_for(ScopeKind.CLUSTER, wanted)
    return Finding("", CAPACITY_RULE, str(gpus), str(has), str(observed), message, waits_for=waits_for)
