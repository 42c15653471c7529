"""The node itself: CPU, memory, disks, networks, load. Linux says it in /proc; on a laptop psutil may have to ask.

In a container the kernel shows what it shows to everybody: CPU, memory, disks and load are the node's. The file system
is the one that the container's root is on, which is the node's as a rule. Networks are those of the pod, unless it has
the host's (`hostNetwork`).
"""

import logging
import os
from collections.abc import Callable, Mapping

logger = logging.getLogger("sentinel.agent.node")

Groups = Mapping[str, Callable[[], dict[str, float]]]


def groups_of_this_system() -> Groups:
    """What is read together, and is absent together where the system does not say it.

    The share of busy CPU is measured from one reading to the next, and from here to the first.
    """
    if os.access("/proc/stat", os.R_OK):
        from agent import linux_node

        return linux_node.groups()
    from agent import psutil_node

    return psutil_node.groups()


class HostNode:
    """A NodeSource. groups: those of this system unless given."""

    def __init__(self, groups: Groups | None = None) -> None:
        self._groups = groups_of_this_system() if groups is None else groups
        self._unreadable: set[str] = set()

    def read(self) -> Mapping[str, float]:
        """What could be read. A group that could not is absent, and logged once."""
        found: dict[str, float] = {}
        for name, read in self._groups.items():
            try:
                found |= read()
            except (OSError, RuntimeError, ValueError, LookupError) as error:
                if name not in self._unreadable:
                    self._unreadable.add(name)
                    logger.warning("the node does not say its %s: %s", name, error)
        return found
