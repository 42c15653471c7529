"""Nodes of clusters, as far as Sentinel knows them: their GPUs, and whether pods may be given to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from shared.models.faults import OpenFault
from shared.models.moments import rfc3339


@dataclass(frozen=True)
class GpuNode:
    """A node with GPUs, as its cluster shows it. gpus: how many whole ones its pods may be given."""

    name: str
    product: str
    gpus: int


@dataclass(frozen=True)
class Node:
    """A node. It takes no new pods while an operator excludes it, or a fault of its hardware does.

    gpus: by SKU, None when they are not known. excluded_at, excluded_by, reason: what an operator has said, None and ""
    when none has. faulty_since: since when its hardware is at fault. proven_at: when that exclusion ends; None while a
    fault lasts. contacted_at: when its agent reported last. faults: those that last.
    """

    cluster: str
    name: str
    gpus: Mapping[str, int] | None = None
    excluded_at: datetime | None = None
    excluded_by: str = ""
    reason: str = ""
    faulty_since: datetime | None = None
    proven_at: datetime | None = None
    contacted_at: datetime | None = None
    faults: tuple[OpenFault, ...] = ()

    @property
    def excluded(self) -> bool:
        """Whether it takes no new pods."""
        return self.excluded_at is not None or self.faulty_since is not None

    @property
    def exclusion(self) -> dict[str, JsonValue]:
        """What excludes it, for machines."""
        return {
            "excluded": self.excluded,
            "excludedBy": self.excluded_by or None,
            "excludedAt": rfc3339(self.excluded_at),
            "reason": self.reason,
            "faultySince": rfc3339(self.faulty_since),
            "provenAt": rfc3339(self.proven_at),
        }

    def as_json(self) -> dict[str, JsonValue]:
        """The node for machines; `gpus` is null when they are not known. Times are RFC 3339 in UTC."""
        return {
            "cluster": self.cluster,
            "name": self.name,
            "gpus": None if self.gpus is None else dict[str, JsonValue](self.gpus),
            **self.exclusion,
            "lastContact": rfc3339(self.contacted_at),
            "faults": [one.as_json() for one in self.faults],
        }


@dataclass(frozen=True)
class NodeFilter:
    """Which nodes are listed: what is None takes any."""

    cluster: str | None = None
    excluded: bool | None = None
    name: str | None = None
