"""From a submission to the plan for it: generation, cluster, price, verb. Pure.

Intake proposes what comes out of this, and a simulation only judges it.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from shared.errors import NoClusterMatches, OperationRefused, UnknownMigProfile, UnknownPrice
from shared.models.amounts import Amounts
from shared.models.cluster import Cluster, ClusterState
from shared.models.deployment import Deployment
from shared.models.lifecycle import Phase, PlanStatus, RevisionStatus
from shared.models.plan import ActionPlan, Decision, PlanSource, Verb
from shared.models.stored import Workload
from shared.models.workload import WorkloadSpec
from shared.rollout import occupancy
from shared.rollout.manifests import excluded_nodes_of, manifest, surge_replicas
from shared.rollout.placement import Reserved, choose_cluster
from shared.rollout.pricing import Prices, replica_amounts


@dataclass(frozen=True)
class Proposal:
    """A plan, and its workload as it stands with it."""

    workload: Workload
    plan: ActionPlan


def keep_restart(spec: WorkloadSpec, known: Workload | None) -> WorkloadSpec:
    """A submission that says nothing of restarts leaves the last one as it is: its pods are not replaced for that."""
    if known is None or known.withdrawn or spec.restarted_at is not None or known.spec.restarted_at is None:
        return spec
    return spec.model_copy(update={"restarted_at": known.spec.restarted_at})


def next_generation(spec: WorkloadSpec, known: Workload | None, withdrawn: int = 0) -> int | None:
    """The generation that a submission becomes; None when it is the present one already. Raises OperationRefused.

    A number that the caller gives orders its own submissions: a higher one is taken, the present one with the same
    content is the same submission, anything else is refused.

    withdrawn: the generation up to which an unknown workload was withdrawn already; 0 when it was not.
    """
    if known is None:
        if spec.generation is not None and spec.generation <= withdrawn:
            raise OperationRefused(
                "generation",
                f"the workload was withdrawn at generation {withdrawn}, before this came; "
                "give a higher number, or none to be next in line",
            )
        return spec.generation or withdrawn + 1
    if spec.generation is None or spec.generation > known.generation:
        return spec.generation or known.generation + 1
    same = spec.content() == known.spec.content() and not known.withdrawn
    if spec.generation == known.generation and same:
        return None
    raise OperationRefused(
        "generation",
        f"the workload is at generation {known.generation}; give a higher number, or none to be next in line",
    )


def withdrawn_generation(asked: int | None, known: Workload) -> int:
    """The generation at which a withdrawal leaves its workload. Raises OperationRefused for one that came too late.

    A number that the caller gives orders the withdrawal among its own submissions. It withdraws submissions with this
    number and lower ones, and none of those is taken after it.
    """
    if asked is not None and asked < known.generation:
        raise OperationRefused(
            "generation",
            f"the workload is at generation {known.generation}, which is newer than what this withdraws; "
            f"give a number of at least {known.generation}, or none to withdraw whatever there is",
        )
    return asked or known.generation


def present(known: Workload | None, clusters: Sequence[Cluster]) -> Workload | None:
    """The workload if it may have something on a cluster: on one that is registered, and not lost."""
    if known is None or known.phase is Phase.REMOVED or not known.revision:
        return None
    usable = any(one.name == known.cluster and one.state is not ClusterState.LOST for one in clusters)
    return known if usable else None


def place(spec: WorkloadSpec, known: Workload | None, clusters: Sequence[Cluster], reserved: Reserved) -> Cluster:
    """The cluster that a submission goes to: where its workload runs, if it runs. Raises OperationRefused."""
    there = present(known, clusters)
    if there and there.spec.type.kind != spec.type.kind:
        raise OperationRefused(
            "type", f"would change the kind from {there.spec.type.kind} to {spec.type.kind}; withdraw it first"
        )
    try:
        chosen = choose_cluster(spec, clusters, reserved, there.cluster if there else None)
    except NoClusterMatches as error:
        raise OperationRefused("clusters", str(error)) from None
    if there and chosen.name != there.cluster:
        raise OperationRefused(
            "clusters", f"no longer allow cluster {there.cluster}, where the workload runs; withdraw it first"
        )
    return chosen


def propose(
    spec: WorkloadSpec,
    known: Workload | None,
    cluster: Cluster,
    prices: Prices,
    *,
    live: Sequence[Deployment],
    held: Mapping[str, Amounts],
    plan_id: uuid.UUID,
    generation: int,
) -> Proposal:
    """The plan for a submission on a cluster, at the catalogue's prices.

    Raises OperationRefused for what has no price, and for a MIG profile that its GPU does not have.

    live: the workload's live revisions. held: what it holds on the cluster, by GPU SKU.
    """
    try:
        replica = replica_amounts(spec, prices, cluster)
    except UnknownPrice as error:
        raise OperationRefused("resources.gpu.sku", str(error)) from None
    except UnknownMigProfile as error:
        raise OperationRefused("resources.gpu.mig", str(error)) from None
    here = known if known and known.cluster == cluster.name else None
    verb, surge = verb_and_surge(spec, here, live, held, cluster.products, cluster.excluded_nodes)
    plan = ActionPlan(
        id=plan_id,
        workload_id=spec.id,
        team=spec.team,
        generation=generation,
        source=PlanSource.USER,
        decision=Decision(verb=verb, cluster=cluster.name, replicas=spec.most_replicas),
        sku=spec.resources.gpu.sku or "",
        amounts=replica.times(spec.most_replicas),
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


def verb_and_surge(
    spec: WorkloadSpec,
    known: Workload | None,
    live: Sequence[Deployment],
    held: Mapping[str, Amounts],
    products: Collection[str] = (),
    excluded: Collection[str] = (),
) -> tuple[Verb, int]:
    """What a submission does to what runs now, and how many replicas beyond its own it takes meanwhile.

    live, held: as in `propose`. products, excluded: as in `scales`.
    """
    verb = _verb(spec, known, live, products, excluded)
    if verb is Verb.SCALE:
        return verb, occupancy.remaining_surge(spec.resources.gpu.sku or "", live, held)
    return verb, surge_replicas(spec.type.kind) if verb is Verb.UPDATE else 0


def scales(
    spec: WorkloadSpec,
    live: Sequence[Deployment],
    products: Collection[str] = (),
    excluded: Collection[str] = (),
) -> bool:
    """Whether a submission differs in its replicas alone from what runs, if it differs at all.

    What runs is every live revision, whatever was submitted since, or became of it: an update that failed was rolled
    back, and one that is on its way may not have come to the cluster. What is being removed does not run.

    products: the GPU products that the nodes of the cluster have shown. Pods that accept others than a
    new manifest would are replaced: an update. excluded: the nodes that are excluded from placement there. More
    replicas than run must not come to one of them; where the running pods would accept it, that is an update, too.
    """
    return (
        spec.type.kind != "Job"
        and bool(live)
        and all(_runs_as(spec, revision, products) and _may_grow(spec, revision, excluded) for revision in live)
    )


def _verb(
    spec: WorkloadSpec,
    known: Workload | None,
    live: Sequence[Deployment],
    products: Collection[str],
    excluded: Collection[str],
) -> Verb:
    if known is None or known.revision == 0 or known.phase is Phase.REMOVED:
        return Verb.DEPLOY
    return Verb.SCALE if scales(spec, live, products, excluded) else Verb.UPDATE


def _runs_as(spec: WorkloadSpec, revision: Deployment, products: Collection[str]) -> bool:
    wanted = manifest(
        spec,
        workload_id=spec.id,
        plan_id=revision.plan_id,
        revision=revision.revision,
        generation=revision.generation,
        products=products,
        excluded=excluded_nodes_of(revision.manifest),
    )
    alike = {**wanted["spec"], "replicas": None} == {**revision.manifest["spec"], "replicas": None}
    return alike and revision.status is not RevisionStatus.REMOVING


def _may_grow(spec: WorkloadSpec, revision: Deployment, excluded: Collection[str]) -> bool:
    """Whether the pods of a scale would avoid the excluded nodes, or it adds none."""
    return spec.most_replicas <= revision.amounts.replicas or excluded_nodes_of(revision.manifest).issuperset(excluded)
