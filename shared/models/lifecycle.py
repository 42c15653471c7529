"""The lifecycle of a workload, as a table.

A phase says how far the newest plan of a workload has come. Any phase can be followed by PROPOSED,
because a user may always post again and verification may always propose a rollback; everything
else is in the table. Phases without an entry of their own are terminal: nothing happens until the
next plan.

    proposed --> denied
       |  '----> queued --> approved, denied
       v
    approved --> waiting --> applying --> verifying --> healthy <--> degraded
                    ^___________|  |          |   |---> completed   (a Job)
                                   v          |   |---> rolled_back (the plan was a rollback)
                                failed <------+   '---> unhealthy   (a rollback was proposed)
    removing --> removed
"""

from enum import StrEnum

from shared.errors import IllegalTransition


class Phase(StrEnum):
    """Where the newest plan of a workload stands."""

    PROPOSED = "proposed"
    DENIED = "denied"
    QUEUED = "queued"
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


TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.PROPOSED: frozenset({Phase.APPROVED, Phase.DENIED, Phase.QUEUED}),
    Phase.QUEUED: frozenset({Phase.APPROVED, Phase.DENIED}),
    Phase.APPROVED: frozenset({Phase.APPLYING, Phase.WAITING}),
    Phase.WAITING: frozenset({Phase.APPLYING}),
    Phase.APPLYING: frozenset({Phase.VERIFYING, Phase.WAITING, Phase.FAILED, Phase.REMOVING, Phase.REMOVED}),
    Phase.VERIFYING: frozenset({Phase.HEALTHY, Phase.COMPLETED, Phase.ROLLED_BACK, Phase.UNHEALTHY, Phase.FAILED}),
    Phase.HEALTHY: frozenset({Phase.DEGRADED, Phase.UNHEALTHY}),
    Phase.ROLLED_BACK: frozenset({Phase.DEGRADED, Phase.UNHEALTHY}),
    Phase.DEGRADED: frozenset({Phase.HEALTHY, Phase.ROLLED_BACK, Phase.UNHEALTHY}),
    Phase.UNHEALTHY: frozenset({Phase.FAILED}),
    Phase.REMOVING: frozenset({Phase.REMOVED}),
}

SETTLED = frozenset(
    {
        Phase.DENIED,
        Phase.HEALTHY,
        Phase.DEGRADED,
        Phase.COMPLETED,
        Phase.ROLLED_BACK,
        Phase.FAILED,
        Phase.REMOVED,
    }
)
"""Phases in which Sentinel has nothing left to do of its own accord."""


def advance(current: Phase, to: Phase) -> Phase:
    """`to`, when the table leads there from `current`. Raises IllegalTransition when it does not."""
    if to is not Phase.PROPOSED and to is not current and to not in TRANSITIONS.get(current, frozenset()):
        raise IllegalTransition(f"a workload that is {current} cannot become {to}")
    return to
