"""The figures of a replay, and what is said when they do not add up."""

import io
import math
import uuid
from dataclasses import replace

from rich.console import Console

from knative.local.tools.replay.lifecycles import LifecycleObservation, Lifecycles
from knative.local.tools.replay.observation import StoreTotals
from knative.local.tools.replay.summary import Effort, Summary, percentile, problems, rendered, summarise
from knative.local.tools.replay.trace import Pod
from shared.models.lifecycle import Phase

TOTALS = StoreTotals({}, 0, 0, 0, {})
EFFORT = Effort(seconds=2.0, events=100, retries=1, peak_bytes=300 * 1024**2)


def replayed(
    *phases: tuple[Phase, str], keep: bool = False, totals: StoreTotals = TOTALS, total: int | None = None
) -> Summary:
    """A replay of one workload a phase, submitted at 0; the first becomes so after one second, and so on."""
    found = Lifecycles(keep)
    for number, (phase, reason) in enumerate(phases, start=1):
        workload = uuid.uuid4()
        found.submitted(workload, Pod(f"pod-{number}", 1, 1, 0, (), "LS", 0, None), 0.0)
        if phase is Phase.REMOVED:
            found.seen(LifecycleObservation(workload, Phase.HEALTHY, "", float(number)))
        found.seen(LifecycleObservation(workload, phase, reason, float(number)))
    return summarise(len(phases) if total is None else total, found, totals, EFFORT)


def test_counts_what_became_of_each() -> None:
    summary = replayed(
        (Phase.REMOVED, ""),
        (Phase.REMOVED, ""),
        (Phase.DENIED, "too dear"),
        (Phase.FAILED, "Unschedulable: no node"),
        (Phase.FAILED, "CrashLoopBackOff: x"),
        totals=replace(TOTALS, denials={"cost_ceiling of policy budget": 1}),
    )
    assert (summary.approved, summary.denied, summary.placed, summary.removed) == (4, 1, 2, 2)
    assert (summary.not_placeable, summary.failures) == (1, {"CrashLoopBackOff": 1})
    assert summary.denials == {"cost_ceiling of policy budget": 1}
    assert summary.latencies == [1.0, 2.0]


def test_percentiles_are_by_nearest_rank() -> None:
    hundred = [float(n) for n in range(1, 101)]
    assert [percentile(hundred, p) for p in (50, 95, 99, 100)] == [50.0, 95.0, 99.0, 100.0]
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert percentile([7.0], 50) == 7.0
    assert math.isnan(percentile([], 50))


def test_a_replay_that_adds_up_has_no_problems() -> None:
    assert problems(replayed((Phase.REMOVED, "")), keep=False, complete=True) == []
    assert problems(replayed((Phase.HEALTHY, ""), keep=True), keep=True, complete=True) == []


def test_names_what_is_stuck() -> None:
    found = problems(replayed((Phase.WAITING, "cluster away"), keep=True), keep=True, complete=True)
    assert found == ["stuck: pod-1 is waiting (cluster away)"]


def test_names_what_was_lost() -> None:
    found = problems(replayed((Phase.REMOVED, ""), total=2), keep=False, complete=True)
    assert found == ["only 1 of 2 workloads were submitted"]


def test_a_reservation_that_did_not_return_is_a_problem() -> None:
    held = replace(TOTALS, reserved_workloads=1, reserved_gpus=2, used_gpus=2)
    assert problems(replayed((Phase.REMOVED, ""), totals=held), keep=False, complete=True) == [
        "1 workloads still hold a reservation"
    ]
    assert problems(replayed((Phase.HEALTHY, ""), keep=True, totals=held), keep=True, complete=True) == []


def test_a_ledger_that_does_not_add_up_is_a_problem() -> None:
    skewed = replace(TOTALS, reserved_gpus=2, used_gpus=3)
    found = problems(replayed((Phase.HEALTHY, ""), keep=True, totals=skewed), keep=True, complete=True)
    assert found == ["the ledger counts 3 GPUs, its reservations 2"]


def test_dead_letters_are_a_problem_even_of_an_interrupted_replay() -> None:
    letters = replace(TOTALS, dead_letters={"plan.proposed: no": 2})
    assert problems(replayed((Phase.WAITING, ""), totals=letters), keep=False, complete=False) == [
        "dead letters: 2 of plan.proposed: no"
    ]


def test_prints_every_figure() -> None:
    stream = io.StringIO()
    summary = replayed((Phase.REMOVED, ""), (Phase.FAILED, "Unschedulable: no node"), total=3)
    Console(file=stream, width=120).print(rendered(summary))
    lines = {" ".join(line.split()) for line in stream.getvalue().splitlines()}
    assert "submitted 2 of 3" in lines
    assert "not placeable 1 Unschedulable at their deadline" in lines
    assert "end to end p50 1,000 ms, submitted to healthy" in lines
    assert "events a second 50" in lines
    assert "peak memory 300 MiB, all processes together" in lines
