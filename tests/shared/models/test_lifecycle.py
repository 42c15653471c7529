"""The lifecycle: what the table allows, and nothing else."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import IllegalTransition
from shared.models.lifecycle import SETTLED, TRANSITIONS, Phase, advance

phases = st.sampled_from(Phase)


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
        assert advance(current, to) is to


@pytest.mark.parametrize(
    ("current", "to"),
    [
        (Phase.DENIED, Phase.APPLYING),
        (Phase.PROPOSED, Phase.APPLYING),  # policy is not skipped
        (Phase.PROPOSED, Phase.HEALTHY),
        (Phase.REMOVED, Phase.VERIFYING),
        (Phase.COMPLETED, Phase.HEALTHY),
        (Phase.FAILED, Phase.VERIFYING),
    ],
)
def test_other_paths_are_closed(current: Phase, to: Phase) -> None:
    with pytest.raises(IllegalTransition, match=f"a workload that is {current} cannot become {to}"):
        advance(current, to)


@given(phases, phases)
def test_a_step_is_in_the_table_or_a_new_proposal_or_none(current: Phase, to: Phase) -> None:
    allowed = to is Phase.PROPOSED or to is current or to in TRANSITIONS.get(current, frozenset())
    if allowed:
        assert advance(current, to) is to
    else:
        with pytest.raises(IllegalTransition):
            advance(current, to)


def test_every_phase_can_be_reached_and_every_unsettled_one_left() -> None:
    reached = {Phase.PROPOSED}.union(*TRANSITIONS.values())
    assert reached == set(Phase)
    assert all(TRANSITIONS.get(phase) for phase in set(Phase) - SETTLED)
