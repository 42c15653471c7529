"""The node as Linux shows it in /proc: what psutil reads, at a quarter of its CPU time and from fewer files.

The files stay open, because to open one costs more than to read it: the kernel writes each anew when it is read from
its beginning. The formats are those of proc(5). Values are psutil's: a test holds the two against each other.
"""

import os
import time
from collections.abc import Callable, Mapping
from functools import cache

_PIECE = 16 * 1024
_PAGE = 4096
_LONGEST_LINE = 1024
"""Linux fills a page with lines before it gives them out: a piece that leaves room for one more line is the last."""
_SECTOR = 512
"""The unit of /proc/diskstats, whatever the disk has."""
_IDLE, _IO_WAIT, _LAST_CPU_TIME = 3, 4, 8
"""In the line of all CPUs: user nice system idle iowait irq softirq steal. What follows is in user and nice already."""


class ProcFile:
    """A file of /proc that is read again and again. It is opened with the first reading."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def read(self) -> bytes:
        """What the file holds now. Raises OSError."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        pieces: list[bytes] = []
        offset = 0
        while piece := os.pread(self._descriptor, _PIECE, offset):  # Linux gives out a long file page by page
            pieces.append(piece)
            offset += len(piece)
            if len(piece) <= _PAGE - _LONGEST_LINE:
                break
        return b"".join(pieces)


_STAT, _MEMINFO = ProcFile("/proc/stat"), ProcFile("/proc/meminfo")
_LOADAVG = ProcFile("/proc/loadavg")
_DISKSTATS, _NET = ProcFile("/proc/diskstats"), ProcFile("/proc/net/dev")


class _Cpu:
    """The share of busy time is that since the reading before."""

    def __init__(self) -> None:
        self._before = _cpu_times(_STAT.read())

    def read(self) -> dict[str, float]:
        text = _STAT.read()
        now, before = _cpu_times(text), self._before
        self._before = now
        passed = [max(later - earlier, 0) for later, earlier in zip(now, before, strict=True)]
        total, idle = sum(passed), passed[_IDLE] + passed[_IO_WAIT]
        one, five, fifteen = map(float, _LOADAVG.read().split(None, 3)[:3])
        return {
            "cpu_utilization_percent": round(100 * (total - idle) / total, 1) if total else 0.0,
            "cpus": text.count(b"\ncpu"),
            "load1": one,
            "load5": five,
            "load15": fifteen,
        }


def _cpu_times(stat: bytes) -> list[int]:
    """Of all CPUs since the start, in ticks."""
    return [int(ticks) for ticks in stat.split(None, _LAST_CPU_TIME + 1)[1 : _LAST_CPU_TIME + 1]]


def _memory() -> dict[str, float]:
    words = _MEMINFO.read().split()  # name, number, unit; a few lines have no unit
    total, available, swap, free = (
        int(words[words.index(name) + 1]) * 1024
        for name in (b"MemTotal:", b"MemAvailable:", b"SwapTotal:", b"SwapFree:")
    )
    return {"memory_total_bytes": total, "memory_available_bytes": available, "swap_used_bytes": swap - free}


def _file_system() -> dict[str, float]:
    root = os.statvfs("/")
    total = root.f_blocks * root.f_frsize
    return {"disk_total_bytes": total, "disk_used_bytes": total - root.f_bfree * root.f_frsize}


def _disks() -> dict[str, float]:
    """Of the disks, without their partitions. Nothing where the system has none."""
    read = written = disks = 0
    for line in _DISKSTATS.read().splitlines():
        _, _, name, _, _, sectors_read, _, _, _, sectors_written, _ = line.split(None, 10)
        if _is_disk(name):
            disks += 1
            read += int(sectors_read)
            written += int(sectors_written)
    return {"disk_read_bytes_total": read * _SECTOR, "disk_written_bytes_total": written * _SECTOR} if disks else {}


@cache
def _is_disk(name: bytes) -> bool:
    """A partition is no block device of its own; a disk's name stays one."""
    return os.path.exists(b"/sys/block/" + name.replace(b"/", b"!"))


def _networks() -> dict[str, float]:
    received = transmitted = 0
    for line in _NET.read().splitlines()[2:]:
        counters = line.rpartition(b":")[2].split(None, 9)
        received += int(counters[0])
        transmitted += int(counters[8])
    return {"network_received_bytes_total": received, "network_transmitted_bytes_total": transmitted}


def _uptime() -> dict[str, float]:
    return {"uptime_seconds": time.clock_gettime(time.CLOCK_BOOTTIME)}  # setting the node's clock does not change it


def groups() -> Mapping[str, Callable[[], dict[str, float]]]:
    """What is read together, and is absent together where the system does not say it."""
    return {
        "CPU": _Cpu().read,
        "memory": _memory,
        "file system": _file_system,
        "disks": _disks,
        "networks": _networks,
        "uptime": _uptime,
    }
