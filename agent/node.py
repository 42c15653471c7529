"""The node itself, read with psutil: CPU, memory, disks, networks, load.

In a container the kernel shows what it shows to everybody: CPU, memory, disks and load are the node's. The file system
is the one that the container's root is on, which is the node's as a rule. Networks are those of the pod, unless it has
the host's (`hostNetwork`).
"""

import logging
import time
import warnings
from collections.abc import Callable, Mapping

import psutil

logger = logging.getLogger("sentinel.agent.node")


def _cpu() -> dict[str, float]:
    one, five, fifteen = psutil.getloadavg()
    return {
        "cpu_utilization_percent": psutil.cpu_percent(),  # since the call before
        "cpus": psutil.cpu_count() or 0,
        "load1": one,
        "load5": five,
        "load15": fifteen,
    }


def _memory() -> dict[str, float]:
    memory = psutil.virtual_memory()
    return {"memory_total_bytes": memory.total, "memory_available_bytes": memory.available}


def _swap() -> dict[str, float]:
    with warnings.catch_warnings(action="ignore"):  # of counters that are not used here
        return {"swap_used_bytes": psutil.swap_memory().used}


def _file_system() -> dict[str, float]:
    root = psutil.disk_usage("/")
    return {"disk_total_bytes": root.total, "disk_used_bytes": root.used}


def _disks() -> dict[str, float]:
    if (disks := psutil.disk_io_counters(nowrap=False)) is None:
        return {}
    return {"disk_read_bytes_total": disks.read_bytes, "disk_written_bytes_total": disks.write_bytes}


def _networks() -> dict[str, float]:
    if (networks := psutil.net_io_counters(nowrap=False)) is None:
        return {}
    return {"network_received_bytes_total": networks.bytes_recv, "network_transmitted_bytes_total": networks.bytes_sent}


def _uptime() -> dict[str, float]:
    if hasattr(time, "CLOCK_BOOTTIME"):  # of Linux; setting the node's clock does not change it
        return {"uptime_seconds": time.clock_gettime(time.CLOCK_BOOTTIME)}
    return {"uptime_seconds": max(time.time() - psutil.boot_time(), 0)}


GROUPS: Mapping[str, Callable[[], dict[str, float]]] = {
    "CPU": _cpu,
    "memory": _memory,
    "swap": _swap,
    "file system": _file_system,
    "disks": _disks,
    "networks": _networks,
    "uptime": _uptime,
}
"""What is read together, and is absent together where the system does not say it."""


class PsutilNode:
    """A NodeSource. The share of busy CPU is measured from one reading to the next, and from here to the first."""

    def __init__(self, groups: Mapping[str, Callable[[], dict[str, float]]] = GROUPS) -> None:
        self._groups = groups
        self._unreadable: set[str] = set()
        psutil.cpu_percent()

    def read(self) -> Mapping[str, float]:
        """What could be read. A group that could not is absent, and logged once."""
        found: dict[str, float] = {}
        for name, read in self._groups.items():
            try:
                found |= read()
            except (OSError, RuntimeError, ValueError, psutil.Error) as error:
                if name not in self._unreadable:
                    self._unreadable.add(name)
                    logger.warning("the node does not say its %s: %s", name, error)
        return found
