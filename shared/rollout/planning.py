"""From a wish to the plan that would fulfil it: generation, place, price, verb. Pure.

Intake proposes what comes out of this, and a simulation only judges it.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from shared.errors import NoClusterMatches, UnknownPrice, WishRefused
from shared.models.cluster import Cluster
from shared.models.lifecycle import Phase
from shared.models.plan import ActionPlan, Decision, PlanSource, PlanStatus, Verb
from shared.models.stored import Workload
from shared.models.workload import WorkloadSpec
from shared.rollout.manifests import surge_replicas
from shared.rollout.placement import Reserved, choose_cluster
from shared.rollout.pricing import Prices, replica_amounts

_RUNS_ITS_SPEC = (Phase.HEALTHY, Phase.DEGRADED)


@dataclass(frozen=True)
class Proposal:
    """A plan, and its workload as it stands with it."""

    workload: Workload
    plan: ActionPlan


def next_generation(spec: WorkloadSpec, known: Workload | None) -> int | None:
    """The generation that a wish becomes; None when it is the present one already. Raises WishRefused.

    A number that the caller gives orders its own wishes: a higher one is taken, the present one with the same content
    is the same wish, anything else is refused.
    """
    if known is None:
        return spec.generation or 1
    if spec.generation is None or spec.generation > known.generation:
        return spec.generation or known.generation + 1
    same = spec.content() == known.spec.content() and not known.withdrawn
    if spec.generation == known.generation and same:
        return None
    raise WishRefused(
        "generation",
        f"the workload is at generation {known.generation}; give a higher number, or none to be next in line",
    )


def present(known: Workload | None) -> Workload | None:
    """The workload if it may have something on a cluster."""
    return known if known and known.phase is not Phase.REMOVED and known.revision else None


def place(spec: WorkloadSpec, known: Workload | None, clusters: Iterable[Cluster], reserved: Reserved) -> Cluster:
    """The cluster that a wish goes to: where its workload runs, if it runs. Raises WishRefused."""
    there = present(known)
    if there and there.spec.type.kind != spec.type.kind:
        raise WishRefused(
            "type", f"would change the kind from {there.spec.type.kind} to {spec.type.kind}; withdraw it first"
        )
    try:
        chosen = choose_cluster(spec, clusters, reserved, there.cluster if there else None)
    except NoClusterMatches as error:
        raise WishRefused("clusters", str(error)) from None
    if there and chosen.name != there.cluster:
        raise WishRefused(
            "clusters", f"no longer allow cluster {there.cluster}, where the workload runs; withdraw it first"
        )
    return chosen


def propose(
    spec: WorkloadSpec,
    known: Workload | None,
    cluster: Cluster,
    prices: Prices,
    *,
    plan_id: uuid.UUID,
    generation: int,
) -> Proposal:
    """The plan for a wish on a cluster, at the catalogue's prices. Raises WishRefused for what has no price."""
    try:
        replica = replica_amounts(spec, prices, cluster)
    except UnknownPrice as error:
        raise WishRefused("resources.gpu.sku", str(error)) from None
    verb = _verb(spec, known)
    surge = surge_replicas(spec.type.kind) if verb is Verb.UPDATE else 0
    plan = ActionPlan(
        id=plan_id,
        workload_id=spec.id,
        generation=generation,
        source=PlanSource.USER,
        decision=Decision(verb=verb, cluster=cluster.name, replicas=spec.replicas),
        sku=spec.resources.gpu.sku or "",
        amounts=replica.times(spec.replicas),
        surge=replica.times(surge),
        status=PlanStatus.PROPOSED,
        priority=spec.priority,
    )
    workload = Workload(
        id=spec.id,
        spec=spec,
        generation=generation,
        usd_per_replica_hour=replica.usd_per_hour,
        phase=Phase.PROPOSED,
        cluster=cluster.name,
        plan_id=plan.id,
        revision=known.revision if known else 0,
        created_at=known.created_at if known else None,
    )
    return Proposal(workload, plan)


def _verb(spec: WorkloadSpec, known: Workload | None) -> Verb:
    if known is None or known.revision == 0 or known.phase is Phase.REMOVED:
        return Verb.DEPLOY
    only_replicas = {**spec.content(), "replicas": None} == {**known.spec.content(), "replicas": None}
    if only_replicas and known.phase in _RUNS_ITS_SPEC and spec.type.kind != "Job":
        return Verb.SCALE
    return Verb.UPDATE
