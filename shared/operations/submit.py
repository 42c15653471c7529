"""Submit a workload: it becomes a generation of its workload and a proposed plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.models.changes import changes
from shared.models.plan import plan_id
from shared.operations.bindings import check_namespace
from shared.operations.propose import add_plan
from shared.rollout.planning import keep_restart, next_generation, place, propose
from shared.rollout.pricing import Prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.models.actor import Actor
    from shared.models.bindings import Bindings
    from shared.models.plan import ActionPlan
    from shared.models.workload import WorkloadSpec
    from shared.store.unit_of_work import UnitOfWork

MAX_RECORDED_ERRORS = 50
MAX_RECORDED_CHARACTERS = 500


@dataclass(frozen=True)
class SubmitWorkload:
    """What should run. cause: names what led to it, an event's source and id, say; the plan's id follows from it."""

    spec: WorkloadSpec
    cause: str


def submit(work: UnitOfWork, command: SubmitWorkload, actor: Actor, bindings: Bindings) -> ActionPlan | None:
    """The plan that was proposed; None when the workload is at this generation already.

    Raises OperationRefused, which names the bad field.
    """
    spec = command.spec
    check_namespace(bindings, spec)
    known, withdrawn = work.workloads.lock_with_withdrawal(spec.id)
    spec = keep_restart(spec, known)
    generation = next_generation(spec, known, withdrawn)
    if generation is None:
        return None
    clusters = work.catalogue.clusters()
    cluster = place(spec, known, clusters, work.catalogue.reserved() if len(clusters) > 1 else {})
    live = work.deployments.live(spec.id) if known else []
    proposal = propose(
        spec,
        known,
        cluster,
        Prices.of(work.catalogue.prices_at(cluster.name)),
        live=live,
        held=work.ledger.reserved(spec.id, cluster.name) if live else {},
        plan_id=plan_id(spec.id, command.cause),
        generation=generation,
    )
    before = None if known is None else known.spec.content()
    plan = add_plan(work, proposal.plan, actor, image=spec.image, changes=changes(before, spec.content()))
    workload = replace(proposal.workload, plan_id=plan.id)
    if known is None:
        work.workloads.add(workload)
    else:
        work.workloads.replace(workload)
    return plan


def record_rejection(work: UnitOfWork, subject: str, errors: Sequence[tuple[str, str]], actor: Actor) -> None:
    """Keeps the first errors of what an event asked for and was refused. errors: (field, message)."""
    messages = [f"{field}: {message}"[:MAX_RECORDED_CHARACTERS] for field, message in errors[:MAX_RECORDED_ERRORS]]
    work.audit("workload.rejected", subject, actor, errors=[*messages])
