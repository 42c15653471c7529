"""A fault of a GPU or its node, as it is raised and cleared."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from shared.models.moments import rfc3339
from shared.models.telemetry import Blame, Container, FaultKind, FaultState

_NAMESPACE = uuid.UUID("6f1d7c1e-3f60-5b0c-9a44-0a2f4f6f5d10")


class FaultKey(NamedTuple):
    """What can be wrong once at a time on a node. gpu: None for the node itself. xid: for kind XID alone."""

    gpu: str | None
    kind: FaultKind
    xid: int | None = None


@dataclass(frozen=True)
class Fault:
    """A fault that is raised, or cleared. The fields are those of the event GpuFault.

    fault: raised and cleared carry the same. action: NVIDIA's word, such as RESET_GPU. containers: what had the GPU.
    """

    fault: uuid.UUID
    cluster: str
    node: str
    gpu: str | None
    kind: FaultKind
    state: FaultState
    blame: Blame
    xid: int | None
    action: str | None
    observed_at: datetime
    message: str
    evidence: Mapping[str, float | str] = field(default_factory=dict)
    containers: tuple[Container, ...] = ()


def fault_id(cluster: str, node: str, key: FaultKey, raised_at: datetime) -> uuid.UUID:
    """One id for a fault from when it is raised until it is cleared."""
    parts = (cluster, node, key.gpu or "", key.kind, "" if key.xid is None else str(key.xid), rfc3339(raised_at))
    return uuid.uuid5(_NAMESPACE, "\n".join(parts))
