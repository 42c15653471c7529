"""The readings of a node's GPUs through the real pynvml, on a library that says what each test scripts."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pynvml
import pytest

from agent.nvml.source import NvmlSource
from agent.readings import GpuPart, GpuReading, SeenXid
from shared.models.telemetry import GpuState, NodeState
from shared.telemetry.fields import GPU_FIELDS
from tests.support.nvml.script import DRIVER, LINKS, MIB, PRODUCT, NvmlScript, mig_uuid_of, pci_bus_id_of, uuid_of

pytestmark = pytest.mark.xdist_group("nvml")  # the library is compiled once

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_LOST = pynvml.NVML_ERROR_GPU_IS_LOST
_SOON = 0.2  # seconds: the deadline for a driver that is known to hang


@pytest.fixture
def impatient(driver: NvmlScript) -> Iterator[NvmlSource]:
    """A source that has read once, and waits for a short time only."""
    opened = NvmlSource(_SOON, 5)
    assert opened.read(NOW).state is NodeState.OK
    yield opened
    driver.answers_everything()
    _until_it_answers(opened)
    opened.close()


def _until_it_answers(source: NvmlSource) -> GpuPart:
    limit = time.monotonic() + 10
    while (part := source.read(NOW)).state is NodeState.DRIVER_HUNG:
        assert time.monotonic() < limit
        time.sleep(0.002)
    return part


def _states(part: GpuPart) -> list[GpuState]:
    return [gpu.state for gpu in part.gpus]


def test_a_gpu_that_supports_everything_gives_every_field_in_its_unit(driver: NvmlScript, source: NvmlSource) -> None:
    part = source.read(NOW)
    assert (part.state, part.driver, part.xids) == (NodeState.OK, DRIVER, ())
    first, second = part.gpus
    assert (first.gpu, first.index, first.product, first.state) == (uuid_of(0), 0, PRODUCT, GpuState.OK)
    assert (second.gpu, second.index) == (uuid_of(1), 1)
    assert (first.pci_bus_id, second.pci_bus_id) == (pci_bus_id_of(0), pci_bus_id_of(1))
    assert first.metrics == {
        "utilization_percent": 97,
        "memory_utilization_percent": 40,
        "encoder_utilization_percent": 3,
        "decoder_utilization_percent": 7,
        "memory_total_bytes": 81_559 * MIB,
        "memory_used_bytes": 40_000 * MIB,
        "memory_free_bytes": 41_022 * MIB,
        "memory_reserved_bytes": 537 * MIB,
        "temperature_celsius": 54,
        "temperature_slowdown_celsius": 87,
        "memory_temperature_celsius": 61,
        "power_watts": pytest.approx(412.345),
        "power_limit_watts": 700,
        "energy_joules_total": pytest.approx(123_456.789),
        "sm_clock_hertz": 1_965e6,
        "memory_clock_hertz": 2_619e6,
        "graphics_clock_hertz": 1_980e6,
        "video_clock_hertz": 1_545e6,
        "sm_clock_maximum_hertz": 1_980e6,
        "throttle_reasons": pynvml.nvmlClocksEventReasonSwPowerCap,
        "performance_state": 0,
        "pcie_link_generation": 5,
        "pcie_link_width": 16,
        "pcie_link_generation_maximum": 5,
        "pcie_link_width_maximum": 16,
        "pcie_replays_total": 2,
        "pcie_transmitted_bytes_per_second": 1_500_000,
        "pcie_received_bytes_per_second": 2_500_000,
        "nvlinks_supported": LINKS,
        "nvlinks_active": LINKS,
        "nvlink_crc_flit_errors_total": 4,
        "nvlink_crc_data_errors_total": 6,
        "nvlink_replay_errors_total": 8,
        "nvlink_recovery_errors_total": 9,
        "ecc_single_bit_volatile_total": 5,
        "ecc_double_bit_volatile_total": 0,
        "ecc_single_bit_aggregate_total": 12,
        "ecc_double_bit_aggregate_total": 1,
        "remapped_rows_correctable_total": 3,
        "remapped_rows_uncorrectable_total": 1,
        "remapped_rows_pending": 0,
        "row_remap_failure": 0,
        "retired_pages_single_bit_total": 0,
        "retired_pages_double_bit_total": 0,
        "retired_pages_pending": 0,
    }
    # The first reading finds out what the GPU supports, and the others ask in quicker ways.
    assert source.read(NOW).gpus == source.read(NOW).gpus == part.gpus
    # No fan in this product; and no XID so far.
    assert set(GPU_FIELDS) - set(first.metrics) == {"fan_speed_percent", "last_xid"}
    driver.gives("gpu0", "nvmlDeviceGetFanSpeed", 30)
    driver.raises_xid(0, 31)
    again = NvmlSource()
    again.read(NOW)
    driver.raises_xid(0, 31)
    assert set(again.read(NOW).gpus[0].metrics) == set(GPU_FIELDS)
    again.close()


def test_what_a_gpu_does_not_support_is_asked_once(driver: NvmlScript, source: NvmlSource) -> None:
    driver.forgets("gpu0", "nvmlDeviceGetPowerUsage")
    driver.forgets("gpu0", f"field:{pynvml.NVML_FI_DEV_ECC_DBE_AGG_TOTAL}")
    unsupported = (("nvmlDeviceGetPowerUsage", -1), ("field", pynvml.NVML_FI_DEV_ECC_DBE_AGG_TOTAL))
    before = [driver.calls("gpu0", *call) for call in unsupported], driver.calls("gpu1", "nvmlDeviceGetPowerUsage")
    for _ in range(3):
        first, second = source.read(NOW).gpus
        assert not {"power_watts", "ecc_double_bit_aggregate_total"} & set(first.metrics)
        assert first.metrics["power_limit_watts"] == 700
        assert second.metrics["power_watts"] == pytest.approx(412.345)
    after = [driver.calls("gpu0", *call) for call in unsupported], driver.calls("gpu1", "nvmlDeviceGetPowerUsage")
    assert after == ([calls + 1 for calls in before[0]], before[1] + 3)


def test_what_does_not_change_is_asked_once(driver: NvmlScript, source: NvmlSource) -> None:
    calls = driver.calls("gpu0", "nvmlDeviceGetMaxClockInfo", 1)
    driver.fails("gpu0", "nvmlDeviceGetMaxClockInfo:1", pynvml.NVML_ERROR_UNKNOWN)
    assert "sm_clock_maximum_hertz" not in source.read(NOW).gpus[0].metrics
    driver.gives("gpu0", "nvmlDeviceGetMaxClockInfo:1", 1980)
    for _ in range(3):
        assert source.read(NOW).gpus[0].metrics["sm_clock_maximum_hertz"] == 1980e6
    assert driver.calls("gpu0", "nvmlDeviceGetMaxClockInfo", 1) == calls + 2


def test_an_older_driver_is_asked_with_the_older_calls(driver: NvmlScript, source: NvmlSource) -> None:
    newer = ("nvmlDeviceGetTemperatureV:0", "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetCurrentClocksEventReasons")
    for function in newer:
        driver.fails("gpu0", function, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    driver.gives("gpu0", "nvmlDeviceGetTemperature:0", 41)
    driver.gives("gpu0", "nvmlDeviceGetMemoryInfo", 3 * MIB, 2 * MIB, MIB)
    driver.gives("gpu0", "nvmlDeviceGetCurrentClocksThrottleReasons", 0x40)
    calls = driver.calls("gpu0", "nvmlDeviceGetTemperatureV", 0)
    for _ in range(2):
        metrics = source.read(NOW).gpus[0].metrics
        assert metrics["temperature_celsius"] == 41
        assert (metrics["memory_total_bytes"], metrics["memory_used_bytes"]) == (3 * MIB, MIB)
        assert metrics["throttle_reasons"] == 0x40
        assert "memory_reserved_bytes" not in metrics
    assert driver.calls("gpu0", "nvmlDeviceGetTemperatureV", 0) == calls + 1


def test_errors_of_nvlinks_are_summed_where_the_gpu_has_no_totals(driver: NvmlScript, source: NvmlSource) -> None:
    driver.forgets("gpu0", f"field:{pynvml.NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL}")
    for link in range(LINKS):
        driver.gives("gpu0", f"field:{pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY}/{link}", 10**link)
    driver.gives("gpu0", f"field:{pynvml.NVML_FI_DEV_NVLINK_GET_STATE}/2", 0)
    for _ in range(2):
        metrics = source.read(NOW).gpus[0].metrics
        assert metrics["nvlink_replay_errors_total"] == 1111
        assert (metrics["nvlinks_active"], metrics["nvlinks_supported"]) == (LINKS - 1, LINKS)


def test_a_call_that_fails_once_is_asked_again_and_a_sum_is_never_partial(
    driver: NvmlScript, source: NvmlSource
) -> None:
    assert source.read(NOW).gpus[0].metrics["nvlinks_active"] == LINKS
    driver.fails("gpu0", "nvmlDeviceGetPowerUsage", pynvml.NVML_ERROR_UNKNOWN)
    driver.fails("gpu0", f"field:{pynvml.NVML_FI_DEV_NVLINK_GET_STATE}/1", pynvml.NVML_ERROR_UNKNOWN)
    assert not {"power_watts", "nvlinks_active"} & set(source.read(NOW).gpus[0].metrics)
    driver.gives("gpu0", "nvmlDeviceGetPowerUsage", 1000)
    driver.forgets("gpu0", f"field:{pynvml.NVML_FI_DEV_NVLINK_GET_STATE}/1")
    metrics = source.read(NOW).gpus[0].metrics
    assert (metrics["power_watts"], metrics["nvlinks_active"]) == (1, LINKS)


def test_a_temperature_may_be_below_zero(driver: NvmlScript, source: NvmlSource) -> None:
    for celsius in (-5, -6):
        driver.gives("gpu0", "nvmlDeviceGetTemperatureV:0", celsius)
        assert source.read(NOW).gpus[0].metrics["temperature_celsius"] == celsius


def test_what_changes_from_reading_to_reading_is_read_anew(driver: NvmlScript, source: NvmlSource) -> None:
    for percent in (10, 20, 30):
        driver.gives("gpu0", "nvmlDeviceGetUtilizationRates", percent, percent + 1)
        driver.gives("gpu0", "nvmlDeviceGetEncoderUtilization", percent + 2, 1000)
        driver.gives("gpu0", "nvmlDeviceGetMemoryInfo_v2", 100 * MIB, MIB, (99 - percent) * MIB, percent * MIB)
        driver.gives("gpu0", "nvmlDeviceGetPowerUsage", percent * 1000)
        metrics = source.read(NOW).gpus[0].metrics
        assert (metrics["utilization_percent"], metrics["memory_utilization_percent"]) == (percent, percent + 1)
        assert (metrics["encoder_utilization_percent"], metrics["power_watts"]) == (percent + 2, percent)
        assert (metrics["memory_used_bytes"], metrics["memory_free_bytes"]) == (percent * MIB, (99 - percent) * MIB)


def test_a_gpu_that_falls_off_the_bus_is_lost_and_the_others_are_read(driver: NvmlScript, source: NvmlSource) -> None:
    source.read(NOW)
    driver.fails("gpu0", "*", _LOST)
    driver.raises_xid(0, 79)
    part = source.read(NOW)
    assert (part.state, _states(part)) == (NodeState.OK, [GpuState.LOST, GpuState.OK])
    assert (part.gpus[0].gpu, part.gpus[0].index, part.gpus[0].metrics) == (uuid_of(0), 0, {})
    assert part.xids == (SeenXid(uuid_of(0), 79, NOW),)
    driver.forgets("gpu0", "*")
    part = source.read(NOW)
    assert _states(part) == [GpuState.OK, GpuState.OK]
    assert part.gpus[0].metrics["last_xid"] == 79


def test_a_lost_gpu_that_the_driver_no_longer_lists_stays_lost_until_it_is_back(
    driver: NvmlScript, source: NvmlSource
) -> None:
    source.read(NOW)
    driver.fails("gpu0", "*", _LOST)
    source.read(NOW)
    # A new initialisation numbers anew: the second GPU is the first one now, and the second one is new.
    driver.forgets("gpu0", "*")
    driver.says("gpu0", "nvmlDeviceGetUUID", uuid_of(1))
    driver.says("gpu1", "nvmlDeviceGetUUID", uuid_of(2))
    part = source.read(NOW + timedelta(minutes=2))
    assert [(gpu.gpu, gpu.index, gpu.state) for gpu in part.gpus] == [
        (uuid_of(0), 0, GpuState.LOST),
        (uuid_of(1), 1, GpuState.OK),
        (uuid_of(2), 2, GpuState.OK),
    ]
    driver.says("gpu0", "nvmlDeviceGetUUID", uuid_of(0))
    assert _states(source.read(NOW + timedelta(minutes=2, seconds=59)))[0] is GpuState.LOST
    assert _states(source.read(NOW + timedelta(minutes=3))) == [GpuState.OK, GpuState.LOST, GpuState.OK]


def test_a_gpu_that_is_lost_from_the_start_is_opened_when_it_is_back(driver: NvmlScript, source: NvmlSource) -> None:
    driver.fails("gpu0", "*", _LOST)
    part = source.read(NOW)
    assert (part.state, [gpu.gpu for gpu in part.gpus]) == (NodeState.OK, [uuid_of(1)])
    driver.forgets("gpu0", "*")
    part = source.read(NOW + timedelta(minutes=1))
    assert [gpu.gpu for gpu in part.gpus] == [uuid_of(0), uuid_of(1)]


def test_a_gpu_that_the_agent_may_not_open_is_none_of_its_gpus(driver: NvmlScript, source: NvmlSource) -> None:
    driver.fails("gpu0", "nvmlDeviceGetHandleByIndex", pynvml.NVML_ERROR_NO_PERMISSION)
    calls = driver.calls("system", "nvmlInit")
    for minute in range(3):
        assert [gpu.gpu for gpu in source.read(NOW + timedelta(minutes=minute)).gpus] == [uuid_of(1)]
    assert driver.calls("system", "nvmlInit") == calls + 1


def test_a_gpu_that_is_lost_from_the_start_is_known_by_what_the_kernel_module_says(
    driver: NvmlScript, tmp_path: Path
) -> None:
    for gpu, uuid in enumerate((uuid_of(0), uuid_of(1), "GPU-????????-????-????-????-????????????")):
        directory = tmp_path / pci_bus_id_of(gpu)[4:].lower()
        directory.mkdir()
        information = f"Model: \t\t {PRODUCT}\nIRQ:   \t\t 120\nGPU UUID: \t {uuid}\nBus Type: \t PCIe\n"
        (directory / "information").write_text(information)
    driver.fails("gpu0", "*", _LOST)
    source = NvmlSource(proc_gpus=tmp_path)
    for _ in range(2):
        first, second = source.read(NOW).gpus
        assert first == GpuReading(uuid_of(0), 0, PRODUCT, GpuState.LOST, pci_bus_id=pci_bus_id_of(0))
        assert (second.gpu, second.index, second.state) == (uuid_of(1), 1, GpuState.OK)
    driver.forgets("gpu0", "*")
    assert _states(source.read(NOW + timedelta(minutes=1))) == [GpuState.OK, GpuState.OK]
    source.close()


def test_a_driver_that_hangs_is_a_state_and_ends_when_the_driver_answers(
    driver: NvmlScript, impatient: NvmlSource
) -> None:
    driver.hangs("gpu1", "nvmlDeviceGetPowerUsage")
    driver.gives("gpu0", "nvmlDeviceGetPowerUsage", 1000)
    part = impatient.read(NOW)
    assert (part.state, part.driver) == (NodeState.DRIVER_HUNG, DRIVER)
    assert _states(part) == [GpuState.OK, GpuState.HUNG]
    assert part.gpus[0].metrics["power_watts"] == 1
    assert part.gpus[1].metrics == {}
    # While it lasts, nothing is asked of it, and nobody waits.
    threads, calls = threading.active_count(), driver.calls("gpu0", "nvmlDeviceGetPowerUsage")
    for _ in range(3):
        part = impatient.read(NOW)
        assert (part.state, _states(part)) == (NodeState.DRIVER_HUNG, [GpuState.HUNG, GpuState.HUNG])
    assert threading.active_count() == threads
    assert driver.calls("gpu0", "nvmlDeviceGetPowerUsage") == calls
    driver.gives("gpu1", "nvmlDeviceGetPowerUsage", 2000)
    part = _until_it_answers(impatient)
    assert _states(part) == [GpuState.OK, GpuState.OK]
    assert part.gpus[1].metrics["power_watts"] == 2


def test_a_gpu_that_was_lost_stays_lost_while_the_driver_hangs(driver: NvmlScript, impatient: NvmlSource) -> None:
    driver.fails("gpu0", "*", _LOST)
    driver.hangs("gpu1", "nvmlDeviceGetPowerUsage")
    for _ in range(2):
        assert _states(impatient.read(NOW)) == [GpuState.LOST, GpuState.HUNG]


def test_an_xid_that_the_driver_told_of_before_it_hung_is_not_lost(driver: NvmlScript, impatient: NvmlSource) -> None:
    driver.raises_xid(1, 119)
    driver.hangs("gpu1", "nvmlDeviceGetPowerUsage")
    part = impatient.read(NOW)
    assert (part.state, part.xids) == (NodeState.DRIVER_HUNG, (SeenXid(uuid_of(1), 119, NOW),))


def test_a_driver_that_hangs_while_it_starts_is_ready_when_it_has_started(driver: NvmlScript) -> None:
    driver.hangs("system", "nvmlInit")
    source = NvmlSource(5, _SOON)
    part = source.read(NOW)
    assert (part.state, part.driver, part.gpus) == (NodeState.DRIVER_HUNG, None, ())
    driver.forgets("system", "nvmlInit")
    assert _states(_until_it_answers(source)) == [GpuState.OK, GpuState.OK]
    source.close()


def test_a_source_of_a_driver_that_hangs_can_be_closed(driver: NvmlScript) -> None:
    source = NvmlSource(_SOON, 5)
    source.read(NOW)
    driver.hangs("gpu0", "nvmlDeviceGetPowerUsage")
    assert source.read(NOW).state is NodeState.DRIVER_HUNG
    source.close()


def test_a_process_whose_driver_hangs_ends(driver: NvmlScript, compiled_nvml: Path) -> None:
    driver.hangs("gpu0", "nvmlDeviceGetPowerUsage")
    program = (
        "from datetime import UTC, datetime\n"
        "from agent.nvml.source import NvmlSource\n"
        f"source = NvmlSource({_SOON}, {_SOON})\n"
        "print(source.read(datetime.now(UTC)).state)\n"
        "source.close()\n"
    )
    ended = _run(program, LD_LIBRARY_PATH=str(compiled_nvml.parent))
    assert ended == "driver_hung"


def test_a_driver_that_was_upgraded_under_the_agent_is_a_state_and_ends_with_the_new_driver(
    driver: NvmlScript, source: NvmlSource
) -> None:
    source.read(NOW)
    driver.fails("system", "*", pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    for _ in range(2):
        part = source.read(NOW)
        assert (part.state, part.driver, part.gpus) == (NodeState.DRIVER_CHANGED, None, ())
    driver.forgets("system", "*")
    driver.says("system", "nvmlSystemGetDriverVersion", "590.10")
    part = source.read(NOW)
    assert (part.state, part.driver, _states(part)) == (NodeState.OK, "590.10", [GpuState.OK, GpuState.OK])


def test_a_driver_that_is_unloaded_is_missing_until_it_is_loaded(driver: NvmlScript, tmp_path: Path) -> None:
    driver.fails("system", "nvmlInit", pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    source = NvmlSource(pci_devices=_pci_bus(tmp_path, vendor="0x10de"))
    part = source.read(NOW)
    assert (part.state, part.driver, part.gpus) == (NodeState.DRIVER_MISSING, None, ())
    driver.forgets("system", "nvmlInit")
    assert source.read(NOW).state is NodeState.OK
    source.close()


def test_a_driver_without_gpus_is_looked_at_again_after_a_minute(driver: NvmlScript, source: NvmlSource) -> None:
    driver.gives("system", "nvmlDeviceGetCount", 0)
    part = source.read(NOW)
    assert (part.state, part.driver, part.gpus) == (NodeState.NO_GPU, DRIVER, ())
    driver.gives("system", "nvmlDeviceGetCount", 2)
    assert source.read(NOW + timedelta(seconds=59)).state is NodeState.NO_GPU
    assert source.read(NOW + timedelta(seconds=60)).state is NodeState.OK


def test_a_node_without_the_library_has_no_driver_or_no_gpu_as_its_pci_bus_says(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from datetime import UTC, datetime\n"
        "from pathlib import Path\n"
        "from agent.nvml.source import NvmlSource\n"
        "source = NvmlSource(pci_devices=Path(sys.argv[1]))\n"
        "print(source.read(datetime.now(UTC)).state)\n"
        "source.close()\n"
    )
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a driver of NVIDIA")
    assert _run(program, str(_pci_bus(tmp_path, vendor="0x8086"))) == "no_gpu"
    assert _run(program, str(_pci_bus(tmp_path, vendor="0x10de"))) == "driver_missing"


def test_xids_come_once_each_with_their_gpu(driver: NvmlScript, source: NvmlSource) -> None:
    driver.raises_xid(0, 13)
    assert source.read(NOW).xids == ()  # from before the agent was there
    driver.raises_xid(1, 31)
    driver.raises_xid(0, 48)
    driver.raises_xid(1, 63)
    later = NOW + timedelta(seconds=15)
    part = source.read(later)
    assert part.xids == (
        SeenXid(uuid_of(0), 48, later),
        SeenXid(uuid_of(1), 31, later),
        SeenXid(uuid_of(1), 63, later),
    )
    assert [gpu.metrics["last_xid"] for gpu in part.gpus] == [48, 63]
    part = source.read(later)
    assert part.xids == ()
    assert [gpu.metrics["last_xid"] for gpu in part.gpus] == [48, 63]


def test_no_xid_is_lost_when_the_driver_is_initialised_again(driver: NvmlScript, source: NvmlSource) -> None:
    source.read(NOW)
    driver.fails("gpu0", "*", _LOST)
    source.read(NOW)
    calls = driver.calls("system", "nvmlInit")
    driver.raises_xid(0, 79)
    driver.raises_xid(1, 45)
    later = NOW + timedelta(minutes=1)
    assert source.read(later).xids == (SeenXid(uuid_of(0), 79, later), SeenXid(uuid_of(1), 45, later))
    assert driver.calls("system", "nvmlInit") == calls + 1


def test_a_gpu_without_events_is_read_all_the_same(driver: NvmlScript, source: NvmlSource) -> None:
    driver.fails("gpu0", "nvmlDeviceRegisterEvents", pynvml.NVML_ERROR_NOT_SUPPORTED)
    assert _states(source.read(NOW)) == [GpuState.OK, GpuState.OK]
    driver.raises_xid(1, 31)
    assert source.read(NOW).xids == (SeenXid(uuid_of(1), 31, NOW),)


def test_mig_instances_are_entries_of_their_own(driver: NvmlScript, source: NvmlSource) -> None:
    driver.has_mig_instance(0, 0, "1g.10gb", gpu_instance=7)
    driver.has_mig_instance(0, 3, "1g.10gb+me", gpu_instance=9)
    whole, first, second, other = source.read(NOW).gpus
    assert (whole.gpu, whole.parent, whole.profile) == (uuid_of(0), None, None)
    assert whole.metrics["power_watts"] == pytest.approx(412.345)
    assert "utilization_percent" not in whole.metrics
    assert first == GpuReading(
        mig_uuid_of(0, 0),
        0,
        PRODUCT,
        parent=uuid_of(0),
        profile="1g.10gb",
        metrics={
            "memory_total_bytes": 9_856 * MIB,
            "memory_used_bytes": MIB,
            "memory_free_bytes": 9_855 * MIB,
            "memory_reserved_bytes": 0,
        },
        instance=7,
        pci_bus_id=pci_bus_id_of(0),
    )
    assert (second.gpu, second.profile) == (mig_uuid_of(0, 3), "1g.10gb.me")
    assert (other.gpu, other.parent) == (uuid_of(1), None)


def test_mig_instances_come_and_go_between_readings(driver: NvmlScript, source: NvmlSource) -> None:
    assert source.read(NOW).gpus[0].metrics["utilization_percent"] == 97
    driver.has_mig_instance(0, 0, "1g.10gb", gpu_instance=7)
    driver.has_mig_instance(0, 1, "2g.20gb", gpu_instance=8)
    assert len(source.read(NOW).gpus) == 4
    driver.loses_mig_instance(0, 0)
    assert [gpu.profile for gpu in source.read(NOW).gpus] == [None, "2g.20gb", None]
    driver.loses_mig_instance(0, 1)
    driver.gives("gpu0", "nvmlDeviceGetMigMode", 0, 0)
    driver.gives("gpu0", "nvmlDeviceGetUtilizationRates", 50, 10)
    whole, _ = source.read(NOW).gpus
    assert whole.metrics["utilization_percent"] == 50  # supported again with the other mode


def test_mig_instances_keep_their_values_when_they_change_places(driver: NvmlScript, source: NvmlSource) -> None:
    driver.has_mig_instance(0, 0, "1g.10gb", gpu_instance=7, memory=10 * MIB)
    driver.has_mig_instance(0, 1, "2g.20gb", gpu_instance=8, memory=20 * MIB)
    before = {gpu.gpu: gpu for gpu in source.read(NOW).gpus}
    driver.has_mig_instance(0, 0, "2g.20gb", gpu_instance=8, memory=20 * MIB)
    driver.has_mig_instance(0, 1, "1g.10gb", gpu_instance=7, memory=10 * MIB)
    driver.says("gpu0.mig0", "nvmlDeviceGetUUID", mig_uuid_of(0, 1))
    driver.says("gpu0.mig1", "nvmlDeviceGetUUID", mig_uuid_of(0, 0))
    assert {gpu.gpu: gpu for gpu in source.read(NOW).gpus} == before


def test_an_xid_names_its_mig_instance_where_the_driver_does(driver: NvmlScript, source: NvmlSource) -> None:
    driver.has_mig_instance(0, 0, "1g.10gb", gpu_instance=7)
    driver.has_mig_instance(0, 1, "2g.20gb", gpu_instance=8)
    source.read(NOW)
    driver.raises_xid(0, 13, gpu_instance=8, compute_instance=0)
    driver.raises_xid(0, 31, gpu_instance=7)
    driver.raises_xid(0, 48)
    driver.raises_xid(0, 43, gpu_instance=5)
    seen = [(xid.gpu, xid.xid) for xid in source.read(NOW).xids]
    assert seen == [(mig_uuid_of(0, 1), 13), (mig_uuid_of(0, 0), 31), (uuid_of(0), 48), (uuid_of(0), 43)]


def test_mig_instances_are_lost_with_their_gpu(driver: NvmlScript, source: NvmlSource) -> None:
    driver.has_mig_instance(0, 0, "1g.10gb", gpu_instance=7)
    source.read(NOW)
    driver.fails("gpu0", "*", _LOST)
    assert [(gpu.gpu, gpu.state) for gpu in source.read(NOW).gpus] == [
        (uuid_of(0), GpuState.LOST),
        (mig_uuid_of(0, 0), GpuState.LOST),
        (uuid_of(1), GpuState.OK),
    ]


def _pci_bus(place: Path, vendor: str) -> Path:
    """A bus with one graphics device, as /sys shows it."""
    device = place / vendor / "0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text("0x030200\n")
    return device.parent


def _run(program: str, *arguments: str, **variables: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    environment = {**os.environ, **variables}
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, env=environment)
    return ended.stdout.strip()
