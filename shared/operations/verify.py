"""Conclude an observation: decide on the revisions, keep what was seen of the clusters, announce plans that are due.

See shared.operations.observation_tasks for what is observed, and shared.operations.reconcile for what follows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.errors import StoreUnavailable
from shared.models.gpu import normalise_sku
from shared.models.lifecycle import ANNOUNCE_AGAIN, UNDECIDED_PLANS
from shared.operations import observation_tasks
from shared.operations.clusters import mark_away
from shared.operations.reconcile import RevisionReconciler
from shared.operations.results import PlanIsDue, PlanWasProposed
from shared.telemetry.metrics import ROWS_SET_ASIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.models.actor import Actor
    from shared.models.plan import ActionPlan
    from shared.operations.observe import ObservationTask, Observed, TickPage
    from shared.operations.reconcile import Verification
    from shared.operations.results import RolloutResult
    from shared.store.unit_of_work import UnitOfWork

logger = logging.getLogger("sentinel.verify")

MAX_PAGES = 20


@dataclass(frozen=True)
class VerificationResult:
    """What became of the observed revisions. next_page: of the tick, None when it ends."""

    results: Sequence[RolloutResult]
    next_page: TickPage | None = None


def conclude(
    work: UnitOfWork, task: ObservationTask, observed: Observed, verification: Verification, actor: Actor
) -> VerificationResult:
    """Decides on each observed revision, and announces plans that are due when a tick asks for it."""
    verified = _verify(work, task, observed, verification, actor)
    for cluster, shown in observed.nodes.items():
        work.catalogue.add_products(cluster, sorted({node.product for node in shown or ()}))
        if shown is not None:
            work.nodes.keep(cluster, {node.name: {normalise_sku(node.product): node.gpus} for node in shown})
    for cluster, reason in observed.away.items():
        mark_away(work, cluster, reason, probed=cluster in task.probes)
    for cluster in task.probes & observed.nodes.keys():
        work.catalogue.mark_available(cluster)
    if task.tick is None:
        return VerificationResult(verified)
    due = work.plans.take_due(work.now, work.now + ANNOUNCE_AGAIN, observation_tasks.PAGE)
    results = [*verified, *map(_announcement, due)]
    page = task.tick
    more = (page.full or len(due) == observation_tasks.PAGE) and page.page < MAX_PAGES
    return VerificationResult(results, replace(page, page=page.page + 1) if more else None)


def _verify(
    work: UnitOfWork, task: ObservationTask, observed: Observed, verification: Verification, actor: Actor
) -> list[RolloutResult]:
    """Decides on all revisions at once. If that fails, on each by itself: one that fails is set aside.

    A revision that an event is about fails with its event, which the broker delivers again.
    """
    revisions = task.revisions
    if not revisions or (len(revisions) == 1 and task.tick is None):
        return RevisionReconciler(work, verification, actor).reconcile(revisions, observed)
    try:
        with work.savepoint():
            return RevisionReconciler(work, verification, actor).reconcile(revisions, observed)
    except StoreUnavailable:
        raise
    except Exception:  # whatever it is, it is about one revision of many
        logger.exception("a page of %d revisions cannot be verified; each is verified by itself", len(revisions))
    results: list[RolloutResult] = []
    work.workloads.lock_many({revision.workload_id for revision in revisions})  # still in the order of their ids
    for revision in revisions:
        try:
            with work.savepoint():
                results += RevisionReconciler(work, verification, actor).reconcile([revision], observed)
        except StoreUnavailable:
            raise
        except Exception as error:
            logger.exception("revision %s of workload %s is set aside", revision.revision, revision.workload_id)
            work.measurements.count(ROWS_SET_ASIDE, "deployments")
            work.deployments.set_aside(revision, work.now, f"cannot be verified: {type(error).__name__}")
    return results


def _announcement(plan: ActionPlan) -> PlanWasProposed | PlanIsDue:
    return PlanWasProposed(plan) if plan.status in UNDECIDED_PLANS else PlanIsDue(plan)
