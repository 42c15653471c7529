"""What a workload takes up, now and while a plan is being done: the lines that the ledger holds."""

import uuid
from collections.abc import Iterable, Mapping, Sequence

from shared.models.amounts import NOTHING, Amounts
from shared.models.deployment import Deployment
from shared.models.lifecycle import PLANS_UNDER_WAY, SETTLED_REVISIONS, RevisionStatus
from shared.models.plan import ActionPlan
from shared.rollout.manifests import surge_replicas

Lines = dict[str, Amounts]


def keeps_reservation(plan: ActionPlan) -> bool:
    """Whether a plan has a reservation that it still needs: settling it to what runs now would take that away."""
    return plan.decision.verb.applies and plan.status in PLANS_UNDER_WAY


def occupied_by(live: Iterable[Deployment]) -> Lines:
    """What the live revisions of a workload take up, by GPU SKU.

    Revisions of one object share its replicas, so the larger counts; Jobs are objects of their own, so they add up.
    """
    lines: Lines = {}
    for deployment in live:
        before = lines.get(deployment.sku, NOTHING)
        amounts = deployment.amounts
        both = before + amounts if deployment.reference.kind == "Job" else before.largest(amounts)
        lines[deployment.sku] = both
    return lines


def occupied_during(
    plan: ActionPlan,
    kind: str,
    live: Iterable[Deployment],
    replaced: Iterable[Deployment] = (),
    held: Mapping[str, Amounts] | None = None,
) -> Lines:
    """What to hold for a plan: the larger of the old and the new, and its surge.

    A plan that is evaluated again may have a revision of its own already, which must not count twice. replaced: what a
    rollout that has not settled takes the place of; no more of it is there than is `held`, and while it is, no pod of
    a surge is added.
    """
    lines = occupied_by(deployment for deployment in live if deployment.plan_id != plan.id)
    before = lines.get(plan.sku, NOTHING)
    lines[plan.sku] = (before + plan.amounts if kind == "Job" else before.largest(plan.amounts)) + plan.surge
    for revision in replaced:
        left = revision.amounts.smallest((held or {}).get(revision.sku, NOTHING))
        if left != NOTHING:
            lines[revision.sku] = lines.get(revision.sku, NOTHING).largest(left)
    return lines


def is_rolling_out(revision: Deployment) -> bool:
    """Whether the pods that a revision replaces, and those of its surge, may be there: a Job has neither."""
    return revision.reference.kind != "Job" and revision.status not in (*SETTLED_REVISIONS, RevisionStatus.REMOVING)


def retained_lines(
    live: Sequence[Deployment],
    replaced: Sequence[Deployment],
    plans: Mapping[uuid.UUID, ActionPlan],
    held: Mapping[str, Amounts],
) -> Lines:
    """What is still needed of `held` when the newest plan comes to nothing: what runs, and what rolls out was given.

    replaced: what the rollouts take the place of. plans: those of the rollouts, by id.
    """
    lines = occupied_by(live)
    for revision in filter(is_rolling_out, live):
        before = [one for one in (*live, *replaced) if one.revision < revision.revision]
        given = occupied_during(plans[revision.plan_id], revision.reference.kind, before)
        for sku, amounts in given.items():
            lines[sku] = lines.get(sku, NOTHING).largest(amounts.smallest(held.get(sku, NOTHING)))
    return {sku: amounts for sku, amounts in lines.items() if amounts != NOTHING}


def remaining_surge(sku: str, live: Sequence[Deployment], held: Mapping[str, Amounts]) -> int:
    """How many replicas of a rollout's surge a scale takes over with it: those that are still held beyond what runs.

    A rollout that has settled has none left, whatever is held for other plans.
    """
    if all(revision.status in SETTLED_REVISIONS for revision in live):
        return 0
    beyond = held.get(sku, NOTHING).replicas - occupied_by(live).get(sku, NOTHING).replicas
    return max(0, min(beyond, *(surge_replicas(revision.reference.kind) for revision in live)))
