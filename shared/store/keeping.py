"""What a workload goes on holding when a plan of it comes to nothing, or waits.

Rollouts of earlier plans may be on their way: their surge, and what they replace, is there until they have settled.
"""

from collections.abc import Mapping, Sequence

from shared.models.amounts import Amounts
from shared.models.deployment import Deployment
from shared.rollout import holding
from shared.rollout.holding import Lines
from shared.store.unit_of_work import UnitOfWork


def kept(live: Sequence[Deployment], held: Mapping[str, Amounts], work: UnitOfWork) -> Lines:
    """The lines to settle on, of those that are `held`. Where none of the live revisions rolls out: what runs."""
    rolling = {revision.plan_id for revision in live if holding.rolls_out(revision)}
    if not rolling:
        return holding.standing(live)
    return holding.kept(live, work.deployments.ended_since(rolling), work.plans.get_many(rolling), held)
