"""Compiles and loads the NVML library of tests."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

SONAME = "libnvidia-ml.so.1"
_SOURCE = Path(__file__).with_name("library.c")


def compiler() -> str | None:
    """A C compiler of this machine."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def compile_library(directory: Path) -> Path:
    """The library, made in this directory."""
    library = directory / SONAME
    command = [compiler() or "cc", "-O2", "-shared", "-fPIC", "-pthread", f"-Wl,-soname,{SONAME}", "-o"]
    subprocess.run([*command, str(library), str(_SOURCE)], check=True, timeout=60)
    return library


def load(library: Path) -> ctypes.CDLL:
    """Loads it into this process: the dynamic linker gives it to pynvml, which asks for the same soname."""
    loaded = ctypes.CDLL(str(library))
    loaded.scriptedCalls.restype = ctypes.c_ulong
    loaded.scriptedSamples.restype = ctypes.c_int
    return loaded
