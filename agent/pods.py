"""Which container has which GPU, as the kubelet says.

A node without a kubelet, a kubelet that is starting and one that answers nonsense are all the same to the agent: no
containers are known. The failure is counted each time, and logged when it begins and when it is over.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from agent import counters
from agent.counters import CounterSpec
from shared.models.telemetry import Container

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from agent.podresources.client import DeviceHolder, PodResourcesClient
    from agent.readings import GpuReading

DEFAULT_TIMEOUT = 2.0
DEFAULT_INTERVAL = timedelta(minutes=5)
SETTLING = timedelta(minutes=1)
"""How long a pod may be on its way: the kubelet names it until all of it is gone."""
PROCESS_BYTES = 64 * 1024 * 1024
"""A process that uses a GPU has a context there, which takes some hundred MiB of its memory."""
MAX_CONTAINERS = 64
"""Of one device: an event takes no more. A GPU that is shared by time slices has a few."""
FAILURES = CounterSpec("sentinel_agent_pod_resources_failures", "Calls to the kubelet that failed.", ("reason",))

_RESOURCES = "nvidia.com/"
_REPLICA = "::"  # NVIDIA's device plugin gives a shared GPU the ids GPU-<uuid>::0, GPU-<uuid>::1 and so on
_LONGEST_NAME = 253

logger = logging.getLogger("sentinel.agent.pods")


class KubeletPods:
    """A ContainerSource that asks the kubelet on its socket.

    Who has a GPU changes rarely, so it asks again when a process may have come or gone: the memory that is used on a
    GPU has moved by PROCESS_BYTES, or there are other GPUs. From then on it asks at each reading for SETTLING (for an
    interval where that is shorter). Else it asks once an interval, for pods that have a GPU and no process on it.

    timeout: seconds for a call. clock: seconds, monotonic. HTTP/2 is imported once there is a socket.
    """

    def __init__(
        self,
        socket: Path,
        *,
        interval: timedelta = DEFAULT_INTERVAL,
        timeout: float = DEFAULT_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._socket = socket
        self._interval = interval.total_seconds()
        self._settling = min(interval, SETTLING).total_seconds()
        self._timeout = timeout
        self._clock = clock
        self._client: PodResourcesClient | None = None
        self._failing = False
        self._answer: bytes | None = None
        self._containers: Mapping[str, tuple[Container, ...]] = {}
        self._used: dict[str, float] = {}
        self._settled_at = 0.0
        self._asked_at: float | None = None
        """When the last answer came; None while the kubelet does not answer."""

    def containers(self, gpus: Sequence[GpuReading]) -> Mapping[str, tuple[Container, ...]]:
        """By the UUID of the GPU or the MIG instance. Never raises: what is not known is absent."""
        now = self._clock()
        used = {gpu.gpu: gpu.metrics.get("memory_used_bytes", 0.0) for gpu in gpus}
        if self._has_moved(used):
            self._used = used
            self._settled_at = now + self._settling
        elif self._asked_at is not None and self._settled_at <= now < self._asked_at + self._interval:
            return self._containers
        self._containers = self._asked(now)
        return self._containers

    def close(self) -> None:
        """Ends the connection to the kubelet."""
        if self._client is not None:
            self._client.close()

    def _has_moved(self, used: Mapping[str, float]) -> bool:
        before = self._used
        return used.keys() != before.keys() or any(abs(used[gpu] - before[gpu]) >= PROCESS_BYTES for gpu in used)

    def _asked(self, now: float) -> Mapping[str, tuple[Container, ...]]:
        self._asked_at = None
        if not _is_socket(self._socket):
            self._failed("no_socket", f"there is no socket at {self._socket}")
            return {}
        from agent.podresources.client import PodResourcesClient, PodResourcesFailed, device_holders

        if self._client is None:
            self._client = PodResourcesClient(self._socket, timeout=self._timeout)
        try:
            answer = self._client.list()
            found = self._containers if answer == self._answer else by_device(device_holders(answer))
        except PodResourcesFailed as error:
            self._failed(error.reason, str(error))
            return {}
        self._answer, self._asked_at = answer, now
        if self._failing:
            logger.info("the kubelet says again which containers have GPUs")
            self._failing = False
        return found

    def _failed(self, reason: str, message: str) -> None:
        self._answer = None
        counters.count(FAILURES, reason=reason)
        if not self._failing:
            logger.warning("the kubelet does not say which containers have GPUs: %s", message)
        self._failing = True


def by_device(holders: Iterable[DeviceHolder]) -> Mapping[str, tuple[Container, ...]]:
    """The containers of each NVIDIA device. Names that no Kubernetes object can have are left out."""
    found: dict[str, dict[Container, None]] = {}
    for one in holders:
        names = (one.namespace, one.pod, one.container)
        if one.resource.startswith(_RESOURCES) and all(map(_is_name, names)):
            containers = found.setdefault(one.device.partition(_REPLICA)[0], {})
            if len(containers) < MAX_CONTAINERS:
                containers[Container(*names)] = None
    return {device: tuple(containers) for device, containers in found.items()}


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except OSError:  # a directory that may not be read
        return False


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and text.isascii() and text.isprintable()
