"""The three state machines of Sentinel, each as a table, and the sets of states that have a name.

A workload's phase says how far its newest plan has come:

    proposed --> denied
       |  |----> queued --> approved, denied, awaiting_approval
       |  '----> awaiting_approval --> approved, denied, queued
       v
    approved --> waiting --> applying --> verifying --> healthy <--> degraded
                    ^___________|  |          |   |---> completed   (a Job)
                                   v          |   |---> rolled_back (the plan was a rollback)
                                failed <------+   '---> unhealthy   (a rollback was proposed)
    removing --> removed

Any phase can be followed by PROPOSED: a user may post again, and verification may propose a rollback. An operator may
declare a cluster lost: then what should run there becomes FAILED, and what should go from there becomes REMOVED.

A plan goes from its proposal through policy to its execution. A queued plan keeps its place while its workload is
rolled back, and is proposed again after; so does one that awaits a person's approval. A plan that has ended goes back
to WAITING only when its object is on a cluster and has to be taken away: a late execution brought it there, or it was
not deleted.

A revision is one application of a workload to a cluster.

A state may always be written again. Any other step that is not in its table raises IllegalTransition.

Every state that Sentinel itself has to lead on has a next look: any event may be lost, and no state waits for one
alone. See PHASE_LOOKS, PLAN_LOOKS and REVISION_LOOKS.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from shared.errors import IllegalTransition


class Phase(StrEnum):
    """Where the newest plan of a workload stands."""

    PROPOSED = "proposed"
    DENIED = "denied"
    QUEUED = "queued"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    WAITING = "waiting"
    APPLYING = "applying"
    VERIFYING = "verifying"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    COMPLETED = "completed"
    UNHEALTHY = "unhealthy"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    REMOVING = "removing"
    REMOVED = "removed"


class PlanStatus(StrEnum):
    """How far a plan has come.

    APPLYING holds a lease until `lease_until`. AWAITING_APPROVAL waits for a person until `next_attempt_at`.
    """

    PROPOSED = "proposed"
    QUEUED = "queued"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    DENIED = "denied"
    WAITING = "waiting"
    APPLYING = "applying"
    EXECUTED = "executed"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class RevisionStatus(StrEnum):
    """How far one revision has come on its cluster."""

    INTENDED = "intended"
    VERIFYING = "verifying"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    COMPLETED = "completed"
    UNHEALTHY = "unhealthy"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    REMOVING = "removing"
    REMOVED = "removed"


S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True)
class StateMachine(Generic[S]):
    """What may follow what. `subject` names the machine in messages."""

    subject: str
    transitions: Mapping[S, frozenset[S]]

    def advance(self, current: S, to: S) -> S:
        """`to`, when it is `current` or the table leads there. Raises IllegalTransition when it does not."""
        if to is not current and to not in self.transitions[current]:
            raise IllegalTransition(f"a {self.subject} that is {current} cannot become {to}")
        return to


def _phases(*to: Phase) -> frozenset[Phase]:
    """Those that follow a phase in which a workload may have something on a cluster, which may be lost."""
    return frozenset({Phase.PROPOSED, Phase.FAILED, Phase.REMOVED, *to})


PHASES: StateMachine[Phase] = StateMachine(
    "workload",
    {
        Phase.PROPOSED: _phases(Phase.APPROVED, Phase.DENIED, Phase.QUEUED, Phase.AWAITING_APPROVAL),
        Phase.DENIED: _phases(),
        Phase.QUEUED: _phases(Phase.APPROVED, Phase.DENIED, Phase.AWAITING_APPROVAL),
        Phase.AWAITING_APPROVAL: _phases(Phase.APPROVED, Phase.DENIED, Phase.QUEUED),
        Phase.APPROVED: _phases(Phase.APPLYING, Phase.WAITING),
        Phase.WAITING: _phases(Phase.APPLYING),
        Phase.APPLYING: _phases(Phase.VERIFYING, Phase.WAITING, Phase.REMOVING),
        Phase.VERIFYING: _phases(Phase.HEALTHY, Phase.COMPLETED, Phase.ROLLED_BACK, Phase.UNHEALTHY),
        Phase.HEALTHY: _phases(Phase.DEGRADED, Phase.UNHEALTHY),
        Phase.DEGRADED: _phases(Phase.HEALTHY, Phase.ROLLED_BACK, Phase.UNHEALTHY),
        Phase.COMPLETED: frozenset({Phase.PROPOSED}),
        Phase.UNHEALTHY: _phases(),
        Phase.ROLLED_BACK: _phases(Phase.DEGRADED, Phase.UNHEALTHY),
        Phase.FAILED: _phases(Phase.HEALTHY, Phase.COMPLETED, Phase.ROLLED_BACK, Phase.UNHEALTHY),  # it recovered
        Phase.REMOVING: _phases(),
        Phase.REMOVED: frozenset({Phase.PROPOSED}),
    },
)

_LEFT_BEHIND = frozenset({PlanStatus.WAITING})  # its object is there though the plan has ended

PLAN_STATUSES: StateMachine[PlanStatus] = StateMachine(
    "plan",
    {
        PlanStatus.PROPOSED: frozenset(
            {
                PlanStatus.APPROVED,
                PlanStatus.DENIED,
                PlanStatus.QUEUED,
                PlanStatus.AWAITING_APPROVAL,
                PlanStatus.SUPERSEDED,
            }
        ),
        # A rollback that took the place of a queued plan has ended, and the plan is proposed again.
        PlanStatus.QUEUED: frozenset(
            {
                PlanStatus.APPROVED,
                PlanStatus.DENIED,
                PlanStatus.AWAITING_APPROVAL,
                PlanStatus.PROPOSED,
                PlanStatus.SUPERSEDED,
            }
        ),
        # A person has answered, or did not in time; or what asked for a person has changed.
        PlanStatus.AWAITING_APPROVAL: frozenset(
            {PlanStatus.APPROVED, PlanStatus.DENIED, PlanStatus.QUEUED, PlanStatus.PROPOSED, PlanStatus.SUPERSEDED}
        ),
        # A hold that expired before the execution has the plan decided again.
        PlanStatus.APPROVED: frozenset(
            {PlanStatus.APPLYING, PlanStatus.WAITING, PlanStatus.PROPOSED, PlanStatus.SUPERSEDED}
        ),
        PlanStatus.WAITING: frozenset({PlanStatus.APPLYING, PlanStatus.PROPOSED, PlanStatus.SUPERSEDED}),
        PlanStatus.APPLYING: frozenset(
            {
                PlanStatus.EXECUTED,
                PlanStatus.FAILED,
                PlanStatus.WAITING,
                PlanStatus.PROPOSED,
                PlanStatus.SUPERSEDED,
            }
        ),
        PlanStatus.DENIED: frozenset(),
        PlanStatus.EXECUTED: _LEFT_BEHIND,
        PlanStatus.FAILED: _LEFT_BEHIND,
        PlanStatus.SUPERSEDED: _LEFT_BEHIND,
    },
)

# By a newer revision, by a removal, or with a cluster that was lost.
_REPLACED = frozenset({RevisionStatus.SUPERSEDED, RevisionStatus.REMOVING, RevisionStatus.REMOVED})

REVISION_STATUSES: StateMachine[RevisionStatus] = StateMachine(
    "revision",
    {
        RevisionStatus.INTENDED: _REPLACED | {RevisionStatus.VERIFYING, RevisionStatus.FAILED},
        RevisionStatus.VERIFYING: _REPLACED
        | {RevisionStatus.HEALTHY, RevisionStatus.COMPLETED, RevisionStatus.UNHEALTHY, RevisionStatus.FAILED},
        RevisionStatus.HEALTHY: _REPLACED | {RevisionStatus.DEGRADED, RevisionStatus.FAILED},
        RevisionStatus.DEGRADED: _REPLACED | {RevisionStatus.HEALTHY, RevisionStatus.FAILED},
        RevisionStatus.COMPLETED: _REPLACED,
        # It failed, and has recovered since, or ended.
        RevisionStatus.UNHEALTHY: _REPLACED | {RevisionStatus.HEALTHY, RevisionStatus.COMPLETED, RevisionStatus.FAILED},
        RevisionStatus.FAILED: _REPLACED,
        RevisionStatus.SUPERSEDED: frozenset(),
        RevisionStatus.REMOVING: frozenset({RevisionStatus.REMOVED, RevisionStatus.SUPERSEDED}),
        RevisionStatus.REMOVED: frozenset(),
    },
)


class NextLook(StrEnum):
    """Who looks at a state again, when the event that should have led on was lost.

    ANNOUNCED: the tick announces the plan when its `next_attempt_at` has come.
    QUEUE: the tick looks through the queue.
    OBSERVED: the tick observes the revision on its cluster.
    BY_PLAN: the plan that made the revision is looked at.
    BY_NEWEST_PLAN: the workload's newest plan is looked at.
    BY_REVISION: the revision that the workload's newest plan made is looked at.
    """

    ANNOUNCED = "announced"
    QUEUE = "queue"
    OBSERVED = "observed"
    BY_PLAN = "by plan"
    BY_NEWEST_PLAN = "by newest plan"
    BY_REVISION = "by revision"


ANNOUNCE_AGAIN = timedelta(seconds=15)
"""How long a plan may stay as it is before it is announced again."""

PHASE_LOOKS: Mapping[Phase, NextLook] = {
    Phase.PROPOSED: NextLook.BY_NEWEST_PLAN,
    Phase.QUEUED: NextLook.BY_NEWEST_PLAN,
    Phase.AWAITING_APPROVAL: NextLook.BY_NEWEST_PLAN,
    Phase.APPROVED: NextLook.BY_NEWEST_PLAN,
    Phase.WAITING: NextLook.BY_NEWEST_PLAN,
    Phase.APPLYING: NextLook.BY_NEWEST_PLAN,
    Phase.VERIFYING: NextLook.BY_REVISION,
    Phase.UNHEALTHY: NextLook.BY_NEWEST_PLAN,  # the transaction that writes it goes on to PROPOSED or FAILED
    Phase.REMOVING: NextLook.BY_REVISION,
}

PLAN_LOOKS: Mapping[PlanStatus, NextLook] = {
    PlanStatus.PROPOSED: NextLook.ANNOUNCED,
    PlanStatus.QUEUED: NextLook.QUEUE,
    PlanStatus.AWAITING_APPROVAL: NextLook.ANNOUNCED,  # when the time for an approval is over
    PlanStatus.APPROVED: NextLook.ANNOUNCED,
    PlanStatus.WAITING: NextLook.ANNOUNCED,
    PlanStatus.APPLYING: NextLook.ANNOUNCED,
}

REVISION_LOOKS: Mapping[RevisionStatus, NextLook] = {
    RevisionStatus.INTENDED: NextLook.BY_PLAN,
    RevisionStatus.VERIFYING: NextLook.OBSERVED,
    RevisionStatus.HEALTHY: NextLook.OBSERVED,
    RevisionStatus.DEGRADED: NextLook.OBSERVED,
    RevisionStatus.UNHEALTHY: NextLook.BY_NEWEST_PLAN,  # the rollback, if there is a revision to go back to
    RevisionStatus.REMOVING: NextLook.OBSERVED,
}


# Tuples, so that SQL built from a set is the same text in every process.

ANNOUNCED_PLANS = tuple(status for status, look in PLAN_LOOKS.items() if look is NextLook.ANNOUNCED)
"""Plans that the tick announces again when they are due."""

SETTLED_PHASES = (
    Phase.DENIED,
    Phase.HEALTHY,
    Phase.DEGRADED,
    Phase.COMPLETED,
    Phase.ROLLED_BACK,
    Phase.FAILED,
    Phase.REMOVED,
)
"""Phases in which Sentinel has nothing left to do of its own accord."""

GOOD_PHASES = (Phase.HEALTHY, Phase.COMPLETED)
"""What a user asked for is there."""

UNDECIDED_PLANS = (PlanStatus.PROPOSED, PlanStatus.QUEUED, PlanStatus.AWAITING_APPROVAL)
"""Policy has not approved or denied them."""

PLANS_UNDER_WAY = (PlanStatus.APPROVED, PlanStatus.WAITING, PlanStatus.APPLYING)
"""Approved, and not executed to the end: they hold their reservation."""

PLANS_IN_PROGRESS = (PlanStatus.PROPOSED, *PLANS_UNDER_WAY)
"""Plans that may change a cluster soon. One that is queued or awaits an approval may wait for days."""

SET_ASIDE_PLANS = (PlanStatus.QUEUED, PlanStatus.AWAITING_APPROVAL)
SET_ASIDE_PHASES = (Phase.QUEUED, Phase.AWAITING_APPROVAL)
"""The newest plan may wait for long. A rollback goes first, and the plan is proposed again after."""

ENDED_PLANS = (PlanStatus.EXECUTED, PlanStatus.FAILED, PlanStatus.SUPERSEDED)
"""Approved plans that have nothing left to do."""

WATCHED_REVISIONS = (RevisionStatus.VERIFYING, RevisionStatus.REMOVING)
"""Verification waits for them to become healthy, or to be gone."""

SETTLED_REVISIONS = (RevisionStatus.HEALTHY, RevisionStatus.DEGRADED)
"""They were healthy once, and are observed for drift."""

OBSERVED_REVISIONS = (*WATCHED_REVISIONS, *SETTLED_REVISIONS)

LIVE_REVISIONS = (RevisionStatus.INTENDED, *OBSERVED_REVISIONS, RevisionStatus.UNHEALTHY)
"""What may take up resources."""

FINISHED_REVISIONS = (RevisionStatus.COMPLETED, RevisionStatus.FAILED)
"""Their pods have ended, and what they held was given back."""

WITHDRAWN_REVISIONS = (RevisionStatus.REMOVING, RevisionStatus.REMOVED)
"""They were taken from the cluster with their workload, or are lost with their cluster."""
