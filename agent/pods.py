"""Which container has which GPU, as the kubelet says.

A node without a kubelet, a kubelet that is starting and one that answers nonsense are all the same to the agent: no
containers are known. The failure is counted each time, and logged when it begins and when it is over.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from agent import counters
from agent.counters import CounterSpec
from agent.readings import Container

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.podresources.client import DeviceHolder

DEFAULT_TIMEOUT = 2.0
MAX_CONTAINERS = 64
"""Of one device: an event takes no more. A GPU that is shared by time slices has a few."""
FAILURES = CounterSpec("sentinel_agent_pod_resources_failures", "Calls to the kubelet that failed.", ("reason",))

_RESOURCES = "nvidia.com/"
_REPLICA = "::"  # NVIDIA's device plugin gives a shared GPU the ids GPU-<uuid>::0, GPU-<uuid>::1 and so on
_LONGEST_NAME = 253

logger = logging.getLogger("sentinel.agent.pods")


class KubeletPods:
    """A ContainerSource that asks the kubelet on its socket each time. timeout: seconds for a call.

    gRPC takes 15 MiB of memory, so it is imported once there is a socket.
    """

    def __init__(self, socket: Path, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._socket = socket
        self._timeout = timeout
        self._failing = False

    def containers(self) -> Mapping[str, tuple[Container, ...]]:
        """By the UUID of the GPU or the MIG instance. Never raises: what is not known is absent."""
        if not _is_socket(self._socket):
            self._failed("no_socket", f"there is no socket at {self._socket}")
            return {}
        from agent.podresources.client import PodResourcesFailed, device_holders

        try:
            found = by_device(device_holders(self._socket, timeout=self._timeout))
        except PodResourcesFailed as error:
            self._failed(error.reason, str(error))
            return {}
        if self._failing:
            logger.info("the kubelet says again which containers have GPUs")
            self._failing = False
        return found

    def _failed(self, reason: str, message: str) -> None:
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
