"""`python -m agent --once` on a driver, as a process: it takes a second, half of it to measure the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest

from tests.support.nvml.script import DRIVER, NvmlScript, mig_uuid_of, uuid_of

pytestmark = pytest.mark.xdist_group("nvml")


def test_it_prints_what_the_driver_says_and_its_exit_code_tells_that_a_gpu_is_lost(
    driver: NvmlScript, compiled_nvml: Path, tmp_path: Path
) -> None:
    driver.has_mig_instance(0, 0, "1g.10gb", gpu_instance=7)
    driver.has_gpm(0)
    driver.uses(0, 7, graphics=60, memory=25)
    driver.fails("gpu1", "nvmlDeviceGetPowerUsage", pynvml.NVML_ERROR_GPU_IS_LOST)
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(compiled_nvml.parent),
        "NODE_NAME": "gpu-0",
        "POD_RESOURCES_SOCKET": str(tmp_path / "none.sock"),
        "LOG_LEVEL": "error",
    }
    command = [sys.executable, "-m", "agent", "--once", "-o", "json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert (ended.returncode, ended.stderr) == (4, "")
    printed = json.loads(ended.stdout)
    assert (printed["node"], printed.get("state", "ok"), printed["driver"]) == ("gpu-0", "ok", DRIVER)
    assert [(gpu["gpu"], gpu.get("parent"), gpu.get("state", "ok")) for gpu in printed["gpus"]] == [
        (uuid_of(0), None, "ok"),
        (mig_uuid_of(0, 0), uuid_of(0), "ok"),
        (uuid_of(1), None, "lost"),
    ]
    assert printed["gpus"][0]["metrics"]["power_limit_watts"] == 700
    assert printed["gpus"][1]["metrics"]["utilization_percent"] == 60
