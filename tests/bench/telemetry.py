"""Telemetry through the endpoint core of ingestion, beside a client-side COPY of the same rows and table (P4).

One thread on a durable PostgreSQL, in turns. Ingestion is given the JSON of events, each a transaction: samples of
nodes with eight GPUs, which pods of a workload have. The peer has the rows as values, as any client, writes those of
one event in the format of COPY, and copies them in a transaction. Beside it are COPYs of rows that were written before,
in a transaction an event and in a single one: these show what the writing and the transactions cost.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.table import Table

from events import CATALOGUE
from events.telemetry import TelemetryGpu
from functions.telemetry_ingestion.function import build
from knative.local.runtime.postgres import EmbeddedPostgres
from shared.models.telemetry import Container, GpuSample, NodeSample
from shared.store import gpu_copy
from shared.store.database import connect
from shared.store.migrate import upgrade
from shared.store.unit_of_work import Store
from shared.telemetry.fields import GPU_FIELDS
from tests.support.builders import Deliver, request

ROUNDS, EVENTS, NODES = 5, 300, 10
_LETTERS = "bcdfghjk"
GPUS = len(_LETTERS)
LIMIT = "P4 >= 0.4"
_KIND = CATALOGUE.name_of(TelemetryGpu)
_INGESTION = build()
_WORKLOAD = """
    INSERT INTO deployments (id, workload_id, revision, generation, plan_id, cluster, kind, namespace, name, manifest,
                             amounts, status)
    VALUES (gen_random_uuid(), gen_random_uuid(), 1, 1, gen_random_uuid(), 'local', 'Deployment', 'search', 'web', '{}',
            '{}', 'healthy')
"""
_MEASURED = [name for name in GPU_FIELDS if not name.startswith("retired_pages")]


@dataclass
class Rates:
    """Rows a second, of each round. duplicates: events that were stored before. written: the peer, from values."""

    ingestion: list[float] = field(default_factory=list)
    duplicates: list[float] = field(default_factory=list)
    copies: list[float] = field(default_factory=list)
    written: list[float] = field(default_factory=list)
    one_copy: list[float] = field(default_factory=list)

    def ratio(self, of: list[float], to: list[float]) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(one / other for one, other in zip(of, to, strict=True))


def measure(said: Callable[[str], None]) -> Rates:
    """The rates of every round, after one that is not counted."""
    rates = Rates()
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as name, EmbeddedPostgres(Path(name)) as server:
        upgrade(server.owner_url)
        engine = connect(server.url, pool_size=1)
        deliver = Deliver(Store(engine))
        with engine.begin() as connection:
            connection.execute(sa.text(_WORKLOAD))
        for number in range(ROUNDS + 1):
            said(f"telemetry, round {number} of {ROUNDS}")
            kept = rates if number else Rates()
            requests = [_request(sample) for sample in _samples(f"json-{number}")]
            for rate in (kept.ingestion, kept.duplicates):
                rate.append(_rate(lambda requests=requests: _ingest(deliver, requests)))  # type: ignore[misc]
            values = list(_samples(f"values-{number}"))
            kept.written.append(_rate(lambda values=values: _write(engine, values)))  # type: ignore[misc]
            each = [_lines(sample) for sample in _samples(f"each-{number}")]
            kept.copies.append(_rate(lambda each=each: _copy(engine, each)))  # type: ignore[misc]
            everything = [b"".join(_lines(one) for one in _samples(f"one-{number}"))]
            kept.one_copy.append(_rate(lambda everything=everything: _copy(engine, everything)))  # type: ignore[misc]
        with engine.connect() as connection:
            stored = connection.execute(sa.text("SELECT count(*) FROM gpu_samples")).scalar_one()
        if stored != 4 * (ROUNDS + 1) * EVENTS * GPUS:
            raise AssertionError(f"{stored} rows are stored, which is not what was sent")
        engine.dispose()
    return rates


def table(found: Rates) -> Table:
    """The medians as people read them."""
    shown = Table(title=f"P4: telemetry, events of {GPUS} GPUs (median of {ROUNDS}, alternating)", title_justify="left")
    for column in ("", "rows a second", "ratio", "promised"):
        shown.add_column(column, justify="right" if column else "left")
    rows = (
        ("COPY from values, a transaction an event", found.written, found.written, ""),
        ("JSON in, idempotent", found.ingestion, found.written, LIMIT),
        ("JSON in, all duplicates", found.duplicates, found.written, ""),
        ("COPY of rows written before, a transaction an event", found.copies, found.written, ""),
        ("COPY of rows written before, one transaction", found.one_copy, found.written, ""),
    )
    for name, rates, peer, limit in rows:
        shown.add_row(name, f"{statistics.median(rates):,.0f}", f"{found.ratio(rates, peer):.2f}", limit)
    return shown


def _samples(round_: str) -> Iterator[NodeSample]:
    """Samples of a few nodes, in the order of time, with all that an H100 measures."""
    start = datetime.now(UTC) - timedelta(minutes=1)
    for number in range(EVENTS):
        node = number % NODES
        gpus = [
            GpuSample(
                f"GPU-{node:08x}-0000-4000-8000-{index:012x}",
                index,
                "NVIDIA H100 80GB HBM3",
                "ok",
                None,
                None,
                {name: GPU_FIELDS[name].maximum * (0.25 + number / EVENTS / 2) for name in _MEASURED},
                (Container("search", f"web-7d9f6c8b5-x2x7{letter}", "main"),),
            )
            for index, letter in enumerate(_LETTERS)
        ]
        observed_at = start + timedelta(seconds=number // NODES)
        yield NodeSample("local", f"{round_}-{node}", observed_at, "ok", "580.95.05", gpus)


def _request(sample: NodeSample) -> tuple[dict[str, str], bytes]:
    gpus = [
        {
            "gpu": one.gpu,
            "index": one.index,
            "product": one.product,
            "metrics": dict(one.metrics),
            "containers": [
                {"namespace": held.namespace, "pod": held.pod, "container": held.name} for held in one.containers
            ],
        }
        for one in sample.gpus
    ]
    told: dict[str, Any] = {"cluster": sample.cluster, "node": sample.node, "driver": sample.driver}
    data = {**told, "observedAt": sample.observed_at.isoformat(), "gpus": gpus}
    return request(_KIND, data, source=f"/sentinel/agents/local/{sample.node}", subject=sample.node)


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_COPY = f"COPY gpu_samples ({', '.join(gpu_copy.COLUMNS)}) FROM STDIN"


def _lines(sample: NodeSample) -> bytes:
    """The rows of a sample in the text format of COPY."""
    first = (sample.cluster, sample.node, sample.observed_at.isoformat())
    start = "\t".join(text.translate(_ESCAPES) for text in first)
    lines = []
    for gpu in sample.gpus:
        told = (gpu.gpu, str(gpu.index), gpu.product, gpu.state, gpu.parent, gpu.profile, _array(gpu), None)
        texts = ["\\N" if text is None else text.translate(_ESCAPES) for text in told]
        texts += ["\\N" if value is None else repr(value) for value in map(gpu.metrics.get, GPU_FIELDS)]
        lines.append("\t".join((start, *texts)))
    return "".join(f"{line}\n" for line in lines).encode()


def _array(gpu: GpuSample) -> str:
    """The containers as PostgreSQL writes an array of texts."""
    return "{" + ",".join(f'"{one}"' for one in gpu.containers) + "}"


def _rate(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return EVENTS * GPUS / (time.perf_counter() - started)


def _ingest(deliver: Deliver, requests: list[tuple[dict[str, str], bytes]]) -> None:
    for headers, body in requests:
        answer = deliver.raw(_INGESTION, headers, body)
        if answer.status != 202:
            raise AssertionError(f"ingestion answered {answer.status}: {answer.outcome}")


def _copy(engine: sa.Engine, batches: list[bytes]) -> None:
    for batch in batches:
        with engine.begin() as connection:
            connection.exec_driver_sql(_COPY, (batch,))


def _write(engine: sa.Engine, samples: list[NodeSample]) -> None:
    for sample in samples:
        _copy(engine, [_lines(sample)])
