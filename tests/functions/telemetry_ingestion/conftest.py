"""Telemetry as agents and collectors send it."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from events import CATALOGUE
from events.foreign import Tick
from events.telemetry import TelemetryGpu, TelemetryWorkload
from functions.telemetry_ingestion.function import build
from shared.eventing.processing import HttpAnswer
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, connection_of

GPU = CATALOGUE.name_of(TelemetryGpu)
WORKLOAD = CATALOGUE.name_of(TelemetryWorkload)
TICK = CATALOGUE.name_of(Tick)
INGESTION = build()

_ids = itertools.count(1)


def gpu(number: int = 0, **fields: object) -> dict[str, Any]:
    """A GPU in a sample of its node."""
    return {"gpu": f"GPU-{number}", "index": number, "metrics": {"utilization_percent": 87.5}, **fields}


@dataclass(frozen=True)
class Telemetry:
    """Sends samples to ingestion and looks at what is stored. now: PostgreSQL's clock."""

    store: Store
    deliver: Deliver
    now: datetime

    def send(self, *gpus: dict[str, Any], node: str = "gpu-0", at: datetime | None = None, **fields: Any) -> HttpAnswer:
        """A sample of a node, from its agent; `fields` replace or add. at: now, unless given."""
        data = {"cluster": "local", "node": node, "observedAt": (at or self.now).isoformat(), "gpus": gpus, **fields}
        source = f"/sentinel/agents/{data['cluster']}/{node}"
        return self.deliver(INGESTION, GPU, data, source=source, subject=node)

    def report(self, workload: uuid.UUID, *samples: tuple[datetime, dict[str, float]]) -> HttpAnswer:
        """Samples of a workload, from a collector."""
        taken = [{"observedAt": at.isoformat(), "metrics": metrics} for at, metrics in samples]
        return self.deliver(INGESTION, WORKLOAD, {"workload": str(workload), "samples": taken}, subject=str(workload))

    def tick(self, times: int = 1) -> None:
        """Has rollups made."""
        for _ in range(times):
            assert self.deliver(INGESTION, TICK, {}, subject=None).status == 202

    def rows(self, table: str, order: str = "1, 2, 3, 4") -> list[dict[str, Any]]:
        """The rows of a table."""
        with self.store.begin() as work:
            statement = sa.text(f"SELECT * FROM {table} ORDER BY {order}")
            return [dict(row) for row in connection_of(work).execute(statement).mappings()]

    def dropped(self) -> dict[tuple[str, str, str], int]:
        """How many samples were not stored, by kind, subject and reason."""
        return {(row["kind"], row["subject"], row["reason"]): row["samples"] for row in self.rows("dropped_samples")}

    def minute(self, ago: int) -> datetime:
        """The beginning of a minute so many minutes ago."""
        return self.now.replace(second=0, microsecond=0) - timedelta(minutes=ago)


@pytest.fixture
def telemetry(store: Store, deliver: Deliver) -> Telemetry:
    with store.begin() as work:
        return Telemetry(store, deliver, work.now)
