"""What a workload goes on holding while rollouts of earlier plans are on their way.

Their surge, and what they replace, is there until they have settled, whatever becomes of a later plan.
"""

from collections.abc import Mapping, Sequence

from shared.models.amounts import Amounts
from shared.models.deployment import Deployment
from shared.rollout import holding
from shared.rollout.holding import Lines
from shared.store.unit_of_work import UnitOfWork


def replaced(live: Sequence[Deployment], work: UnitOfWork) -> list[Deployment]:
    """The revisions that a rollout among the live ones takes the place of, all the way back to what last was healthy.

    Their pods may be there until it has settled; nothing is read where nothing rolls out.
    """
    rolling = {revision.workload_id for revision in live if holding.rolls_out(revision)}
    return work.deployments.replaced(rolling) if rolling else []


def kept(live: Sequence[Deployment], held: Mapping[str, Amounts], work: UnitOfWork) -> Lines:
    """The lines to settle on, of those that are `held`. Where none of the live revisions rolls out: what runs."""
    rolling = {revision.plan_id for revision in live if holding.rolls_out(revision)}
    if not rolling:
        return holding.standing(live)
    return holding.kept(live, replaced(live, work), work.plans.get_many(rolling), held)
