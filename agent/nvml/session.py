"""NVML from its initialisation to its shutdown. Everything here may hang, and runs on the watchdog's thread."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pynvml

from agent.nvml.codes import Meaning, meaning_of, raise_if_over
from agent.nvml.gpu import Gpu
from agent.nvml.procfs import gpus
from agent.readings import GpuReading, SeenXid

_log = logging.getLogger(__name__)


@dataclass
class Round:
    """One reading of all GPUs, filled while it goes on, so that a driver that hangs midway hides nothing before it.

    answered: the readings of a GPU and its instances, by the UUID of the GPU; none where it is lost. abandoned: nobody
    waits for the rest any more.
    """

    now: datetime
    on_xid: Callable[[SeenXid], None]
    answered: dict[str, tuple[GpuReading, ...]] = field(default_factory=dict)
    abandoned: bool = False

    def take_xids(self, gpu: Gpu) -> None:
        """Raises NVMLError as Gpu does; what it told of before is taken."""
        for uuid, xid in gpu.xids():
            self.on_xid(SeenXid(uuid, xid, self.now))


class Session:
    """The driver, initialised, and the GPUs that it had at that moment.

    indexes: NVML's number of each GPU when it was first seen, kept from session to session. NVML numbers anew when a
    GPU is gone, and two GPUs of one sample must not have the same number.

    proc_gpus: where the driver's module shows its GPUs. clock: seconds, monotonic.

    Raises NVMLError when the driver cannot be used, as `read` does.
    """

    def __init__(self, indexes: dict[str, int], proc_gpus: Path, clock: Callable[[], float]) -> None:
        pynvml.nvmlInit()
        self._clock = clock
        self._gpus: dict[str, Gpu] = {}
        self.complete = True
        """Whether every GPU that NVML counts could be opened; one that this process may not open counts as none."""
        self.identities: dict[str, GpuReading] = {}
        """The GPUs by UUID, without metrics: also one that could not be opened, where the kernel module knows it."""
        try:
            self.driver: str = pynvml.nvmlSystemGetDriverVersion()
            for number in range(pynvml.nvmlDeviceGetCount()):
                self._open(number, indexes)
            if not self.complete:
                for gpu in gpus(proc_gpus):
                    self.identities.setdefault(gpu.gpu, gpu._replace(index=_index(indexes, gpu.gpu, gpu.index)))
        except pynvml.NVMLError:
            with suppress(pynvml.NVMLError):
                self.close()
            raise

    def read(self, reading: Round) -> None:
        for uuid, gpu in self._gpus.items():
            if reading.abandoned:
                return
            try:
                reading.take_xids(gpu)
                reading.answered[uuid] = gpu.read()
            except pynvml.NVMLError as error:
                if meaning_of(error.value) is Meaning.SESSION_OVER:
                    raise
                reading.answered[uuid] = ()

    def take_xids(self, reading: Round) -> None:
        """Before the end of the session: it takes with it what was not asked for."""
        for gpu in self._gpus.values():
            with suppress(pynvml.NVMLError):
                reading.take_xids(gpu)

    def close(self) -> None:
        for gpu in self._gpus.values():
            gpu.close()
        pynvml.nvmlShutdown()

    def _open(self, number: int, indexes: dict[str, int]) -> None:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(number)
            uuid: str = pynvml.nvmlDeviceGetUUID(handle)
            product: str = pynvml.nvmlDeviceGetName(handle)
            index = _index(indexes, uuid, number)
            self.identities[uuid] = GpuReading(uuid, index, product, pci_bus_id=_pci_bus_id(handle))
            self._gpus[uuid] = Gpu(handle, self.identities[uuid], self._clock)
        except pynvml.NVMLError as error:
            meaning = meaning_of(error.value)
            if meaning is Meaning.SESSION_OVER:
                raise
            self.complete &= meaning is Meaning.UNSUPPORTED
            _log.warning("GPU %d cannot be opened: %s", number, error)


def _index(indexes: dict[str, int], uuid: str, number: int) -> int:
    """The index that the GPU has had; for a new one NVML's number, or the first one that is free."""
    if uuid not in indexes:
        taken = set(indexes.values())
        indexes[uuid] = next(index for index in (number, *range(len(taken) + 1)) if index not in taken)
    return indexes[uuid]


def _pci_bus_id(handle: Any) -> str:
    try:
        found: str = pynvml.nvmlDeviceGetPciInfo_v3(handle).busId
    except pynvml.NVMLError as error:
        raise_if_over(error)
        return ""
    return found
