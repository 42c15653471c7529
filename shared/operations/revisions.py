"""Revisions of a workload: the one that a plan brings, and when verification takes it over."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from shared.errors import OperationRefused
from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import RevisionStatus
from shared.models.plan import Verb
from shared.rollout.manifests import excluded_nodes_of, manifest, restored

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from shared.models.stored import Workload
    from shared.store.plans import PlanWithCluster
    from shared.store.unit_of_work import UnitOfWork


def new_revision(
    work: UnitOfWork, found: PlanWithCluster, workload: Workload, present: Sequence[Deployment]
) -> Deployment:
    """Stores the revision that a plan brings, as intended. present: what may be on clusters, oldest first.

    Raises OperationRefused where the revision to restore does not exist.
    """
    plan, revision = found.plan, workload.revision + 1
    decision, excluded = plan.decision, found.excluded
    rollback_of = decision.revision
    if decision.verb.restores:
        target = work.deployments.revision(workload.id, decision.revision or 0)
        if target is None:
            raise OperationRefused(
                "decisions[0].revision", f"revision {decision.revision} of workload {workload.id} does not exist"
            )
        document = restored(target.manifest, plan_id=plan.id, revision=revision, excluded=excluded)
        deadline, bake = target.deadline, target.bake
        if decision.verb is Verb.RESCHEDULE:  # it is what the revision was that it moves
            rollback_of = target.rollback_of
    else:
        if decision.verb is Verb.SCALE and present:  # the pods that run are not replaced
            excluded = excluded_nodes_of(present[-1].manifest)
        spec = workload.spec.with_most_replicas(decision.replicas)
        deadline, bake = spec.deadline, spec.bake
        document = manifest(
            spec,
            workload_id=workload.id,
            plan_id=plan.id,
            revision=revision,
            generation=plan.generation,
            products=found.products,
            excluded=excluded,
        )
    meta = document["metadata"]
    deployment = Deployment(
        id=uuid.uuid5(workload.id, f"revision {revision}"),
        workload_id=workload.id,
        revision=revision,
        generation=plan.generation,
        plan_id=plan.id,
        cluster=decision.cluster,
        reference=ObjectReference(document["kind"], meta["namespace"], meta["name"]),
        manifest=document,
        status=RevisionStatus.INTENDED,
        sku=plan.sku,
        amounts=plan.amounts,
        rollback_of=rollback_of,
        deadline=deadline,
        bake=bake,
    )
    work.deployments.add(deployment)
    return deployment


def start_verifying(
    work: UnitOfWork,
    deployment: Deployment,
    workload: Workload,
    *,
    uid: str | None = None,
    applied_at: datetime | None = None,
    digest: str = "",
) -> None:
    """Gives a revision to verification, with a deadline from now on."""
    deadline = work.now + (deployment.deadline or workload.spec.deadline)
    work.deployments.start_verifying(deployment, work.now, deadline, uid=uid, applied_at=applied_at, digest=digest)
