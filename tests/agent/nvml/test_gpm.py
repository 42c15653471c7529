"""The utilization of MIG instances, through the real pynvml, on a library that says what each test scripts."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pynvml
import pytest

from agent.loop import Sampler
from agent.nvml.source import NvmlSource
from agent.readings import GpuPart
from shared.models.telemetry import GpuState, NodeState
from tests.support.nvml.script import DRIVER, NvmlScript, mig_uuid_of, uuid_of

pytestmark = pytest.mark.xdist_group("nvml")  # the library is compiled once

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_SOON = 0.2  # seconds: the deadline for a driver that is known to hang
_FIELDS = ("utilization_percent", "memory_utilization_percent")
_GRAPHICS, _DRAM = pynvml.NVML_GPM_METRIC_GRAPHICS_UTIL, pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL


@dataclass
class Clock:
    """Seconds. Each sample is a second after the one before, unless a test says otherwise."""

    now: float = 0.0
    step: float = 1.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(driver: NvmlScript, clock: Clock) -> Iterator[NvmlSource]:
    """Of a driver with two GPUs. The first one has two MIG instances and GPM."""
    _divide(driver)
    opened = NvmlSource(5, 5, clock=clock)
    yield opened
    opened.close()


def _divide(driver: NvmlScript) -> None:
    driver.has_gpm(0)
    driver.uses(0, 7, graphics=60, memory=25)
    driver.uses(0, 8, graphics=10, memory=5)
    driver.has_mig_instance(0, 0, "1g.10gb", gpu_instance=7)
    driver.has_mig_instance(0, 1, "2g.20gb", gpu_instance=8)


def _utilization(part: GpuPart) -> Mapping[str, tuple[float | None, ...]]:
    """Of the MIG instances: that of the graphics engine, and that of the memory."""
    return {gpu.gpu: tuple(map(gpu.metrics.get, _FIELDS)) for gpu in part.gpus if gpu.parent is not None}


FIRST, SECOND = mig_uuid_of(0, 0), mig_uuid_of(0, 1)
NOTHING = (None, None)


def test_a_mig_instance_has_its_utilization_since_the_reading_before(driver: NvmlScript, source: NvmlSource) -> None:
    part = source.read(NOW)
    assert _utilization(part) == {FIRST: NOTHING, SECOND: NOTHING}
    assert part.gpus[1].metrics["memory_used_bytes"] > 0
    assert _utilization(source.read(NOW)) == {FIRST: (60, 25), SECOND: (10, 5)}
    driver.uses(0, 7, graphics=0, memory=0)
    driver.uses(0, 8, graphics=100, memory=90)
    assert _utilization(source.read(NOW)) == {FIRST: (0, 0), SECOND: (100, 90)}


def test_gpm_is_not_asked_of_whole_gpus(driver: NvmlScript, source: NvmlSource) -> None:
    driver.has_gpm(1)
    asked = ("nvmlGpmQueryDeviceSupport", "nvmlGpmSampleGet")
    before = [driver.calls(gpu, call) for gpu in ("gpu0", "gpu1") for call in asked]
    for _ in range(3):
        whole, _, _, other = source.read(NOW).gpus
        assert "utilization_percent" not in whole.metrics
        assert other.metrics["utilization_percent"] == 97
    after = [driver.calls(gpu, call) for gpu in ("gpu0", "gpu1") for call in asked]
    assert after == [before[0] + 1, *before[1:]]


def test_compute_instances_share_the_figures_of_their_gpu_instance(driver: NvmlScript, source: NvmlSource) -> None:
    driver.has_mig_instance(0, 2, "1c.2g.20gb", gpu_instance=8)
    driver.gives("gpu0.mig2", "nvmlDeviceGetComputeInstanceId", 1)
    source.read(NOW)
    calls = driver.calls("gpu0", "nvmlGpmMigSampleGet", 8)
    found = _utilization(source.read(NOW))
    assert found == {FIRST: (60, 25), SECOND: (10, 5), mig_uuid_of(0, 2): (10, 5)}
    assert driver.calls("gpu0", "nvmlGpmMigSampleGet", 8) == calls + 1


@pytest.mark.parametrize("answer", [0, pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND])
def test_a_gpu_without_gpm_is_asked_once(
    driver: NvmlScript, source: NvmlSource, answer: int, caplog: pytest.LogCaptureFixture
) -> None:
    if answer:
        driver.fails("gpu0", "nvmlGpmQueryDeviceSupport", answer)
    else:
        driver.gives("gpu0", "nvmlGpmQueryDeviceSupport", 0)
    calls = driver.calls("gpu0", "nvmlGpmQueryDeviceSupport"), driver.calls("gpu0", "nvmlGpmMigSampleGet", 7)
    with caplog.at_level(logging.INFO, "agent.nvml"):
        for _ in range(3):
            assert _utilization(source.read(NOW)) == {FIRST: NOTHING, SECOND: NOTHING}
    after = driver.calls("gpu0", "nvmlGpmQueryDeviceSupport"), driver.calls("gpu0", "nvmlGpmMigSampleGet", 7)
    assert after == (calls[0] + 1, calls[1])
    assert len([line for line in caplog.messages if "Gpm" in line or "GPM" in line]) == 1
    assert driver.samples == 0


def test_a_question_for_gpm_that_fails_once_is_asked_again(driver: NvmlScript, source: NvmlSource) -> None:
    driver.fails("gpu0", "nvmlGpmQueryDeviceSupport", pynvml.NVML_ERROR_UNKNOWN)
    source.read(NOW)
    driver.gives("gpu0", "nvmlGpmQueryDeviceSupport", 1)
    source.read(NOW)
    assert _utilization(source.read(NOW))[FIRST] == (60, 25)


def test_a_metric_that_is_not_supported_is_asked_once_and_the_other_one_stays(
    driver: NvmlScript, source: NvmlSource
) -> None:
    driver.fails("gpu0", f"gpm:{_GRAPHICS}", pynvml.NVML_ERROR_NOT_SUPPORTED)
    calls = driver.calls("gpu0", "gpm", _GRAPHICS)
    source.read(NOW)
    for _ in range(3):
        assert _utilization(source.read(NOW)) == {FIRST: (None, 25), SECOND: (None, 5)}
    assert driver.calls("gpu0", "gpm", _GRAPHICS) == calls + 2  # of each instance


def test_a_metric_that_fails_once_is_asked_again(driver: NvmlScript, source: NvmlSource) -> None:
    source.read(NOW)
    driver.fails("gpu0", f"gpm:{_DRAM}", pynvml.NVML_ERROR_UNKNOWN)
    assert _utilization(source.read(NOW))[FIRST] == (60, None)
    driver.gives("gpu0", f"gpm:{_DRAM}", 1)
    assert _utilization(source.read(NOW))[FIRST] == (60, 25)


@pytest.mark.parametrize("call", ["nvmlGpmMetricsGet", "nvmlGpmMigSampleGet:7"])
def test_a_call_that_fails_once_is_asked_again(driver: NvmlScript, source: NvmlSource, call: str) -> None:
    source.read(NOW)
    driver.fails("gpu0", call, pynvml.NVML_ERROR_UNKNOWN)
    assert _utilization(source.read(NOW))[FIRST] == NOTHING
    driver.forgets("gpu0", call)
    driver.uses(0, 7, graphics=30, memory=20)
    assert _utilization(source.read(NOW))[FIRST] == (30, 20)


def test_samples_that_cannot_be_allocated_are_missing_and_tried_again(driver: NvmlScript, source: NvmlSource) -> None:
    driver.fails("system", "nvmlGpmSampleAlloc", pynvml.NVML_ERROR_MEMORY)
    part = source.read(NOW)
    assert (part.state, _utilization(part)[FIRST]) == (NodeState.OK, NOTHING)
    driver.forgets("system", "nvmlGpmSampleAlloc")
    source.read(NOW)
    assert _utilization(source.read(NOW))[FIRST] == (60, 25)


def test_an_instance_whose_samples_are_refused_is_asked_once_and_the_others_go_on(
    driver: NvmlScript, source: NvmlSource
) -> None:
    driver.fails("gpu0", "nvmlGpmMigSampleGet:7", pynvml.NVML_ERROR_NO_PERMISSION)
    calls = driver.calls("gpu0", "nvmlGpmMigSampleGet", 7)
    source.read(NOW)
    for _ in range(3):
        assert _utilization(source.read(NOW)) == {FIRST: NOTHING, SECOND: (10, 5)}
    assert driver.calls("gpu0", "nvmlGpmMigSampleGet", 7) == calls + 1


def test_a_sample_that_comes_too_soon_says_nothing_and_the_next_one_covers_its_time(
    driver: NvmlScript, source: NvmlSource, clock: Clock
) -> None:
    clock.step = 0
    source.read(NOW)
    driver.uses(0, 7, graphics=100, memory=50)
    for seconds in (0.0, 0.09):
        clock.now += seconds
        assert _utilization(source.read(NOW))[FIRST] == NOTHING
    driver.uses(0, 7, graphics=40, memory=20)
    clock.now += 0.02
    assert _utilization(source.read(NOW))[FIRST] == (80, 40)


def test_averages_that_cannot_be_are_left_out(driver: NvmlScript, source: NvmlSource) -> None:
    sampler = Sampler("local", "gpu-0", source, _Nothing(), _Nothing())
    sampler.read(NOW)
    driver.uses(0, 7, graphics=0, memory=0, cycles=0)  # no time has passed for the driver: 0 / 0
    driver.uses(0, 8, graphics=150, memory=5)
    _, first, second, _ = sampler.read(NOW).gpus
    assert [first.metrics.get(name) for name in _FIELDS] == [None, None]
    assert [second.metrics.get(name) for name in _FIELDS] == [None, 5]


def test_a_new_gpu_instance_with_the_id_of_an_old_one_begins_anew(driver: NvmlScript, source: NvmlSource) -> None:
    source.read(NOW)
    driver.loses_mig_instance(0, 0)
    driver.has_mig_instance(0, 3, "1g.10gb", gpu_instance=7)
    new = mig_uuid_of(0, 3)
    assert _utilization(source.read(NOW)) == {SECOND: (10, 5), new: NOTHING}
    assert _utilization(source.read(NOW)) == {SECOND: (10, 5), new: (60, 25)}


def test_a_new_compute_instance_in_a_gpu_instance_has_its_figures_at_once(
    driver: NvmlScript, source: NvmlSource
) -> None:
    source.read(NOW)
    driver.has_mig_instance(0, 3, "1c.2g.20gb", gpu_instance=8)
    assert _utilization(source.read(NOW))[mig_uuid_of(0, 3)] == (10, 5)


def test_samples_are_bounded_and_freed_with_their_instances(driver: NvmlScript, source: NvmlSource) -> None:
    for _ in range(5):
        source.read(NOW)
    assert driver.samples == 3  # one for each instance, and one for the next sample
    driver.loses_mig_instance(0, 0)
    source.read(NOW)
    assert driver.samples == 2
    driver.gives("gpu0", "nvmlDeviceGetMigMode", 0, 0)
    source.read(NOW)
    assert driver.samples == 1


def test_samples_are_freed_when_the_agent_ends(driver: NvmlScript) -> None:
    _divide(driver)
    source = NvmlSource(5, 5)
    source.read(NOW)
    assert driver.samples == 2
    source.close()
    assert driver.samples == 0


def test_samples_are_freed_when_the_driver_is_upgraded(driver: NvmlScript, source: NvmlSource) -> None:
    source.read(NOW)
    source.read(NOW)
    driver.fails("system", "*", pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    assert source.read(NOW).state is NodeState.DRIVER_CHANGED
    assert driver.samples == 0
    driver.forgets("system", "*")
    assert _utilization(source.read(NOW))[FIRST] == NOTHING
    assert _utilization(source.read(NOW))[FIRST] == (60, 25)


def test_samples_are_freed_when_nvml_is_initialised_again(driver: NvmlScript, source: NvmlSource) -> None:
    source.read(NOW)
    driver.fails("gpu1", "*", pynvml.NVML_ERROR_GPU_IS_LOST)
    source.read(NOW)
    driver.forgets("gpu1", "*")
    assert _utilization(source.read(NOW + timedelta(minutes=1)))[FIRST] == NOTHING
    assert driver.samples == 2
    assert _utilization(source.read(NOW + timedelta(minutes=1)))[FIRST] == (60, 25)
    assert driver.samples == 3


@pytest.mark.parametrize("call", ["nvmlGpmQueryDeviceSupport", "nvmlGpmMigSampleGet:7", "nvmlGpmMetricsGet"])
def test_a_gpu_that_is_lost_while_gpm_is_asked_is_lost_and_comes_back(
    driver: NvmlScript, source: NvmlSource, call: str
) -> None:
    if "Query" not in call:
        source.read(NOW)
    driver.fails("gpu0", call, pynvml.NVML_ERROR_GPU_IS_LOST)
    assert {gpu.gpu: gpu.state for gpu in source.read(NOW).gpus}[uuid_of(0)] is GpuState.LOST
    driver.forgets("gpu0", call)
    driver.has_gpm(0)
    driver.uses(0, 7, graphics=60, memory=25)
    source.read(NOW)
    assert _utilization(source.read(NOW))[FIRST] == (60, 25)


@pytest.mark.parametrize("call", ["nvmlGpmQueryDeviceSupport", "nvmlGpmMigSampleGet:8", "nvmlGpmMetricsGet"])
def test_gpm_that_hangs_is_a_state_of_the_driver_and_ends_when_it_answers(driver: NvmlScript, call: str) -> None:
    impatient = NvmlSource(_SOON, 5, clock=Clock())
    impatient.read(NOW)
    _divide(driver)
    if "Query" not in call:
        impatient.read(NOW)
    driver.hangs("gpu0", call)
    part = impatient.read(NOW)
    assert (part.state, part.driver) == (NodeState.DRIVER_HUNG, DRIVER)
    driver.has_gpm(0)
    driver.uses(0, 8, graphics=10, memory=5)
    driver.answers_everything()
    limit = time.monotonic() + 10
    while _utilization(impatient.read(NOW)).get(SECOND) != (10, 5):
        assert time.monotonic() < limit
        time.sleep(0.002)
    assert driver.samples == 3
    impatient.close()
    assert driver.samples == 0


class _Nothing:
    """A node that says nothing of itself, and has no containers."""

    def read(self) -> Mapping[str, float]:
        return {}

    def containers(self, gpus: object) -> Mapping[str, tuple[()]]:
        return {}

    def close(self) -> None:
        """There is nothing to let go of."""
