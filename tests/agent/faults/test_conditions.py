"""Conditions that last: GPUs that are lost, hung, throttled or slower than their peers; links and rows that fail."""

import pytest

from agent.readings import GpuReading
from shared.models.telemetry import Blame, FaultState, GpuState, NodeState
from tests.agent.faults.simulation import IDLE, WEB, SimulatedNode, gpu, told

THERMAL = {"throttle_reasons": float(0x20), "temperature_celsius": 93.0, "sm_clock_hertz": 1.2e9}
SLOW = {"sm_clock_hertz": 1.2e9}


def test_lost_gpu_is_raised_once_and_cleared_once_when_it_is_well_again() -> None:
    node = SimulatedNode()
    node.read()
    node.change(1, state=GpuState.LOST)
    (fault,) = node.watch(10)
    assert told([fault]) == [("GPU-1", "gpu_lost", "raised")]
    assert (fault.blame, fault.action) == (Blame.GPU, "RESTART_BM")
    assert fault.message == "GPU 1 is lost: it has fallen off the bus; NVIDIA says: RESTART_BM; hardware"
    node.change(1)
    assert node.watch(5) == []
    assert told(node.watch(1)) == [("GPU-1", "gpu_lost", "cleared")]


def test_gpu_that_comes_and_goes_is_one_fault() -> None:
    node = SimulatedNode()
    for _ in range(20):
        node.change(1, state=GpuState.LOST)
        node.watch(1)
        node.change(1)
        node.watch(4)
    assert told(node.faults) == [("GPU-1", "gpu_lost", "raised")]


def test_gpu_that_is_away_for_a_moment_is_no_fault() -> None:
    node = SimulatedNode()
    node.read()
    node.gpus = (gpu(0),)
    node.watch(0.5)
    node.gpus = (gpu(0), gpu(1))
    assert node.watch(5) == []
    assert node.faults == []


@pytest.mark.parametrize("left", [1, 0])
def test_gpu_that_is_not_listed_any_more_is_lost_with_the_containers_that_had_it(left: int) -> None:
    node = SimulatedNode()
    node.read()
    node.gpus = (gpu(0), gpu(1))[:left]
    faults = node.watch(1)
    assert told(faults) == [(f"GPU-{index}", "gpu_lost", "raised") for index in range(left, 2)]
    assert faults[0].containers == (WEB,)


@pytest.mark.parametrize("state", [NodeState.DRIVER_MISSING, NodeState.DRIVER_CHANGED, NodeState.DRIVER_HUNG])
def test_no_gpu_is_lost_while_the_driver_is_not_there(state: NodeState) -> None:
    node = SimulatedNode()
    node.read()
    node.state = state
    assert "gpu_lost" not in {kind for _, kind, _ in told(node.watch(10))}


def test_replaced_gpu_takes_its_faults_with_it() -> None:
    node = SimulatedNode()
    (raised,) = node.read(xids=[("GPU-1", 64)])
    node.gpus = (gpu(0), gpu(2))
    (cleared,) = node.watch(10)
    assert (cleared.fault, cleared.state) == (raised.fault, FaultState.CLEARED)
    assert cleared.message.endswith("is over: the GPU was replaced")


def test_hung_driver_is_a_fault_of_the_node() -> None:
    node = SimulatedNode()
    node.read()
    node.state = NodeState.DRIVER_HUNG
    node.gpus = (gpu(0), gpu(1, {}, state=GpuState.HUNG))
    (fault,) = node.watch(5)
    assert told([fault]) == [(None, "driver_hung", "raised")]
    assert fault.evidence == {"driver": "580.95.05", "gpus_without_answer": 1.0}
    assert (fault.blame, fault.action, fault.containers) == (Blame.NODE, "RESTART_BM", (WEB,))
    node.state, node.gpus = NodeState.OK, (gpu(0), gpu(1))
    assert told(node.watch(6)) == [(None, "driver_hung", "cleared")]


def test_gpu_that_does_not_answer_is_a_fault_of_the_gpu() -> None:
    node = SimulatedNode()
    node.change(0, state=GpuState.HUNG)
    (fault,) = node.watch(5)
    assert (fault.gpu, fault.kind, fault.blame) == ("GPU-0", "driver_hung", Blame.GPU)


def test_failed_row_remapping_is_raised_at_once() -> None:
    node = SimulatedNode()
    node.change(0, {"row_remap_failure": 1.0})
    (fault,) = node.read()
    assert told([fault]) == [("GPU-0", "row_remap_failure", "raised")]
    assert fault.action == "RESET_GPU"
    assert node.watch(60, every=60) == []


def test_nvlink_that_was_up_and_stays_down_is_a_fault() -> None:
    node = SimulatedNode()
    node.read()
    node.change(0, {"nvlinks_active": 17.0})
    assert node.watch(0.5) == [], "it may be trained again"
    (fault,) = node.watch(5)
    assert told([fault]) == [("GPU-0", "nvlink_down", "raised")]
    assert fault.message == "GPU 0 has 17 NVLinks up; it had 18; NVIDIA says: WORKFLOW_NVLINK_ERR; hardware"
    node.change(0)
    assert told(node.watch(6)) == [("GPU-0", "nvlink_down", "cleared")]


def test_nvlinks_that_were_never_up_are_no_fault() -> None:
    node = SimulatedNode(gpus=(gpu(0, {"nvlinks_active": 0.0, "nvlinks_supported": 12.0}),))
    assert node.watch(10) == []


def test_nvlink_bridge_that_was_taken_out_while_the_node_was_off_is_no_fault() -> None:
    node = SimulatedNode()
    node.read()
    node.uptime = 60.0
    node.change(0, {"nvlinks_active": 0.0})
    assert node.watch(10) == []


def test_throttling_for_half_of_the_window_is_a_fault() -> None:
    node = SimulatedNode()
    node.change(0, THERMAL)
    assert node.watch(4.9) == []
    (fault,) = node.watch(1)
    assert told([fault]) == [("GPU-0", "thermal_throttling", "raised")]
    assert (fault.blame, fault.evidence["temperature_celsius"], fault.evidence["share"]) == (Blame.GPU, 93.0, 0.5)
    assert fault.message == "GPU 0 lowers its clocks because of its temperature; in 50% of 10 min under load; hardware"


def test_throttling_now_and_then_is_no_fault() -> None:
    node = SimulatedNode()
    for _ in range(40):
        node.change(0, THERMAL)
        node.watch(1)
        node.change(0)
        node.watch(2)
    assert node.faults == []


def test_throttling_around_the_threshold_is_one_fault() -> None:
    node = SimulatedNode()
    for _ in range(40):
        node.change(0, THERMAL)
        node.watch(1)
        node.change(0)
        node.watch(0.8)
    assert told(node.faults) == [("GPU-0", "thermal_throttling", "raised")]


def test_throttling_is_over_after_a_window_under_load_and_not_while_the_gpu_is_idle() -> None:
    node = SimulatedNode()
    node.change(0, THERMAL)
    node.watch(6)
    node.change(0, IDLE)
    assert node.watch(60, every=60) == []
    node.change(0)
    assert node.watch(8) == []
    assert told(node.watch(3)) == [("GPU-0", "thermal_throttling", "cleared")]


def test_throttling_is_over_with_a_reset_and_is_measured_anew() -> None:
    node = SimulatedNode()
    node.change(0, THERMAL)
    node.watch(6)
    node.reset_gpus()
    (cleared,) = node.read()
    assert cleared.message == "thermal throttling is over: the GPU was reset and is measured anew"
    assert node.watch(4.5) == []
    assert told(node.watch(1)) == [("GPU-0", "thermal_throttling", "raised")]
    assert len({fault.fault for fault in node.faults}) == 2


def test_power_brake_is_a_fault_of_the_node() -> None:
    node = SimulatedNode()
    node.change(0, {"throttle_reasons": float(0x80 | 0x8)})
    (fault,) = node.watch(8)
    assert (fault.kind, fault.blame) == ("power_throttling", Blame.NODE)


@pytest.mark.parametrize("reasons", [0x4, 0x2, 0x10, 0x1])
def test_power_cap_by_software_and_what_users_set_are_no_faults(reasons: int) -> None:
    node = SimulatedNode()
    node.change(0, {"throttle_reasons": float(reasons)})
    assert node.watch(30, every=30) == []


def test_hardware_slowdown_for_heat_is_not_taken_for_one_for_power() -> None:
    node = SimulatedNode()
    node.change(0, {"throttle_reasons": float(0x40 | 0x8)})
    assert told(node.watch(30, every=30)) == [("GPU-0", "thermal_throttling", "raised")]


def test_gpu_that_stays_slower_than_its_peers_is_degraded() -> None:
    node = SimulatedNode(gpus=tuple(gpu(index) for index in range(4)))
    node.change(2, SLOW)
    assert node.watch(8.9) == []
    (fault,) = node.watch(2)
    assert told([fault]) == [("GPU-2", "degraded", "raised")]
    assert fault.evidence["measure"] == "sm_clock_hertz"
    assert fault.evidence["peers"] == 3.0
    assert fault.evidence["ratio"] == pytest.approx(0.6061)
    assert fault.message == (
        "GPU 2 is slower than its peers under the same load: the clock of the streaming multiprocessors is 61% of the "
        "median of 3; in 90% of 10 min under load; hardware"
    )
    node.change(2)
    assert told(node.watch(11)) == [("GPU-2", "degraded", "cleared")]


def test_narrow_pcie_link_is_a_degradation() -> None:
    node = SimulatedNode(gpus=tuple(gpu(index) for index in range(3)))
    node.change(0, {"pcie_link_width": 8.0})
    (fault,) = node.watch(15)
    assert (fault.gpu, fault.evidence["measure"], fault.evidence["ratio"]) == ("GPU-0", "pcie_capacity", 0.5)


def test_gpu_alone_has_no_peers() -> None:
    node = SimulatedNode(gpus=(gpu(0, SLOW),))
    assert node.watch(60, every=60) == []


@pytest.mark.parametrize(
    "different",
    [
        gpu(1, {"utilization_percent": 85.0}),
        gpu(1, IDLE),
        gpu(1, {"power_limit_watts": 500.0}),
        gpu(1, product="NVIDIA A100-SXM4-80GB"),
        gpu(1, {"throttle_reasons": 2.0}),
        gpu(1, state=GpuState.HUNG),
    ],
    ids=["other load", "idle", "other power limit", "other product", "clocks set by a user", "hung"],
)
def test_gpu_is_compared_with_nothing_that_is_not_like_it(different: GpuReading) -> None:
    node = SimulatedNode(gpus=(gpu(0, SLOW), different))
    assert "degraded" not in {kind for _, kind, _ in told(node.watch(30))}


@pytest.mark.parametrize("reasons", [0x2, 0x20, 0x80])
def test_slowness_with_a_known_reason_is_no_silent_degradation(reasons: int) -> None:
    node = SimulatedNode()
    node.change(0, {**SLOW, "throttle_reasons": float(reasons)})
    assert "degraded" not in {kind for _, kind, _ in told(node.watch(30))}


def test_instances_of_mig_are_no_gpus_of_their_own() -> None:
    instance = gpu(5, {"row_remap_failure": 1.0, **SLOW})._replace(gpu="MIG-1", parent="GPU-0", profile="1g.10gb")
    node = SimulatedNode(gpus=(gpu(0), instance))
    node.watch(15)
    node.gpus = (gpu(0),)
    node.watch(15)
    assert node.faults == []


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_clock_that_jumps_does_not_make_a_moment_last(jump: float) -> None:
    node = SimulatedNode()
    node.change(0, THERMAL)
    node.read(xids=[("GPU-0", 31)])
    node.read(after=jump)
    assert told(node.faults) == [("GPU-0", "xid", "raised")]
