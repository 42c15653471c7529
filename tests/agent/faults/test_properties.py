"""What holds for every history of readings, however the signals change."""

import json
import random
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.faults.detection import observe
from agent.faults.fault import Fault, FaultKey
from agent.faults.memory import Memory, memory_from_json, memory_to_json
from agent.faults.settings import FaultSettings
from agent.readings import GpuReading, NodeReading, SeenXid
from shared.models.telemetry import FaultKind, FaultState, GpuState, NodeState
from tests.agent.faults.simulation import START, gpu

QUICK = FaultSettings(
    recovered_after=timedelta(seconds=30),
    lost_after=timedelta(seconds=10),
    hung_after=timedelta(seconds=10),
    nvlink_down_after=timedelta(seconds=10),
    application_quiet=timedelta(seconds=60),
    throttling_window=timedelta(seconds=60),
    degraded_window=timedelta(seconds=60),
    degraded_share=0.5,
)
"""Short times, so that a short history raises and clears faults."""

PROPERTY = settings(max_examples=25, deadline=None)

GPUS = 3
XIDS = (13, 63, 79, 999)

metrics = st.fixed_dictionaries(
    {},
    optional={
        "sm_clock_hertz": st.sampled_from([1.0e9, 1.98e9]),
        "throttle_reasons": st.sampled_from([0.0, 1.0, 2.0, float(0x20), float(0x80)]),
        "utilization_percent": st.sampled_from([0.0, 99.0]),
        "nvlinks_active": st.sampled_from([17.0, 18.0]),
        "row_remap_failure": st.sampled_from([0.0, 1.0]),
        "ecc_double_bit_volatile_total": st.sampled_from([0.0, 1.0, 2.0]),
        "energy_joules_total": st.sampled_from([1.0, 2.0]),
    },
)
gpus = st.lists(
    st.tuples(st.integers(0, GPUS), metrics, st.sampled_from([*[GpuState.OK] * 4, GpuState.LOST, GpuState.HUNG])),
    max_size=GPUS,
    unique_by=lambda one: one[0],
)
# A step and how often it is repeated: without repetition, hardly any condition lasts.
steps = st.tuples(
    st.sampled_from([1.0, 10.0, 30.0, 300.0, -60.007]),  # a clock that is put back meets no moment again
    st.sampled_from([*[NodeState.OK] * 4, NodeState.DRIVER_HUNG, NodeState.DRIVER_MISSING]),
    gpus,
    st.lists(st.tuples(st.sampled_from([None, "GPU-0", "GPU-1"]), st.sampled_from(XIDS)), max_size=2),
    st.sampled_from([1, 1, 3, 6]),
)
histories = st.lists(steps, max_size=10)


BAD = {
    "nvlinks": gpu(0, {"nvlinks_active": 17.0}),
    "rows": gpu(0, {"row_remap_failure": 1.0}),
    "heat": gpu(0, {"throttle_reasons": 32.0}),
    "clock": gpu(0, {"sm_clock_hertz": 1.0e9}),
    "lost": gpu(0, state=GpuState.LOST),
    "hung": gpu(0, state=GpuState.HUNG),
    "xid": gpu(0),
}


def readings(history: list[Any]) -> list[NodeReading]:
    now, found = START, []
    for after, state, listed, xids, times in history:
        for _ in range(times):
            now += timedelta(seconds=after)
            whole = tuple(gpu(index, values, state=gpu_state) for index, values, gpu_state in listed)
            seen = tuple(SeenXid(uuid, xid, now) for uuid, xid in xids)
            found.append(
                NodeReading("local", "gpu-0", now, state, "580", {}, whole if state is NodeState.OK else (), seen)
            )
    return found


def detect(history: list[NodeReading], memory: Memory | None = None) -> tuple[Memory | None, list[Fault]]:
    found: list[Fault] = []
    for reading in history:
        memory, faults = observe(memory, reading, QUICK)
        found += faults
    return memory, found


@given(histories)
@PROPERTY
def test_fault_is_raised_and_cleared_in_turn_under_one_id(history: list[Any]) -> None:
    standing: dict[FaultKey, Fault] = {}
    told: dict[str, list[FaultState]] = defaultdict(list)
    memory, faults = detect(readings(history))
    for fault in faults:
        key = FaultKey(fault.gpu, fault.kind, fault.xid)
        told[str(fault.fault)].append(fault.state)
        if fault.state is FaultState.RAISED:
            assert key not in standing
            standing[key] = fault
        else:
            raised = standing.pop(key)
            assert (raised.fault, raised.blame, raised.action) == (fault.fault, fault.blame, fault.action)
            assert raised.observed_at != fault.observed_at
    assert all(states in ([FaultState.RAISED], [FaultState.RAISED, FaultState.CLEARED]) for states in told.values())
    assert memory is None or set(memory.standing) == set(standing)


@pytest.mark.slow
@given(histories, st.randoms(use_true_random=False))
@PROPERTY
def test_order_of_gpus_and_xids_does_not_matter(history: list[Any], order: random.Random) -> None:
    def shuffled(reading: NodeReading) -> NodeReading:
        gpus: list[GpuReading] = order.sample(reading.gpus, len(reading.gpus))
        return replace(reading, gpus=tuple(gpus), xids=tuple(order.sample(reading.xids, len(reading.xids))))

    written = readings(history)
    assert detect([shuffled(reading) for reading in written]) == detect(written)


@pytest.mark.slow
@given(histories, st.integers(0, 60))
@PROPERTY
def test_restart_in_the_middle_changes_nothing(history: list[Any], at: int) -> None:
    written = readings(history)
    memory, before = detect(written[:at])
    if memory is not None:
        kept = json.loads(json.dumps(memory_to_json(memory), allow_nan=False))
        assert memory_from_json(kept) == memory
        memory = memory_from_json(kept)
    after_restart, after = detect(written[at:], memory)
    assert (after_restart, before + after) == detect(written)


@pytest.mark.parametrize("signal", ["nvlinks", "rows", "heat", "clock", "lost", "hung", "xid"])
@given(runs=st.lists(st.integers(1, 2), min_size=10, max_size=40))
@settings(max_examples=8, deadline=None)
def test_signal_that_flaps_is_raised_at_most_once(signal: str, runs: list[int]) -> None:
    """The signal is good and bad in turn, for one or two readings of 10 s each. It is never good for the 30 s of a
    recovery, and in a window of 60 s it is always bad for 20 s to 40 s."""
    now, history = START, []
    for turn, run in enumerate(runs):
        for _ in range(run):
            now += timedelta(seconds=10)
            one, xids = (BAD[signal], (SeenXid("GPU-0", 13, now),) * (signal == "xid")) if turn % 2 else (gpu(0), ())
            history.append(NodeReading("local", "gpu-0", now, NodeState.OK, "580", {}, (one, gpu(1), gpu(2)), xids))
    _, faults = detect(history)
    assert [fault.state for fault in faults] in ([], [FaultState.RAISED])


def test_histories_reach_every_kind_of_fault_and_its_end() -> None:
    """The properties above would hold for histories without faults too."""
    order = random.Random(3)

    def step() -> tuple[Any, ...]:
        listed = [
            (
                index,
                {
                    "sm_clock_hertz": order.choice([1.0e9, 1.98e9, 1.98e9]),
                    "throttle_reasons": order.choice([0.0, 0.0, 32.0, 128.0]),
                    "nvlinks_active": order.choice([17.0, 18.0]),
                    "row_remap_failure": order.choice([0.0, 1.0]),
                    "ecc_double_bit_volatile_total": order.choice([0.0, 1.0, 2.0]),
                },
                order.choice([*[GpuState.OK] * 8, GpuState.LOST]),
            )
            for index in range(GPUS)
        ]
        return 10.0, order.choice([*[NodeState.OK] * 8, NodeState.DRIVER_HUNG]), listed, [("GPU-0", 79)], 6

    faults = detect(readings([step() for _ in range(80)]))[1]
    assert {fault.kind for fault in faults if fault.state is FaultState.RAISED} == set(FaultKind)
    assert {fault.kind for fault in faults if fault.state is FaultState.CLEARED} == set(FaultKind) - {FaultKind.XID}
