"""Keeps the agent small and quiet: it has 60 MiB, and most of them are libraries.

The C library's allocator gives each thread an arena of its own, of which most use little and keep much. With one arena
for all, the agent has 1 to 2 MiB less. What imports and the first connections have left behind is given back
to the system once. Both are functions of glibc; elsewhere nothing happens.
"""

import ctypes
import gc
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h
_YOUNG_OBJECTS = 20_000


def use_one_arena() -> None:
    """To be called before the first thread is started."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def collect_rarely() -> None:
    """Lets more objects come before Python looks for cycles among them.

    A reading has about a thousand, which go with the next one, and it makes no cycles: with Python's usual limit of 700
    objects each reading is searched, for nothing.
    """
    gc.set_threshold(_YOUNG_OBJECTS)


def give_back() -> None:
    """Returns memory that is free to the system. What is left stays, and is not searched for cycles again."""
    gc.collect()
    gc.freeze()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
