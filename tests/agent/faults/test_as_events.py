"""Every fault that the detectors find is an event that the catalogue takes."""

from agent.events import fault_event
from events.telemetry import GpuFault
from shared.models.telemetry import FaultKind, GpuState, NodeState
from tests.agent.faults.simulation import SimulatedNode, gpu


def test_faults_of_every_kind_are_events_of_the_catalogue() -> None:
    node = SimulatedNode(gpus=tuple(gpu(index) for index in range(6)))
    node.read()
    node.change(0, {"sm_clock_hertz": 1e9, "pcie_link_width": 1.0})
    node.change(1, {"throttle_reasons": float(0x20 | 0x80)})
    node.change(2, {"row_remap_failure": 1.0, "nvlinks_active": 3.0, "ecc_double_bit_volatile_total": 1.0})
    node.change(3, state=GpuState.LOST)
    node.read(xids=[("GPU-4", 79), ("GPU-4", 31), ("GPU-4", 65_535), (None, 167)])
    node.watch(12)
    node.state = NodeState.DRIVER_HUNG
    node.watch(1)
    node.state, node.gpus = NodeState.OK, tuple(gpu(index) for index in range(6))
    node.reset_gpus()
    node.watch(12)
    found = [GpuFault.model_validate_json(fault_event(fault).body) for fault in node.faults]
    assert {(fault.kind, fault.state) for fault in found} == {
        (kind, state) for kind in FaultKind for state in ("raised", "cleared")
    }
    assert len({(fault.fault, fault.state) for fault in found}) == len(found)
    assert node.memory is not None
    assert not node.memory.standing
