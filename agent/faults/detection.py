"""From one reading of a node and what was remembered: the faults that are raised and cleared, and the new memory.

A fault is raised once, and then stands until it is cleared once. Two sorts of faults:

**Incidents** have happened to a GPU (agent.faults.incidents): an XID, or a memory error that could not be corrected.

    fault                                 is cleared when
    XID of an application                 it was not seen for `application_quiet`
    XID of hardware, double-bit ECC       the GPU was reset, and has been well without it for `recovered_after`

"A GPU reset or node reboot is needed to clear this error", says NVIDIA's catalogue of XID 48 and 74, and it names
RESET_GPU or RESTART_BM for most others. That an XID is not repeated says nothing: a GPU that has fallen off the bus
reports it once. A reset shows in what starts anew with it: the energy counter or a volatile ECC counter goes backwards,
the driver has another version, or the node's uptime goes backwards. A counter that goes backwards is never a fault.

**Conditions** hold or do not hold in each reading (agent.faults.conditions). Those of `STREAKS` are raised when they
hold for a time without a break, and cleared after `recovered_after` without them. Those of `WINDOWS` are raised when
they hold in a share of a window, and cleared when the share is small, or the GPU was reset and has to be measured anew.

A GPU that NVML does not list any more is missing, unless one of the same product came that was not known: it was
replaced, and all its faults are cleared.

Nothing here reads a clock or a file. The order of the GPUs in a reading changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from agent.faults.conditions import READABLE, Condition, conditions_of, suspects_of
from agent.faults.fault import Fault, FaultKey, fault_id
from agent.faults.hysteresis import Window, continued, widened
from agent.faults.incidents import Incident, incident_of, incidents_of
from agent.faults.kinds import INCIDENTS, STREAKS, WINDOWS
from agent.faults.memory import COUNTERS, KnownGpu, Memory, Standing
from agent.faults.settings import FaultSettings
from agent.readings import NodeReading
from shared.models.telemetry import Blame, Container, FaultState, GpuState
from shared.telemetry.xids import lookup

_UPTIME_ERROR = 60.0
"""The uptime follows from the clock and the time of the boot, which Linux corrects with the clock, to whole seconds."""


def observe(memory: Memory | None, reading: NodeReading, settings: FaultSettings) -> tuple[Memory, tuple[Fault, ...]]:
    """The memory after this reading, and the faults that it raises and clears; None begins anew.

    The memory of another node is not this node's, and begins anew too.
    """
    if memory is None or (memory.cluster, memory.node) != (reading.cluster, reading.node):
        memory = Memory(reading.cluster, reading.node)
    return _Observation(memory, reading, settings).outcome()


class _Observation:
    """One reading that is taken in: what it changes is collected, and given out once by `outcome`."""

    def __init__(self, before: Memory, reading: NodeReading, settings: FaultSettings) -> None:
        self._before = before
        self._reading = reading
        self._settings = settings
        self._elapsed = _elapsed(before, reading, settings.longest_gap)
        self._readable = reading.state in READABLE
        self._whole = {one.gpu: one for one in reading.gpus if one.parent is None} if self._readable else {}
        self._rebooted = _goes_back(before.uptime, reading.metrics.get("uptime_seconds"), _UPTIME_ERROR)
        self._reloaded = self._rebooted or (
            before.driver is not None and reading.driver is not None and before.driver != reading.driver
        )
        self._replaced = self._replaced_gpus()
        self._gpus = self._known_gpus()
        self._standing = dict(before.standing)
        self._windows = {key: window for key, window in before.windows.items() if key.gpu not in self._replaced}
        self._streaks = {key: streak for key, streak in before.streaks.items() if key.gpu not in self._replaced}
        self._faults: list[Fault] = []

    def outcome(self) -> tuple[Memory, tuple[Fault, ...]]:
        self._take_replacements()
        self._take_resets()
        incidents = incidents_of(self._reading, self._counters_before())
        self._take_incidents(incidents)
        self._take_conditions()
        reading = self._reading
        memory = Memory(
            reading.cluster,
            reading.node,
            reading.observed_at,
            reading.driver or self._before.driver,
            reading.metrics.get("uptime_seconds", self._before.uptime),
            self._gpus,
            self._standing,
            self._streaks,
            self._windows,
        )
        return memory, tuple(self._faults)

    # What is known of the GPUs

    def _replaced_gpus(self) -> set[str]:
        """The GPUs that are not listed any more, and have a successor: one of the same product that is new."""
        if not self._readable or self._before.gpus.keys() <= self._whole.keys():
            return set()
        new = [one.product for one in self._whole.values() if one.gpu not in self._before.gpus]
        replaced = set()
        for gpu, known in sorted(self._before.gpus.items(), key=lambda item: (item[1].index, item[0])):
            if gpu not in self._whole and known.product in new:
                new.remove(known.product)
                replaced.add(gpu)
        return replaced

    def _known_gpus(self) -> dict[str, KnownGpu]:
        known = {
            gpu: one._replace(nvlinks=0.0) if self._rebooted else one
            for gpu, one in self._before.gpus.items()
            if gpu not in self._replaced
        }
        containers = self._containers_by_gpu()
        for gpu, one in self._whole.items():
            before = known.get(gpu)
            counters = {name: one.metrics[name] for name in COUNTERS if name in one.metrics}
            known[gpu] = KnownGpu(
                one.index,
                one.product or (before.product if before else ""),
                {**before.counters, **counters} if before else counters,
                max(before.nvlinks if before else 0.0, one.metrics.get("nvlinks_active", 0.0)),
                containers[gpu],
            )
        return known

    def _containers_by_gpu(self) -> dict[str, tuple[Container, ...]]:
        """What has each GPU, or a slice of it."""
        found = {gpu: one.containers for gpu, one in self._whole.items()}
        for one in self._reading.gpus:
            if one.parent in found:
                found[one.parent] += one.containers
        return {gpu: _in_order(containers) if len(containers) > 1 else containers for gpu, containers in found.items()}

    def _was_reset(self, gpu: str | None) -> bool:
        """Whether the GPU was reset since the reading before; the node, whether all of its GPUs were."""
        if self._reloaded:
            return True
        if gpu is None:
            return bool(self._whole) and all(self._was_reset(one) for one in self._whole)
        one, known = self._whole.get(gpu), self._before.gpus.get(gpu)
        if one is None or known is None:
            return False
        return any(_goes_back(known.counters.get(name), one.metrics.get(name)) for name in COUNTERS)

    def _is_well(self, gpu: str | None) -> bool:
        """Whether the GPU, or the node, can be read as it should."""
        if gpu is None:
            return self._readable
        one = self._whole.get(gpu)
        return one is not None and one.state is GpuState.OK

    def _counters_before(self) -> dict[str, Mapping[str, float]]:
        return {gpu: one.counters for gpu, one in self._before.gpus.items()}

    # What changes faults

    def _take_replacements(self) -> None:
        for key in sorted(self._standing, key=_order):
            if key.gpu in self._replaced:
                self._clear(key, "the GPU was replaced")

    def _take_resets(self) -> None:
        for key, standing in sorted(self._standing.items(), key=lambda item: _order(item[0])):
            if not self._was_reset(key.gpu):
                continue
            if key.kind in WINDOWS:
                self._clear(key, "the GPU was reset and is measured anew")
            else:
                self._standing[key] = replace(standing, quiet=0.0, was_reset=True)
        self._windows = {key: window for key, window in self._windows.items() if not self._was_reset(key.gpu)}

    def _take_incidents(self, incidents: Mapping[FaultKey, Incident]) -> None:
        for key, incident in sorted(incidents.items(), key=lambda item: _order(item[0])):
            if key in self._standing:
                self._standing[key] = replace(self._standing[key], quiet=0.0, was_reset=False)
            else:
                self._raise(key, incident)
        for key, standing in sorted(self._standing.items(), key=lambda item: _order(item[0])):
            if key.kind in INCIDENTS and key not in incidents:
                self._wait_for_recovery(key, standing)

    def _wait_for_recovery(self, key: FaultKey, standing: Standing) -> None:
        is_application = standing.blame is Blame.POD
        if not is_application and (self._was_reset(key.gpu) or not self._is_well(key.gpu)):
            return  # the time since the reset begins with this reading
        quiet = standing.quiet + self._elapsed
        self._standing[key] = replace(standing, quiet=quiet)
        if is_application and quiet >= self._settings.application_quiet.total_seconds():
            self._clear(key, f"not seen for {_minutes(self._settings.application_quiet)}")
        if not is_application and standing.was_reset and quiet >= self._settings.recovered_after.total_seconds():
            self._clear(key, f"reset, and well for {_minutes(self._settings.recovered_after)}")

    def _take_conditions(self) -> None:
        """Nothing is remembered of a GPU that is well and has no fault, so that most readings cost nothing here."""
        missing = {gpu: one.index for gpu, one in self._gpus.items() if self._readable and gpu not in self._whole}
        nvlinks = {gpu: one.nvlinks for gpu, one in self._gpus.items()}
        followed = {key.gpu for keys in (self._standing, self._streaks, self._windows) for key in keys if key.gpu}
        if self._readable:
            followed |= suspects_of(self._reading, nvlinks, self._settings)
        conditions = conditions_of(self._reading, followed, missing, nvlinks, self._settings)
        for key, condition in sorted(conditions.items(), key=lambda item: _order(item[0])):
            if key.kind in WINDOWS:
                self._take_window(key, condition)
            else:
                self._take_streak(key, condition)

    def _take_streak(self, key: FaultKey, condition: Condition) -> None:
        streak = continued(self._streaks.pop(key, None), condition.holds, self._elapsed)
        if streak is None:
            return
        raise_after, clear_after = STREAKS[key.kind](self._settings), self._settings.recovered_after
        if key in self._standing:
            if not streak.holds and streak.seconds >= clear_after.total_seconds():
                self._clear(key, f"well for {_minutes(clear_after)}")
        elif condition.holds and streak.seconds >= raise_after.total_seconds():
            self._raise(key, incident_of(key, condition))
        if streak.holds or key in self._standing:
            self._streaks[key] = streak

    def _take_window(self, key: FaultKey, condition: Condition) -> None:
        length, share, clear_share = WINDOWS[key.kind](self._settings)
        seconds = length.total_seconds()
        window = widened(self._windows.pop(key, Window()), condition.holds, self._elapsed, seconds)
        held = window.share(seconds)
        if key in self._standing:
            if condition.holds is False and window.known_seconds >= seconds and held <= clear_share:
                self._clear(key, f"in {held:.0%} of {_minutes(length)} under load")
        elif condition.holds and held >= share:
            message = f"{condition.message}; in {held:.0%} of {_minutes(length)} under load"
            evidence = {**condition.evidence, "share": round(held, 4), "window_seconds": seconds}
            self._raise(key, incident_of(key, Condition(True, message, evidence)))
        if held > 0 or key in self._standing:
            self._windows[key] = window

    def _raise(self, key: FaultKey, incident: Incident) -> None:
        self._standing[key] = Standing(self._reading.observed_at, incident.blame, incident.action)
        self._tell(key, FaultState.RAISED, incident.message, incident.evidence)

    def _clear(self, key: FaultKey, reason: str) -> None:
        subject = str(lookup(key.xid)).partition(";")[0] if key.xid is not None else key.kind.replace("_", " ")
        self._tell(key, FaultState.CLEARED, f"{subject} is over: {reason}", {"reason": reason})
        del self._standing[key]

    def _tell(self, key: FaultKey, state: FaultState, message: str, evidence: Mapping[str, float | str]) -> None:
        reading, standing = self._reading, self._standing[key]
        self._faults.append(
            Fault(
                fault_id(reading.cluster, reading.node, key, standing.raised_at),
                reading.cluster,
                reading.node,
                key.gpu,
                key.kind,
                state,
                standing.blame,
                key.xid,
                standing.action,
                reading.observed_at,
                message,
                evidence,
                self._containers(key.gpu),
            )
        )

    def _containers(self, gpu: str | None) -> tuple[Container, ...]:
        """What has the GPU or had it when it was last seen; for the node, what has any of its GPUs."""
        known = self._gpus | {name: one for name, one in self._before.gpus.items() if name in self._replaced}
        of = known.values() if gpu is None else [known[gpu]] if gpu in known else []
        return _in_order(container for one in of for container in one.containers)


def _elapsed(before: Memory, reading: NodeReading, longest: timedelta) -> float:
    """Seconds since the reading before. A clock that was put back adds nothing, and a long pause adds `longest`."""
    if before.observed_at is None:
        return 0.0
    return max(min(reading.observed_at - before.observed_at, longest), timedelta(0)).total_seconds()


def _goes_back(before: float | None, now: float | None, error: float = 0.0) -> bool:
    return before is not None and now is not None and now < before - error


def _in_order(containers: Iterable[Container]) -> tuple[Container, ...]:
    return tuple(sorted(set(containers), key=lambda one: (one.namespace, one.pod, one.name)))


def _order(key: FaultKey) -> tuple[str, str, int]:
    return key.gpu or "", key.kind, -1 if key.xid is None else key.xid


def _minutes(length: timedelta) -> str:
    return f"{length.total_seconds() / 60:g} min"
