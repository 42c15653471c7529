"""What a workload holds on a cluster: the lines that the ledger reserves for it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from shared.models.amounts import Amounts


@dataclass(frozen=True)
class Reservation:
    """The lines that one workload holds on one cluster, by GPU SKU; "" stands for no GPU. No lines release it."""

    workload_id: uuid.UUID
    cluster: str
    team: str
    lines: Mapping[str, Amounts]


class UsageKey(NamedTuple):
    """What usage is counted by; `sku` is "" for no GPU."""

    team: str
    cluster: str
    sku: str
