"""One GPU with its MIG instances and its XID errors."""

import ctypes
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pynvml

from agent.nvml.calls import call_table
from agent.nvml.codes import Meaning, meaning_of, raise_if_over
from agent.nvml.gpm import GpmSampler
from agent.nvml.measurements import Measurements
from agent.readings import GpuReading

_log = logging.getLogger(__name__)

_XIDS_AT_ONCE = 1_000  # a storm of errors must not use up the time of the reading; the rest waits for the next one
_NO_INSTANCE = 0xFFFFFFFF
_PROFILE = re.compile(r"MIG (\S+)$")  # NVML's name of an instance: "NVIDIA H100 80GB HBM3 MIG 1g.10gb+me"


class Gpu:
    """A GPU of a session. Its methods raise NVMLError whose meaning is GPU_LOST or SESSION_OVER, and no other.

    identity: a reading without metrics. clock: seconds, monotonic.
    """

    def __init__(self, handle: Any, identity: GpuReading, clock: Callable[[], float]) -> None:
        self._handle = handle
        self._identity = identity
        self._measurements = Measurements(identity.gpu, call_table())
        self._instances: dict[str, _Instance] = {}
        self._gpm = GpmSampler(handle, identity.gpu, call_table().gpm_metrics, clock)
        self._mig_mode: bool | None = False
        self._mig_modes = ctypes.c_uint(), ctypes.c_uint()
        self._events = self._register_for_xids()

    def read(self) -> tuple[GpuReading, ...]:
        """The GPU, then its MIG instances."""
        self._find_instances()
        whole = self._identity.having(self._measurements.read(self._handle))
        return (whole, *self._read_instances())

    def xids(self) -> Iterator[tuple[str, int]]:
        """The XID errors since the last time: the UUID of the GPU or the MIG instance, and the number."""
        event = pynvml.c_nvmlEventData_t()
        for _ in range(_XIDS_AT_ONCE if self._events is not None else 0):
            # pynvml's own function raises an error each time that there is no event, which is nearly always.
            code = pynvml.nvmlLib.nvmlEventSetWait_v2(self._events, ctypes.byref(event), 0)
            if code != pynvml.NVML_SUCCESS:
                if code != pynvml.NVML_ERROR_TIMEOUT:
                    raise_if_over(pynvml.NVMLError(code))
                return
            yield self._uuid_of(event), event.eventData

    def close(self) -> None:
        """Lets go of the samples and the events. Raises nothing: of a GPU that is lost, nothing can be let go."""
        self._gpm.close()
        if self._events is not None:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlEventSetFree(self._events)
            self._events = None

    def _register_for_xids(self) -> Any | None:
        """A set of events for this GPU alone: one that is lost then hides no error of another."""
        try:
            events = pynvml.nvmlEventSetCreate()
            pynvml.nvmlDeviceRegisterEvents(self._handle, pynvml.nvmlEventTypeXidCriticalError, events)
        except pynvml.NVMLError as error:
            raise_if_over(error)
            _log.warning("%s: XID errors will not be seen: %s", self._identity.gpu, error)
            return None
        return events

    def _uuid_of(self, event: Any) -> str:
        """The instance that the event names: where it names only a GPU instance, the only one in that."""
        if event.gpuInstanceId != _NO_INSTANCE:
            found = [
                instance.uuid
                for instance in self._instances.values()
                if instance.gpu_instance == event.gpuInstanceId
                and event.computeInstanceId in (_NO_INSTANCE, instance.compute_instance)
            ]
            if len(found) == 1:
                return found[0]
        return self._identity.gpu

    def _read_instances(self) -> Iterator[GpuReading]:
        """The MIG instances. GPM is asked after everything else, once for each GPU instance."""
        readings = [(instance.gpu_instance, instance.read()) for instance in self._instances.values()]
        averages = self._gpm.read(dict.fromkeys(number for number, _ in readings))
        for number, reading in readings:
            found = averages.get(number)
            yield reading._replace(metrics={**reading.metrics, **found}) if found else reading

    def _find_instances(self) -> None:
        """The instances of now. They may come and go at any time, and a handle may become that of another instance."""
        found: dict[str, _Instance] = {}
        for handle in self._instance_handles():
            try:
                uuid = pynvml.nvmlDeviceGetUUID(handle)
                found[uuid] = known = self._instances.get(uuid) or _Instance(uuid, handle, self._identity)
                known.handle = handle
            except pynvml.NVMLError as error:  # gone meanwhile
                raise_if_over(error)
        # A GPU instance all of whose compute instances are new may itself be a new one that has the id of an old one.
        self._gpm.keep({one.gpu_instance for uuid, one in found.items() if uuid in self._instances})
        self._instances = found

    def _instance_handles(self) -> Iterator[Any]:
        if not self._mig_is_enabled():
            return
        try:
            places = pynvml.nvmlDeviceGetMaxMigDeviceCount(self._handle)
        except pynvml.NVMLError as error:
            raise_if_over(error)
            return
        for index in range(places):
            try:
                yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(self._handle, index)
            except pynvml.NVMLError as error:  # there is none at this place
                raise_if_over(error)

    def _mig_is_enabled(self) -> bool:
        if self._mig_mode is None:
            return False
        # pynvml's own function makes the places for both modes each time: more work than the call.
        current, pending = self._mig_modes
        if code := pynvml.nvmlLib.nvmlDeviceGetMigMode(self._handle, ctypes.byref(current), ctypes.byref(pending)):
            raise_if_over(pynvml.NVMLError(code))
            if meaning_of(code) is Meaning.UNSUPPORTED:
                self._mig_mode = None
            return bool(self._mig_mode)
        enabled: bool = current.value == pynvml.NVML_DEVICE_MIG_ENABLE
        if enabled != self._mig_mode:  # another mode supports other calls
            self._measurements = Measurements(self._identity.gpu, call_table())
            self._mig_mode = enabled
        return enabled


class _Instance:
    """One MIG instance."""

    def __init__(self, uuid: str, handle: Any, parent: GpuReading) -> None:
        self.uuid = uuid
        self.handle = handle
        self.gpu_instance: int = pynvml.nvmlDeviceGetGpuInstanceId(handle)
        self.compute_instance: int = pynvml.nvmlDeviceGetComputeInstanceId(handle)
        name: str = pynvml.nvmlDeviceGetName(handle)
        found = _PROFILE.search(name)
        # Kubernetes allows no plus in the name of a resource: nvidia.com/mig-1g.10gb.me
        profile = found[1].replace("+", ".") if found else None
        self._identity = parent._replace(gpu=uuid, parent=parent.gpu, profile=profile, instance=self.gpu_instance)
        self._measurements = Measurements(uuid, call_table().of_mig_instance())

    def read(self) -> GpuReading:
        return self._identity.having(self._measurements.read(self.handle))
