"""XIDs and memory errors: raised once, and cleared when the application is quiet or the GPU was reset and is well."""

import pytest

from agent.faults.fault import FaultKey, fault_id
from agent.readings import GpuReading
from shared.models.telemetry import Blame, Container, FaultKind, FaultState, GpuState, NodeState
from tests.agent.faults.simulation import WEB, SimulatedNode, gpu, told


def test_hardware_xid_is_raised_with_what_nvidia_says_and_who_had_the_gpu() -> None:
    node = SimulatedNode()
    node.read()
    (fault,) = node.read(xids=[("GPU-1", 79)])
    assert told([fault]) == [("GPU-1", "xid", "raised")]
    assert (fault.blame, fault.xid, fault.action) == (Blame.GPU, 79, "RESTART_BM")
    assert fault.message == (
        "XID 79: the GPU has fallen off the bus; NVIDIA says: RESTART_BM, then CONTACT_SUPPORT; hardware"
    )
    assert fault.evidence["mnemonic"] == "ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS"
    assert fault.evidence["cause"] == "hardware"
    assert fault.containers == (WEB,)
    assert fault.fault == fault_id("local", "gpu-0", FaultKey("GPU-1", FaultKind.XID, 79), node.now)


def test_application_xid_blames_the_pod_and_is_over_when_it_is_quiet() -> None:
    node = SimulatedNode()
    (raised,) = node.read(xids=[("GPU-0", 31)])
    assert (raised.blame, raised.evidence["cause"]) == (Blame.POD, "application")
    assert node.watch(9.5) == []
    (cleared,) = node.watch(1)
    assert told([cleared]) == [("GPU-0", "xid", "cleared")]
    assert (cleared.fault, cleared.blame, cleared.xid) == (raised.fault, Blame.POD, 31)
    assert cleared.message == "XID 31: a program accessed GPU memory that is not mapped is over: not seen for 10 min"


def test_container_that_crashes_in_a_loop_is_one_fault() -> None:
    node = SimulatedNode()
    assert len(node.read(xids=[("GPU-0", 13), ("GPU-0", 13)])) == 1
    for _ in range(6):
        assert node.watch(5) == []
        assert node.read(xids=[("GPU-0", 13)]) == []
    assert told(node.watch(11)) == [("GPU-0", "xid", "cleared")]


def test_hardware_xid_stands_until_the_gpu_was_reset_and_is_well() -> None:
    node = SimulatedNode()
    node.read(xids=[("GPU-0", 48)])
    assert node.watch(60, every=60) == [], "silence alone proves nothing"
    node.reset_gpus()
    assert node.watch(5) == []
    (cleared,) = node.watch(1)
    assert cleared.state is FaultState.CLEARED
    assert cleared.message.endswith(" is over: reset, and well for 5 min")


def test_xid_after_the_reset_needs_another_reset() -> None:
    node = SimulatedNode()
    node.read(xids=[("GPU-0", 119)])
    node.reset_gpus()
    node.watch(4)
    assert node.read(xids=[("GPU-0", 119)]) == []
    assert node.watch(60, every=60) == []
    node.reset_gpus()
    assert told(node.watch(6)) == [("GPU-0", "xid", "cleared")]


def test_gpu_is_not_well_while_it_cannot_be_read() -> None:
    node = SimulatedNode()
    node.read(xids=[("GPU-0", 119)])
    node.reset_gpus()
    node.read()
    node.change(0, state=GpuState.HUNG)
    assert "xid" not in {kind for _, kind, _ in told(node.watch(20))}
    node.change(0)
    assert ("GPU-0", "xid", "cleared") in told(node.watch(6))


@pytest.mark.parametrize("sign", ["uptime", "driver", "ecc"])
def test_reset_shows_in_the_uptime_the_driver_and_the_counters(sign: str) -> None:
    node = SimulatedNode(gpus=(gpu(0, {"ecc_single_bit_volatile_total": 7.0}), gpu(1)))
    node.read(xids=[("GPU-0", 64)])
    match sign:
        case "uptime":
            node.uptime = 30.0
        case "driver":
            node.driver = "590.10"
        case "ecc":
            node.change(0, {"ecc_single_bit_volatile_total": 0.0})
    assert told(node.watch(6)) == [("GPU-0", "xid", "cleared")]


def test_uptime_that_is_not_exact_is_no_reboot() -> None:
    node = SimulatedNode()
    node.read(xids=[("GPU-0", 64)])
    node.uptime -= 30
    assert node.watch(20) == []


def test_reset_of_one_gpu_says_nothing_about_another() -> None:
    node = SimulatedNode(gpus=(gpu(0, {"ecc_single_bit_volatile_total": 7.0}), gpu(1)))
    node.read(xids=[("GPU-0", 64), ("GPU-1", 64)])
    node.change(0, {"ecc_single_bit_volatile_total": 0.0})
    assert told(node.watch(30)) == [("GPU-0", "xid", "cleared")]


@pytest.mark.parametrize("xid", [63, 92, 154])
def test_notice_of_the_driver_is_no_fault(xid: int) -> None:
    assert SimulatedNode().read(xids=[("GPU-0", xid)]) == []


def test_unknown_xid_is_treated_as_hardware_and_says_so() -> None:
    (fault,) = SimulatedNode().read(xids=[("GPU-0", 999)])
    assert (fault.blame, fault.action) == (Blame.GPU, None)
    assert fault.message == "XID 999: not in NVIDIA's catalogue; treated as hardware"


def test_hardware_xid_of_an_unknown_gpu_blames_the_node_and_names_all_its_containers() -> None:
    other = Container("search", "other-1", "main")
    node = SimulatedNode(gpus=(gpu(0, {"ecc_single_bit_volatile_total": 7.0}), gpu(1, containers=(other,))))
    (fault,) = node.read(xids=[(None, 119)])
    assert (fault.gpu, fault.blame) == (None, Blame.NODE)
    assert fault.containers == (other, WEB)
    node.change(0, {"ecc_single_bit_volatile_total": 0.0})
    assert node.watch(20) == [], "the other GPU was not reset"
    node.reset_gpus()
    assert told(node.watch(6)) == [(None, "xid", "cleared")]


def test_xid_of_a_mig_instance_is_one_of_its_gpu_with_all_its_containers() -> None:
    slices = tuple(
        GpuReading(f"MIG-{n}", 0, gpu(0).product, parent="GPU-0", profile="1g.10gb", containers=(one,))
        for n, one in enumerate((Container("a", "one", "main"), Container("b", "two", "main")))
    )
    node = SimulatedNode(gpus=(gpu(0, containers=()), *slices))
    (fault,) = node.read(xids=[("MIG-1", 95)])
    assert fault.gpu == "GPU-0"
    assert [one.pod for one in fault.containers] == ["one", "two"]


def test_gpu_that_is_gone_still_names_the_containers_that_had_it() -> None:
    node = SimulatedNode()
    node.read()
    node.gpus = (gpu(1),)
    (fault,) = node.read(xids=[("GPU-0", 79)])
    assert fault.containers == (WEB,)


def test_xid_is_taken_while_the_driver_hangs() -> None:
    node = SimulatedNode()
    node.read()
    node.state = NodeState.DRIVER_HUNG
    assert told(node.read(xids=[("GPU-0", 119)])) == [("GPU-0", "xid", "raised")]


def test_growing_counter_of_double_bit_errors_is_a_fault_of_the_gpu() -> None:
    node = SimulatedNode()
    node.read()
    node.change(1, {"ecc_double_bit_volatile_total": 2.0})
    (fault,) = node.read()
    assert told([fault]) == [("GPU-1", "double_bit_ecc", "raised")]
    assert (fault.blame, fault.action) == (Blame.GPU, "WORKFLOW_XID_48")
    assert fault.message == (
        "GPU 1 has 2 new memory errors that cannot be corrected; NVIDIA says: WORKFLOW_XID_48; hardware"
    )
    node.change(1, {"ecc_double_bit_volatile_total": 3.0})
    assert node.read() == [], "it stands already"
    assert node.watch(60, every=60) == []
    node.reset_gpus()
    node.change(1)
    assert told(node.watch(6)) == [("GPU-1", "double_bit_ecc", "cleared")]


def test_errors_from_before_the_first_reading_are_no_fault() -> None:
    node = SimulatedNode(gpus=(gpu(0, {"ecc_double_bit_volatile_total": 5.0}),))
    assert node.watch(5) == []


def test_counter_that_goes_backwards_is_no_fault() -> None:
    node = SimulatedNode(gpus=(gpu(0, {"ecc_double_bit_volatile_total": 5.0}),))
    node.read()
    node.change(0, {"ecc_double_bit_volatile_total": 1.0})
    assert node.watch(5) == []


def test_counter_that_is_missing_for_a_while_is_compared_with_its_last_value() -> None:
    node = SimulatedNode(gpus=(gpu(0),))
    node.read()
    without = {name: value for name, value in gpu(0).metrics.items() if name != "ecc_double_bit_volatile_total"}
    node.gpus = (gpu(0)._replace(metrics=without),)
    node.read()
    node.gpus = (gpu(0, {"ecc_double_bit_volatile_total": 1.0}),)
    assert told(node.read()) == [("GPU-0", "double_bit_ecc", "raised")]
