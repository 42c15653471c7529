"""Children that die with their parent, and that it passes a listening socket on to.

A platform that is killed with SIGKILL cannot stop what it started. On Linux the kernel does it
(PR_SET_PDEATHSIG, prctl(2)); elsewhere a child that was told its parent's pid watches for being
orphaned.
"""

import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

PARENT_PID = "SENTINEL_PARENT_PID"
LISTEN_FD = 3
"""Where systemd's socket activation protocol passes the first socket on; see sd_listen_fds(3)."""
_PR_SET_PDEATHSIG = 1


def die_with_parent_hook(sign: signal.Signals = signal.SIGTERM) -> Callable[[], None] | None:
    """A `preexec_fn` for subprocess that ties a child we did not write to this process; None off Linux."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, sign.value)


def follow_parent() -> None:
    """Ties this process to the one named in SENTINEL_PARENT_PID; does nothing when that is not set.

    Exits at once when that parent is already gone: it may have died before this line ran.
    """
    named = os.environ.get(PARENT_PID)
    if not named:
        return
    parent = int(named)
    if hook := die_with_parent_hook():
        hook()
    else:
        threading.Thread(target=_exit_when_orphaned, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        sys.exit(0)


def _exit_when_orphaned(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def inherited_socket() -> socket.socket | None:
    """The listening socket that LISTEN_FDS says was passed on, if it does."""
    return socket.socket(fileno=LISTEN_FD) if os.environ.get("LISTEN_FDS") == "1" else None
