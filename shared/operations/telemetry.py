"""Telemetry of GPUs and workloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.models.telemetry import Sample
    from shared.store.unit_of_work import UnitOfWork


def record(work: UnitOfWork, samples: Sequence[Sample]) -> None:
    """Stores a batch: one row for each sample, all of them or none."""
    work.telemetry.add(samples)
