"""The readings of real GPUs, beside what nvidia-smi says of them."""

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from agent.nvml.source import NvmlSource
from shared.models.telemetry import GpuState, NodeState
from shared.telemetry.fields import GPU_FIELDS

pytestmark = pytest.mark.gpu

MIB = 1 << 20
# What every GPU of a data centre has had for ten years.
_EVERYWHERE = {
    "memory_total_bytes",
    "memory_used_bytes",
    "temperature_celsius",
    "power_watts",
    "power_limit_watts",
    "sm_clock_hertz",
    "memory_clock_hertz",
    "throttle_reasons",
    "pcie_link_width",
    "pcie_replays_total",
}


@pytest.fixture
def source() -> Iterator[NvmlSource]:
    opened = NvmlSource()
    yield opened
    opened.close()


def test_real_gpus_give_measurements_within_bounds(source: NvmlSource) -> None:
    part = source.read(datetime.now(UTC))
    if part.state in (NodeState.DRIVER_MISSING, NodeState.NO_GPU):
        pytest.skip(f"this machine has no GPU of NVIDIA that can be used: {part.state}")
    again = source.read(datetime.now(UTC))  # asks for most numbers through the C functions themselves
    assert part.state is again.state is NodeState.OK
    assert part.driver
    assert part.gpus
    assert [gpu.gpu for gpu in again.gpus] == [gpu.gpu for gpu in part.gpus]
    for gpu in (*part.gpus, *again.gpus):
        assert gpu.state is GpuState.OK
        for name, value in gpu.metrics.items():
            GPU_FIELDS[name].check(value)
        if gpu.parent is None:
            assert set(gpu.metrics) >= _EVERYWHERE
        else:
            assert gpu.profile
            assert gpu.metrics["memory_total_bytes"] > 0


def test_real_gpus_are_those_of_nvidia_smi(source: NvmlSource) -> None:
    if (program := shutil.which("nvidia-smi")) is None:
        pytest.skip("needs nvidia-smi")
    query = "--query-gpu=uuid,index,name,driver_version,memory.total"
    ended = subprocess.run(
        [program, query, "--format=csv,noheader,nounits"], capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        pytest.skip(f"nvidia-smi cannot be used: {ended.stdout.strip()[:200]}")
    part = source.read(datetime.now(UTC))
    whole = [gpu for gpu in part.gpus if gpu.parent is None]
    mine = [
        [gpu.gpu, str(gpu.index), gpu.product, part.driver, f"{gpu.metrics['memory_total_bytes'] / MIB:.0f}"]
        for gpu in whole
    ]
    assert mine == [line.split(", ") for line in ended.stdout.splitlines()]
