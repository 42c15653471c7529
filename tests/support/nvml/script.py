"""What the NVML library of tests says: GPUs with the values of an idle H100, changed line by line.

The library reads the file again at each call, so a test changes the driver under a source that runs. See library.c for
the lines.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

import pynvml

DRIVER = "580.65.06"
PRODUCT = "NVIDIA H100 80GB HBM3"
LINKS = 4
MIB = 1 << 20
NO_INSTANCE = 0xFFFFFFFF

_GPU: Mapping[str, str] = {
    "nvmlDeviceGetUtilizationRates": "97 40",
    "nvmlDeviceGetEncoderUtilization": "3 1000",
    "nvmlDeviceGetDecoderUtilization": "7 1000",
    "nvmlDeviceGetMemoryInfo_v2": f"{81_559 * MIB} {537 * MIB} {41_022 * MIB} {40_000 * MIB}",
    "nvmlDeviceGetTemperatureV:0": "54",
    "nvmlDeviceGetTemperatureThreshold:1": "87",
    "nvmlDeviceGetPowerUsage": "412345",
    "nvmlDeviceGetEnforcedPowerLimit": "700000",
    "nvmlDeviceGetTotalEnergyConsumption": "123456789",
    "nvmlDeviceGetClockInfo:0": "1980",
    "nvmlDeviceGetClockInfo:1": "1965",
    "nvmlDeviceGetClockInfo:2": "2619",
    "nvmlDeviceGetClockInfo:3": "1545",
    "nvmlDeviceGetMaxClockInfo:1": "1980",
    "nvmlDeviceGetCurrentClocksEventReasons": "4",
    "nvmlDeviceGetPerformanceState": "0",
    "nvmlDeviceGetCurrPcieLinkGeneration": "5",
    "nvmlDeviceGetCurrPcieLinkWidth": "16",
    "nvmlDeviceGetMaxPcieLinkGeneration": "5",
    "nvmlDeviceGetMaxPcieLinkWidth": "16",
    "nvmlDeviceGetPcieReplayCounter": "2",
    "nvmlDeviceGetPcieThroughput:0": "1500",
    "nvmlDeviceGetPcieThroughput:1": "2500",
    "nvmlDeviceGetMigMode": "0 0",
    "nvmlDeviceGetMaxMigDeviceCount": "7",
}
_FIELDS: Mapping[int, int] = {
    pynvml.NVML_FI_DEV_MEMORY_TEMP: 61,
    pynvml.NVML_FI_DEV_ECC_SBE_VOL_TOTAL: 5,
    pynvml.NVML_FI_DEV_ECC_DBE_VOL_TOTAL: 0,
    pynvml.NVML_FI_DEV_ECC_SBE_AGG_TOTAL: 12,
    pynvml.NVML_FI_DEV_ECC_DBE_AGG_TOTAL: 1,
    pynvml.NVML_FI_DEV_REMAPPED_COR: 3,
    pynvml.NVML_FI_DEV_REMAPPED_UNC: 1,
    pynvml.NVML_FI_DEV_REMAPPED_PENDING: 0,
    pynvml.NVML_FI_DEV_REMAPPED_FAILURE: 0,
    pynvml.NVML_FI_DEV_RETIRED_SBE: 0,
    pynvml.NVML_FI_DEV_RETIRED_DBE: 0,
    pynvml.NVML_FI_DEV_RETIRED_PENDING: 0,
    pynvml.NVML_FI_DEV_NVLINK_LINK_COUNT: LINKS,
    pynvml.NVML_FI_DEV_NVLINK_GET_STATE: 1,
    pynvml.NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL: 4,
    pynvml.NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL: 6,
    pynvml.NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL: 8,
    pynvml.NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL: 9,
}


def uuid_of(gpu: int) -> str:
    return f"GPU-00000000-0000-0000-0000-{gpu:012d}"


def pci_bus_id_of(gpu: int) -> str:
    return f"00000000:{gpu + 1:02X}:00.0"


def mig_uuid_of(gpu: int, mig: int) -> str:
    return f"MIG-00000000-0000-0000-{gpu:04d}-{mig:012d}"


class NvmlScript:
    """The script in a file. Each change is written at once, as a whole new file."""

    def __init__(self, path: Path, library: ctypes.CDLL, gpus: int = 2) -> None:
        self._path = path
        self._library = library
        self._events: list[str] = []
        self._lines: dict[tuple[str, str], str] = {("system", "nvmlSystemGetDriverVersion"): f"text {DRIVER}"}
        for gpu in range(gpus):
            self._lines |= {(f"gpu{gpu}", function): answer for function, answer in _GPU.items()}
            self._lines |= {(f"gpu{gpu}", f"field:{field}"): str(value) for field, value in _FIELDS.items()}
            self._lines[f"gpu{gpu}", "nvmlDeviceGetUUID"] = f"text {uuid_of(gpu)}"
            self._lines[f"gpu{gpu}", "nvmlDeviceGetName"] = f"text {PRODUCT}"
            self._lines[f"gpu{gpu}", "nvmlDeviceGetPciInfo"] = f"text {pci_bus_id_of(gpu)}"
        self.gives("system", "nvmlDeviceGetCount", gpus)

    def gives(self, entity: str, function: str, *numbers: int) -> None:
        """What a function gives; `field:ID` or `field:ID/LINK` is a value of nvmlDeviceGetFieldValues."""
        self._set(entity, function, " ".join(map(str, numbers)))

    def says(self, entity: str, function: str, text: str) -> None:
        self._set(entity, function, f"text {text}")

    def fails(self, entity: str, function: str, code: int) -> None:
        self._set(entity, function, f"error {code}")

    def hangs(self, entity: str, function: str) -> None:
        """The function does not return until another line takes the place of this one."""
        self._set(entity, function, "hang")

    def forgets(self, entity: str, function: str) -> None:
        """Back to "not supported", or, for the function `*`, to what the other lines say."""
        del self._lines[entity, function]
        self._write()

    def answers_everything(self) -> None:
        """Lets go of every call that hangs."""
        self._lines = {key: answer for key, answer in self._lines.items() if answer != "hang"}
        self._write()

    def has_mig_instance(self, gpu: int, mig: int, profile: str, gpu_instance: int, memory: int = 9_856 * MIB) -> None:
        """An instance that gives its memory and nothing else, as the real driver does."""
        entity = f"gpu{gpu}.mig{mig}"
        self._lines |= {
            (f"gpu{gpu}", "nvmlDeviceGetMigMode"): "1 1",
            (f"gpu{gpu}", "nvmlDeviceGetUtilizationRates"): f"error {pynvml.NVML_ERROR_NOT_SUPPORTED}",
            (entity, "nvmlDeviceGetUUID"): f"text {mig_uuid_of(gpu, mig)}",
            (entity, "nvmlDeviceGetName"): f"text {PRODUCT} MIG {profile}",
            (entity, "nvmlDeviceGetGpuInstanceId"): str(gpu_instance),
            (entity, "nvmlDeviceGetComputeInstanceId"): "0",
            (entity, "nvmlDeviceGetMemoryInfo_v2"): f"{memory} 0 {memory - MIB} {MIB}",
        }
        self._write()

    def loses_mig_instance(self, gpu: int, mig: int) -> None:
        entity = f"gpu{gpu}.mig{mig}"
        self._lines = {key: answer for key, answer in self._lines.items() if key[0] != entity}
        self._write()

    def has_gpm(self, gpu: int) -> None:
        """A GPU as of Hopper: it gives the utilization of its MIG instances."""
        metrics = (pynvml.NVML_GPM_METRIC_GRAPHICS_UTIL, pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL)
        self._lines |= {(f"gpu{gpu}", f"gpm:{metric}"): "1" for metric in metrics}
        self.gives(f"gpu{gpu}", "nvmlGpmQueryDeviceSupport", 1)

    def uses(self, gpu: int, gpu_instance: int, graphics: int, memory: int, cycles: int = 1_000) -> None:
        """How a GPU instance is used in the time before each sample from now on: percent of the cycles."""
        active = (graphics * cycles // 100, memory * cycles // 100)
        self.gives(f"gpu{gpu}", f"nvmlGpmMigSampleGet:{gpu_instance}", cycles, *active)

    def raises_xid(
        self, gpu: int, xid: int, gpu_instance: int = NO_INSTANCE, compute_instance: int = NO_INSTANCE
    ) -> None:
        number = len(self._events) + 1
        self._events.append(f"event {number} gpu{gpu} {xid} {gpu_instance} {compute_instance}")
        self._write()

    def calls(self, entity: str, function: str, argument: int = -1) -> int:
        """How often a function was called in this process."""
        calls: int = self._library.scriptedCalls(entity.encode(), function.encode(), ctypes.c_long(argument))
        return calls

    @property
    def samples(self) -> int:
        """How many samples of GPM are allocated and not freed in this process."""
        samples: int = self._library.scriptedSamples()
        return samples

    def _set(self, entity: str, function: str, answer: str) -> None:
        self._lines[entity, function] = answer
        self._write()

    def _write(self) -> None:
        lines = [f"{entity} {function} {answer}" for (entity, function), answer in self._lines.items()]
        written = self._path.with_suffix(".new")
        written.write_text("\n".join([*lines, *self._events, ""]))
        written.replace(self._path)
