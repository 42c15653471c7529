"""What the kernel module of NVIDIA says of its GPUs in /proc: also of one that is lost, which NVML cannot open."""

import re
from collections.abc import Iterator
from pathlib import Path

from agent.readings import GpuReading

GPUS = Path("/proc/driver/nvidia/gpus")
_LINE = re.compile(r"^(?P<name>[^:\n]+):[ \t]*(?P<value>.*?)[ \t]*$", re.MULTILINE)
_UUID = re.compile(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # question marks where the module has none


def gpus(directory: Path) -> Iterator[GpuReading]:
    """The GPUs whose UUID the module knows, by their place on the bus, without metrics and with their place as index.

    A directory a GPU, such as 0000:0f:00.0, with the file `information`.
    """
    for place, path in enumerate(sorted(directory.glob("*/information"))):
        try:
            text = path.read_text(errors="replace")
        except OSError:  # gone meanwhile
            continue
        lines = {found["name"].strip(): found["value"] for found in _LINE.finditer(text)}
        if _UUID.fullmatch(uuid := lines.get("GPU UUID", "")):
            yield GpuReading(uuid, place, lines.get("Model", ""), pci_bus_id=f"0000{path.parent.name.upper()}")
