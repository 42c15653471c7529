"""Keeps the agent small: it has 60 MiB, and most of them are libraries.

The C library's allocator gives each thread an arena of its own, of which most use little and keep much. With one arena
for all, the agent has 1 to 2 MiB less. What imports and the first connections have left behind is given back
to the system once. Both are functions of glibc; elsewhere nothing happens.
"""

import ctypes
import gc
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h


def use_one_arena() -> None:
    """To be called before the first thread is started."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Returns memory that is free to the system."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
