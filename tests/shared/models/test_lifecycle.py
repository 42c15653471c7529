"""The state machines: what the tables allow, and nothing else."""

import itertools
from enum import StrEnum
from typing import Any

import pytest

from shared.errors import IllegalTransition
from shared.models.lifecycle import (
    ANNOUNCED_PLANS,
    ENDED_PLANS,
    FINISHED_REVISIONS,
    LIVE_REVISIONS,
    OBSERVED_REVISIONS,
    PHASE_LOOKS,
    PHASES,
    PLAN_LOOKS,
    PLAN_STATUSES,
    PLANS_UNDER_WAY,
    REVISION_LOOKS,
    REVISION_STATUSES,
    SETTLED_PHASES,
    UNDECIDED_PLANS,
    NextLook,
    Phase,
    PlanStatus,
    RevisionStatus,
    StateMachine,
)

MACHINES: list[tuple[StateMachine[Any], type[StrEnum], set[StrEnum]]] = [
    (PHASES, Phase, {Phase.PROPOSED}),
    (PLAN_STATUSES, PlanStatus, {PlanStatus.PROPOSED}),
    (REVISION_STATUSES, RevisionStatus, {RevisionStatus.INTENDED}),
]


@pytest.mark.parametrize(
    "path",
    [
        "proposed denied proposed",
        "proposed approved applying verifying healthy degraded healthy",
        "proposed approved waiting applying waiting applying verifying completed",
        "proposed approved applying verifying unhealthy proposed approved applying verifying rolled_back",
        "proposed approved applying failed",
        "proposed approved applying removing removed proposed",
    ],
)
def test_the_paths_of_the_picture_are_open(path: str) -> None:
    steps = [Phase(step) for step in path.split()]
    for current, to in itertools.pairwise(steps):
        assert PHASES.advance(current, to) is to


@pytest.mark.parametrize(
    ("machine", "current", "to"),
    [
        (PHASES, Phase.DENIED, Phase.APPLYING),
        (PHASES, Phase.PROPOSED, Phase.APPLYING),  # policy is not skipped
        (PHASES, Phase.PROPOSED, Phase.HEALTHY),
        (PHASES, Phase.REMOVED, Phase.VERIFYING),
        (PHASES, Phase.COMPLETED, Phase.HEALTHY),
        (PHASES, Phase.FAILED, Phase.VERIFYING),
        (PLAN_STATUSES, PlanStatus.PROPOSED, PlanStatus.APPLYING),
        (PLAN_STATUSES, PlanStatus.QUEUED, PlanStatus.WAITING),
        (PLAN_STATUSES, PlanStatus.DENIED, PlanStatus.APPROVED),
        (PLAN_STATUSES, PlanStatus.SUPERSEDED, PlanStatus.APPROVED),
        (REVISION_STATUSES, RevisionStatus.REMOVED, RevisionStatus.VERIFYING),
        (REVISION_STATUSES, RevisionStatus.SUPERSEDED, RevisionStatus.HEALTHY),
        (REVISION_STATUSES, RevisionStatus.INTENDED, RevisionStatus.HEALTHY),
        (REVISION_STATUSES, RevisionStatus.UNHEALTHY, RevisionStatus.DEGRADED),
    ],
)
def test_other_paths_are_closed(machine: StateMachine[Any], current: StrEnum, to: StrEnum) -> None:
    with pytest.raises(IllegalTransition, match=f"a {machine.subject} that is {current} cannot become {to}"):
        machine.advance(current, to)


@pytest.mark.parametrize(("machine", "states", "first"), MACHINES)
def test_each_table_says_of_every_pair_of_states_whether_the_step_is_allowed(
    machine: StateMachine[Any], states: type[StrEnum], first: set[StrEnum]
) -> None:
    assert set(machine.transitions) == set(states)
    for current, to in itertools.product(states, repeat=2):
        if to is current or to in machine.transitions[current]:
            assert machine.advance(current, to) is to
        else:
            with pytest.raises(IllegalTransition):
                machine.advance(current, to)


@pytest.mark.parametrize(("machine", "states", "first"), MACHINES)
def test_every_state_can_be_reached(machine: StateMachine[Any], states: type[StrEnum], first: set[StrEnum]) -> None:
    assert first.union(*machine.transitions.values()) == set(states)


def test_what_is_not_settled_can_be_left() -> None:
    assert all(PHASES.transitions[phase] - {Phase.PROPOSED} for phase in set(Phase) - set(SETTLED_PHASES))
    assert all(PLAN_STATUSES.transitions[status] for status in (*UNDECIDED_PLANS, *PLANS_UNDER_WAY))
    assert all(REVISION_STATUSES.transitions[status] for status in LIVE_REVISIONS)


def test_every_state_that_is_not_the_end_has_a_next_look() -> None:
    ended = {RevisionStatus.SUPERSEDED, RevisionStatus.REMOVED, *FINISHED_REVISIONS}
    assert PHASE_LOOKS.keys() == set(Phase) - set(SETTLED_PHASES)
    assert PLAN_LOOKS.keys() == set(PlanStatus) - {PlanStatus.DENIED, *ENDED_PLANS}
    assert REVISION_LOOKS.keys() == set(RevisionStatus) - ended


def test_what_the_tick_looks_at_is_what_the_table_says() -> None:
    observed = {status for status, look in REVISION_LOOKS.items() if look is NextLook.OBSERVED}
    assert observed == set(OBSERVED_REVISIONS)
    assert set(ANNOUNCED_PLANS) == set(PLAN_LOOKS) - {PlanStatus.QUEUED}
