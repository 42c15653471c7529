"""The GPUs of NVIDIA on the PCI bus, as the kernel shows them without a driver."""

from pathlib import Path

DEVICES = Path("/sys/bus/pci/devices")
_NVIDIA = "0x10de"
_DISPLAY_CONTROLLERS = "0x03"  # the base class of GPUs, those without a display included


def has_nvidia_gpu(devices: Path) -> bool:
    """Whether there is one; where the kernel shows no PCI bus, that is not known, and there may be one."""
    if not devices.is_dir():
        return True
    return any(
        _read(device / "vendor") == _NVIDIA and _read(device / "class").startswith(_DISPLAY_CONTROLLERS)
        for device in devices.iterdir()
    )


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # unplugged meanwhile
        return ""
