"""The readings of a node's GPUs, whatever the driver does.

What each state means, and how it ends:

    driver_missing   The library or the kernel module is not there, or cannot be used. The next reading tries again.
    no_gpu           The driver has no GPU, or there is no driver and no GPU of NVIDIA on the PCI bus.
    driver_changed   The library and the kernel module are of different versions: the driver was upgraded on the node.
                     The next reading initialises NVML again. A process keeps the library that it has loaded, and a
                     container the one that it was given at its start: where the state stays, the agent must start anew
                     (agent/exporter.py asks the kubelet for it).
    driver_hung      NVML has not answered within the deadline, and the thread that asked is stuck (see watchdog). Until
                     it is back, a reading says so at once. GPUs that answered before keep their values in that
                     reading; the others are `hung`.

A GPU that is lost stays in the readings as `lost`, with its MIG instances. NVML sees it again only after a new
initialisation, which is tried once a minute. One that was lost before the agent started is known by what the kernel
module says in /proc.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pynvml

from agent.nvml import pci, procfs
from agent.nvml.session import Round, Session
from agent.nvml.watchdog import Overdue, Watchdog
from agent.readings import GpuPart, GpuReading, SeenXid
from shared.models.telemetry import GpuState, NodeState

_log = logging.getLogger(__name__)

_REOPEN_EVERY = timedelta(minutes=1)


class NvmlSource:
    """A GpuSource. It is used from one thread.

    deadline, opening_deadline: seconds for a reading, and for one that initialises NVML: without persistence mode the
    driver then starts every GPU, which takes some seconds each. pci_devices, proc_gpus: where the kernel shows the PCI
    bus, and where the driver's module shows its GPUs. clock: seconds, monotonic.
    """

    def __init__(
        self,
        deadline: float = 5,
        opening_deadline: float = 30,
        *,
        pci_devices: Path = pci.DEVICES,
        proc_gpus: Path = procfs.GPUS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pci_devices = pci_devices
        self._proc_gpus = proc_gpus
        self._clock = clock
        self._deadline = deadline
        self._opening_deadline = opening_deadline
        self._watchdog = Watchdog("nvml")
        self._session: Session | None = None
        self._indexes: dict[str, int] = {}
        self._seen_xids: deque[SeenXid] = deque()
        self._last_xids: dict[str, int] = {}
        self._known: dict[str, tuple[GpuReading, ...]] = {}
        self._driver: str | None = None
        self._opened_at: datetime | None = None
        self._state = NodeState.OK

    def read(self, now: datetime) -> GpuPart:
        """The state of the driver, and what the GPUs say. Waits for the deadline at most."""
        reading = Round(now, self._seen_xids.append)
        opens = self._session is None or self._is_to_reopen(now)
        try:
            self._watchdog.run(lambda: self._read(reading, opens), self._opening_deadline if opens else self._deadline)
            error, state = None, NodeState.OK
        except Overdue:
            reading.abandoned = True
            error, state = "it does not answer", NodeState.DRIVER_HUNG
        except pynvml.NVMLError as failure:
            error, state = str(failure), self._state_after(failure)
        xids = tuple(self._seen_xids.popleft() for _ in range(len(self._seen_xids)))
        self._last_xids.update((seen.gpu, seen.xid) for seen in xids if seen.gpu)
        gpus = self._readings(dict(reading.answered), state)
        if state is NodeState.OK and not gpus and self._session is not None and self._session.complete:
            state = NodeState.NO_GPU
        self._say(state, error)
        driver = self._driver if state in (NodeState.OK, NodeState.NO_GPU, NodeState.DRIVER_HUNG) else None
        return GpuPart(state, driver, gpus, xids)

    def close(self) -> None:
        """Shuts NVML down, unless it hangs."""
        try:
            self._watchdog.run(self._close_session, self._deadline)
        except Overdue:
            _log.warning("the driver hangs; NVML is not shut down")
        self._watchdog.stop()

    def _is_to_reopen(self, now: datetime) -> bool:
        """Whether NVML is to look for GPUs again: one that is missing may be back."""
        session, answered = self._session, self._known.values()
        complete = session is not None and answered and session.complete
        missing = not complete or any(gpu.state is GpuState.LOST for gpus in answered for gpu in gpus)
        return missing and self._opened_at is not None and now - self._opened_at >= _REOPEN_EVERY

    def _read(self, reading: Round, opens: bool) -> None:
        """On the watchdog's thread."""
        try:
            if opens:
                if self._session is not None:
                    self._session.take_xids(reading)
                self._close_session()
                self._opened_at = reading.now
                self._session = session = Session(self._indexes, self._proc_gpus, self._clock)
                if session.driver != self._driver:
                    _log.info("the driver is %s", session.driver)
                self._driver = session.driver
            if self._session is not None:
                self._session.read(reading)
        except pynvml.NVMLError:
            self._close_session()
            raise

    def _close_session(self) -> None:
        """On the watchdog's thread."""
        session, self._session = self._session, None
        if session is not None:
            try:
                session.close()
            except pynvml.NVMLError as error:
                _log.info("NVML is not shut down in order: %s", error)

    def _readings(self, answered: dict[str, tuple[GpuReading, ...]], state: NodeState) -> tuple[GpuReading, ...]:
        """All GPUs that were ever seen, by index, each with its instances. None while the driver is not there."""
        self._known |= {uuid: gpus for uuid, gpus in answered.items() if gpus}
        if (session := self._session) is not None:
            for uuid, gpu in session.identities.items():
                self._known.setdefault(uuid, (gpu,))
        if state not in (NodeState.OK, NodeState.DRIVER_HUNG):
            return ()
        found: list[GpuReading] = []
        for uuid, known in sorted(self._known.items(), key=lambda entry: entry[1][0].index):
            if gpus := answered.get(uuid):
                found += map(self._with_last_xid, gpus) if self._last_xids else gpus
            else:
                was_lost = uuid in answered or known[0].state is GpuState.LOST
                silence = GpuState.HUNG if state is NodeState.DRIVER_HUNG and not was_lost else GpuState.LOST
                self._known[uuid] = tuple(gpu._replace(state=silence, metrics={}) for gpu in known)
                found += self._known[uuid]
        return tuple(found)

    def _with_last_xid(self, gpu: GpuReading) -> GpuReading:
        if (xid := self._last_xids.get(gpu.gpu)) is None:
            return gpu
        return gpu._replace(metrics={**gpu.metrics, "last_xid": float(xid)})

    def _say(self, state: NodeState, error: str | None) -> None:
        if state is not self._state:
            _log.log(
                logging.WARNING if error else logging.INFO, "the driver is %s%s", state, f": {error}" if error else ""
            )
            self._state = state

    def _state_after(self, error: pynvml.NVMLError) -> NodeState:
        match error.value:
            case pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
                return NodeState.DRIVER_CHANGED
            case pynvml.NVML_ERROR_LIBRARY_NOT_FOUND | pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
                return NodeState.DRIVER_MISSING if pci.has_nvidia_gpu(self._pci_devices) else NodeState.NO_GPU
            case _:
                return NodeState.DRIVER_MISSING
