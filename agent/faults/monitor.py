"""The detectors with their memory on disk: readings in, faults out, each at least once and under one id.

A fault is written to the file before it is given out, and stays there until `confirm` says that it is safe with the
publisher. An agent that is killed between the two gives it out again after its restart, with the same id, and the chain
takes it once. Faults that stand are in the file from the moment they are raised; the windows and streaks of conditions
are written once a minute, so that kill -9 costs a minute of them at most.
"""

import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from agent import counters
from agent.counters import CounterSpec
from agent.faults.detection import observe
from agent.faults.fault import Fault, FaultKey
from agent.faults.memory import Memory, Standing
from agent.faults.settings import DEFAULTS, FaultSettings
from agent.faults.state_file import UnreadableState, load, save
from agent.readings import NodeReading

FAULTS = CounterSpec("sentinel_agent_faults", "Faults that were raised and cleared.", ("kind", "state"))
UNUSABLE = CounterSpec(
    "sentinel_agent_unusable_fault_memory",
    "Times that the file of faults could not be read or written.",
    ("operation",),
)
DROPPED = CounterSpec("sentinel_agent_dropped_faults", "Faults that were too many to wait for the publisher.", ())

logger = logging.getLogger("sentinel.agent")

SAVE_INTERVAL = timedelta(minutes=1)
MOST_UNCONFIRMED = 1_000


class FaultMonitor:
    """Finds the faults of one node. path: the file of its memory; without one, a restart begins anew."""

    def __init__(self, path: Path | None = None, settings: FaultSettings = DEFAULTS) -> None:
        self._path = path
        self._settings = settings
        self._memory: Memory | None = None
        self._unconfirmed: tuple[Fault, ...] = ()
        self._saved: Memory | None = None
        self._restore()

    @property
    def standing(self) -> Mapping[FaultKey, Standing]:
        """The faults that are raised and not cleared."""
        return {} if self._memory is None else self._memory.standing

    def observe(self, reading: NodeReading) -> tuple[Fault, ...]:
        """The faults to publish, the oldest first: those that this reading raises and clears, after those that were
        given out before and never confirmed. Never raises."""
        self._memory, found = observe(self._memory, reading, self._settings)
        for fault in found:
            counters.count(FAULTS, kind=fault.kind, state=fault.state)
        waiting = (*self._unconfirmed, *found)
        if len(waiting) > MOST_UNCONFIRMED:
            counters.count(DROPPED, len(waiting) - MOST_UNCONFIRMED)
        self._unconfirmed = waiting[-MOST_UNCONFIRMED:]
        if found or self._is_due():
            self._save()
        return self._unconfirmed

    def confirm(self) -> None:
        """The publisher has taken what `observe` gave out last."""
        if self._unconfirmed:
            self._unconfirmed = ()
            self._save()

    def close(self) -> None:
        """Writes everything down, at the end of the agent."""
        self._save()

    def _restore(self) -> None:
        if self._path is None:
            return
        try:
            saved = load(self._path)
        except UnreadableState as error:
            counters.count(UNUSABLE, operation="read")
            logger.warning("the memory of faults begins anew: %s", error)
            return
        if saved is not None:
            self._memory = self._saved = saved.memory
            self._unconfirmed = saved.unconfirmed

    def _is_due(self) -> bool:
        """Whether a minute has passed by the node's clock since the last write, forwards or backwards."""
        if self._saved is None or self._saved.observed_at is None:
            return True
        assert self._memory is not None
        assert self._memory.observed_at is not None
        return abs(self._memory.observed_at - self._saved.observed_at) >= SAVE_INTERVAL

    def _save(self) -> None:
        if self._path is None or self._memory is None:
            return
        self._saved = self._memory  # a disk that is full is tried again in a minute, not at each reading
        try:
            save(self._path, self._memory, self._unconfirmed)
        except OSError as error:
            counters.count(UNUSABLE, operation="write")
            logger.warning("the memory of faults is not written: %s", error)
