"""Settle what a workload holds, once for every caller.

A rollout's surge, and the revisions that it replaces, are there until it has settled, whatever becomes of a later plan.
So a workload keeps them until then; see shared.rollout.occupancy for the amounts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.models.reservation import Reservation
from shared.operations.results import ReservationWasReleased
from shared.policy.resources import released
from shared.rollout import occupancy

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping, Sequence

    from shared.models.amounts import Amounts
    from shared.models.deployment import Deployment
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.rollout.occupancy import Lines
    from shared.store.ledger import Changes
    from shared.store.unit_of_work import UnitOfWork


def replaced_revisions(work: UnitOfWork, live: Sequence[Deployment]) -> list[Deployment]:
    """The revisions that a rollout among the live ones replaces, back to the one that was healthy last.

    Nothing is read where nothing rolls out.
    """
    rolling = {revision.workload_id for revision in live if occupancy.is_rolling_out(revision)}
    return work.deployments.replaced(rolling) if rolling else []


def lines_to_retain(work: UnitOfWork, live: Sequence[Deployment], held: Mapping[str, Amounts]) -> Lines:
    """What a workload still needs of what is `held`, when its newest plan comes to nothing.

    live: its live revisions. Where none of them rolls out, that is what they take up.
    """
    rolling = {revision.plan_id for revision in live if occupancy.is_rolling_out(revision)}
    if not rolling:
        return occupancy.occupied_by(live)
    return occupancy.retained_lines(live, replaced_revisions(work, live), work.plans.get_many(rolling), held)


def settle(work: UnitOfWork, plan: ActionPlan, workload: Workload, lines: Lines) -> Changes:
    """Makes the reservation on the plan's cluster exactly these lines, for this plan; returns what they grew by."""
    reservation = Reservation(workload.id, plan.decision.cluster, workload.spec.team, lines)
    return work.ledger.settle([(reservation, plan.id)])


def release(
    work: UnitOfWork, settlements: Sequence[tuple[Reservation, uuid.UUID]]
) -> tuple[ReservationWasReleased, ...]:
    """Makes each reservation exactly what runs, for the plan that it runs for; reports what a plan waits for."""
    changes = work.ledger.settle(settlements)
    less = released(changes, [reservation.workload_id for reservation, _ in settlements])
    if not less or not work.queue.anyone_waits_for(less):
        return ()
    return (ReservationWasReleased(settlements[0][0].workload_id, less),)
