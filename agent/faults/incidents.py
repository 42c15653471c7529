"""What has happened to a GPU since the reading before: XIDs, and memory errors that could not be corrected."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.faults.conditions import READABLE, Condition
from agent.faults.fault import FaultKey
from agent.faults.kinds import action_of, blame_of
from agent.readings import NodeReading
from shared.models.moments import rfc3339
from shared.models.telemetry import Blame, FaultKind
from shared.telemetry.xids import lookup

_ECC_COUNTER = "ecc_double_bit_volatile_total"


@dataclass(frozen=True)
class Incident:
    """Why a fault is raised, if it does not stand yet."""

    blame: Blame
    action: str | None
    message: str
    evidence: Mapping[str, float | str] = field(default_factory=dict)


def incident_of(key: FaultKey, condition: Condition) -> Incident:
    """A condition that has lasted long enough. Its message says what NVIDIA says to do, as that of an XID does."""
    action = action_of(key)
    advice = f"; NVIDIA says: {action}; hardware" if action else "; hardware"
    return Incident(blame_of(key), action, condition.message + advice, condition.evidence)


def incidents_of(reading: NodeReading, before: Mapping[str, Mapping[str, float]]) -> dict[FaultKey, Incident]:
    """What a reading tells of. before: the counters of each GPU in the reading before."""
    return {**_xids(reading), **_memory_errors(reading, before)}


def _xids(reading: NodeReading) -> dict[FaultKey, Incident]:
    """The XIDs that are a fault, each once for a GPU. One of a MIG instance is one of the GPU that it is a slice of."""
    parents = {one.gpu: one.parent for one in reading.gpus if one.parent is not None}
    found: dict[FaultKey, Incident] = {}
    times: dict[FaultKey, int] = {}
    for seen in sorted(reading.xids, key=lambda one: one.seen_at):
        xid = lookup(seen.xid)
        if xid.blame is None:
            continue
        gpu = seen.gpu and parents.get(seen.gpu, seen.gpu)
        key = FaultKey(gpu, FaultKind.XID, seen.xid)
        times[key] = times.get(key, 0) + 1
        evidence: dict[str, float | str] = {
            "mnemonic": xid.mnemonic,
            "immediate_action": xid.immediate_action or "",
            "investigatory_action": xid.investigatory_action or "",
            "cause": "hardware" if xid.is_hardware else "application",
            "classified_by": xid.source,
            "times": float(times[key]),
            "seen_at": rfc3339(seen.seen_at),
        }
        blame = Blame.NODE if gpu is None and xid.blame is Blame.GPU else xid.blame
        found[key] = Incident(blame, xid.immediate_action, str(xid), evidence)
    return found


def _memory_errors(reading: NodeReading, before: Mapping[str, Mapping[str, float]]) -> dict[FaultKey, Incident]:
    """The GPUs whose volatile counter of double-bit errors has grown. The first value of a GPU is what it starts from:
    it may be of days ago."""
    found = {}
    for one in reading.gpus if reading.state in READABLE else ():
        errors_before, errors = before.get(one.gpu, {}).get(_ECC_COUNTER), one.metrics.get(_ECC_COUNTER)
        if one.parent is not None or errors_before is None or errors is None or errors <= errors_before:
            continue
        key = FaultKey(one.gpu, FaultKind.DOUBLE_BIT_ECC)
        message = f"GPU {one.index} has {errors - errors_before:g} new memory errors that cannot be corrected"
        evidence = {_ECC_COUNTER: errors, "errors_before": errors_before}
        found[key] = incident_of(key, Condition(True, message, evidence))
    return found
