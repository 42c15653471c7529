"""What a workload takes up: the quantities that quotas, budgets and the ledger count."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pydantic import JsonValue


@dataclass(frozen=True)
class Amounts:
    """Replicas, CPU in millicores, memory in bytes, whole GPUs or MIG slices, and US dollars an hour."""

    replicas: int = 0
    cpu: int = 0
    memory: int = 0
    gpus: int = 0
    usd_per_hour: Decimal = Decimal(0)

    def as_json(self) -> dict[str, JsonValue]:
        """For documents and audit rows. Money is text: a JSON number would become a float on the way."""
        return {
            "replicas": self.replicas,
            "cpu": self.cpu,
            "memory": self.memory,
            "gpus": self.gpus,
            "usd_per_hour": str(self.usd_per_hour),
        }

    def __add__(self, other: Self) -> Amounts:
        return Amounts(
            self.replicas + other.replicas,
            self.cpu + other.cpu,
            self.memory + other.memory,
            self.gpus + other.gpus,
            self.usd_per_hour + other.usd_per_hour,
        )

    def __sub__(self, other: Self) -> Amounts:
        return Amounts(
            self.replicas - other.replicas,
            self.cpu - other.cpu,
            self.memory - other.memory,
            self.gpus - other.gpus,
            self.usd_per_hour - other.usd_per_hour,
        )

    def times(self, replicas: int) -> Amounts:
        """The amounts of `replicas` replicas, when these are the amounts of one."""
        return Amounts(
            self.replicas * replicas,
            self.cpu * replicas,
            self.memory * replicas,
            self.gpus * replicas,
            self.usd_per_hour * replicas,
        )

    def per_replica(self) -> Amounts:
        """The amounts of one replica, when these are the sum of equal ones; nothing for none."""
        if self.replicas == 0:
            return Amounts()
        n = self.replicas
        return Amounts(1, self.cpu // n, self.memory // n, self.gpus // n, self.usd_per_hour / n)

    def largest(self, other: Self) -> Amounts:
        """Field by field the larger of both: what an update may take up while both revisions run."""
        return Amounts(
            max(self.replicas, other.replicas),
            max(self.cpu, other.cpu),
            max(self.memory, other.memory),
            max(self.gpus, other.gpus),
            max(self.usd_per_hour, other.usd_per_hour),
        )

    def smallest(self, other: Self) -> Amounts:
        """Field by field the smaller of both."""
        return self + other - self.largest(other)

    def within(self, other: Self) -> bool:
        """Whether no field is larger than the other's."""
        return self.largest(other) == other


NOTHING = Amounts()
