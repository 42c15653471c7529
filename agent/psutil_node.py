"""The node as psutil shows it, where the system is not Linux: an agent on a laptop."""

import time
import warnings
from collections.abc import Callable, Mapping

import psutil


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
    with warnings.catch_warnings(action="ignore"):  # of counters that are not used here
        swap = psutil.swap_memory()
    return {
        "memory_total_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "swap_used_bytes": swap.used,
    }


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
    return {"uptime_seconds": max(time.time() - psutil.boot_time(), 0)}


def groups() -> Mapping[str, Callable[[], dict[str, float]]]:
    """As agent.linux_node has them."""
    psutil.cpu_percent()
    return {
        "CPU": _cpu,
        "memory": _memory,
        "file system": _file_system,
        "disks": _disks,
        "networks": _networks,
        "uptime": _uptime,
    }
