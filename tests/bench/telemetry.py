"""Telemetry through ingestion, beside a client-side COPY of the same rows into the same table (P4).

On a durable PostgreSQL, in turns. The function is served as production serves it, and is posted the JSON of events over
HTTP, 16 at a time: samples of nodes with eight GPUs, which pods of a workload have. It commits events in groups.

The peer has the rows as Python's values. As a client must, it writes them in COPY's text format. It commits as many at
a time as the function did in the same round. A second peer has text that is ready before it starts: what it takes is
what PostgreSQL takes, and it neither parses, nor checks, nor writes. Both are measured committing each event and
everything at once, too. Beside the function over HTTP is its core, called by one thread.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import psutil
import sqlalchemy as sa
from rich.table import Table

from events import CATALOGUE
from events.telemetry import TelemetryGpu
from functions.telemetry_ingestion.function import build
from knative.local.runtime.postgres import EmbeddedPostgres
from shared.eventing.processing import EventRequest, HttpAnswer, Processor
from shared.models.telemetry import Container, GpuSample, NodeSample
from shared.store import gpu_copy
from shared.store.database import connect
from shared.store.migrate import upgrade
from shared.store.unit_of_work import Store
from shared.telemetry.fields import GPU_FIELDS
from tests.support.builders import request
from tests.support.serving import Served, served

ROUNDS, EVENTS, NODES, AT_ONCE = 5, 640, 32, 16
T = TypeVar("T")

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
_TRANSACTIONS = sa.text("SELECT count(DISTINCT CAST(xmin AS text)) FROM gpu_samples WHERE node LIKE :nodes")


@dataclass
class Rates:
    """Rows a second, of each round. at_once: how many events the function committed at once, on average.

    cpu: milliseconds of the function's process for 1,000 rows over HTTP. written_cpu: the same of the peer that writes.
    """

    http: list[float] = field(default_factory=list)
    http_again: list[float] = field(default_factory=list)
    core: list[float] = field(default_factory=list)
    core_singly: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    written: list[float] = field(default_factory=list)
    ready_singly: list[float] = field(default_factory=list)
    written_singly: list[float] = field(default_factory=list)
    written_one: list[float] = field(default_factory=list)
    ready_one: list[float] = field(default_factory=list)
    at_once: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    written_cpu: list[float] = field(default_factory=list)

    def ratio(self, of: list[float], to: list[float]) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(one / other for one, other in zip(of, to, strict=True))


def measure(said: Callable[[str], None]) -> Rates:
    """The rates of every round, after one that is not counted."""
    rates = Rates()
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as name, EmbeddedPostgres(Path(name)) as server:
        upgrade(server.owner_url)
        engine = connect(server.url, pool_size=1)
        with engine.begin() as connection:
            connection.execute(sa.text(_WORKLOAD))
        with served(["telemetry_ingestion"], Path(name), DATABASE_URL=server.url) as function:
            for number in range(ROUNDS + 1):
                said(f"telemetry, round {number} of {ROUNDS}")
                _round(rates if number else Rates(), number, function, engine)
        with engine.connect() as connection:
            stored = connection.execute(sa.text("SELECT count(*) FROM gpu_samples")).scalar_one()
        if stored != 9 * (ROUNDS + 1) * EVENTS * GPUS:
            raise AssertionError(f"{stored} rows are stored, which is not what was sent")
        engine.dispose()
    return rates


def _round(rates: Rates, number: int, function: Served, engine: sa.Engine) -> None:
    requests = [_request(sample) for sample in _samples(f"http-{number}")]
    process = psutil.Process(function.pid)
    before = _seconds(process)
    rates.http.append(_rate(lambda: asyncio.run(_post(function.port, requests))))
    rates.cpu.append((_seconds(process) - before) / EVENTS / GPUS * 1e6)
    rates.http_again.append(_rate(lambda: asyncio.run(_post(function.port, requests))))
    with engine.connect() as connection:
        transactions = connection.execute(_TRANSACTIONS, {"nodes": f"http-{number}-%"}).scalar_one()
    rates.at_once.append(EVENTS / transactions)
    together = round(EVENTS / transactions)

    processor = Processor(_INGESTION, Store(engine), CATALOGUE, "/sentinel/telemetry-ingestion")
    for of, name, size in ((rates.core, "core", together), (rates.core_singly, "singly", 1)):
        groups = list(_batched(map(_request, _samples(f"{name}-{number}")), size))
        of.append(_rate(lambda groups=groups: _ingest(processor, groups)))  # type: ignore[misc]

    for of, name, size in (
        (rates.ready, "ready", together),
        (rates.ready_singly, "ready-singly", 1),
        (rates.ready_one, "ready-one", EVENTS),
    ):
        texts = [b"".join(map(_lines, group)) for group in _batched(_samples(f"{name}-{number}"), size)]
        of.append(_rate(lambda texts=texts: _copy(engine, texts)))  # type: ignore[misc]
    for of, name, size in (
        (rates.written, "written", together),
        (rates.written_singly, "written-singly", 1),
        (rates.written_one, "written-one", EVENTS),
    ):
        samples = list(_batched(_samples(f"{name}-{number}"), size))
        started = time.process_time()
        of.append(_rate(lambda samples=samples: _copy(engine, (b"".join(map(_lines, one)) for one in samples))))  # type: ignore[misc]
        if of is rates.written:
            rates.written_cpu.append((time.process_time() - started) / EVENTS / GPUS * 1e6)


def table(found: Rates) -> Table:
    """The medians as people read them."""
    together = statistics.median(found.at_once)
    title = (
        f"P4: telemetry, events of {GPUS} GPUs (median of {ROUNDS}, alternating; {together:.1f} events a transaction)"
    )
    shown = Table(title=title, title_justify="left")
    for column in ("", "rows a second", "of the peer", "of ready text", "promised"):
        shown.add_column(column, justify="right" if column else "left")
    rows = (
        ("JSON in over HTTP, 16 at once, idempotent", found.http, LIMIT),
        ("the same again: all duplicates", found.http_again, ""),
        ("JSON into the function's core, one thread, as many events a transaction", found.core, ""),
        ("JSON into the function's core, one thread, one event a transaction", found.core_singly, ""),
        ("peer: COPY of values, as many events a transaction", found.written, ""),
        ("COPY of values, one event a transaction", found.written_singly, ""),
        ("COPY of values, all in one transaction", found.written_one, ""),
        ("COPY of text that is ready, as many events a transaction", found.ready, ""),
        ("COPY of text that is ready, one event a transaction", found.ready_singly, ""),
        ("COPY of text that is ready, all in one transaction", found.ready_one, ""),
    )
    for name, rates, limit in rows:
        ratios = (f"{found.ratio(rates, peer):.2f}" for peer in (found.written, found.ready))
        shown.add_row(name, f"{statistics.median(rates):,.0f}", *ratios, limit)
    cpu, written = statistics.median(found.cpu), statistics.median(found.written_cpu)
    shown.caption = f"CPU for 1,000 rows: {cpu:.0f} ms in the function, {written:.0f} ms in the client that writes"
    return shown


def _batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(values)
    while batch := list(islice(left, size)):
        yield batch


def _samples(round_: str) -> Iterator[NodeSample]:
    """Samples of a few nodes, in the order of time, with all that an H100 measures."""
    start = datetime.now(UTC) - timedelta(minutes=1)
    for number in range(EVENTS):
        node, share = number % NODES, 0.25 + number / EVENTS / 2
        gpus = [
            GpuSample(
                f"GPU-{node:08x}-0000-4000-8000-{index:012x}",
                index,
                "NVIDIA H100 80GB HBM3",
                "ok",
                None,
                None,
                tuple(share * field.maximum if field.name in _MEASURED else None for field in GPU_FIELDS.values()),
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
            "metrics": {name: value for name, value in zip(GPU_FIELDS, one.metrics, strict=True) if value is not None},
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
        texts += ["\\N" if value is None else repr(value) for value in gpu.metrics]
        lines.append("\t".join((start, *texts)))
    return "".join(f"{line}\n" for line in lines).encode()


def _array(gpu: GpuSample) -> str:
    """The containers as PostgreSQL writes an array of texts."""
    return "{" + ",".join(f'"{one}"' for one in gpu.containers) + "}"


def _rate(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return EVENTS * GPUS / (time.perf_counter() - started)


async def _post(port: int, requests: Sequence[EventRequest]) -> None:
    """Posts all of them over connections that stay open. aiohttp would take as much of the machine as the function."""
    waiting = iter(requests)

    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for headers, body in waiting:
            named = {**headers, "host": "localhost", "content-length": str(len(body))}
            lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
            writer.write(f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + body)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 202"):
                raise AssertionError(f"ingestion answered {head[:60]!r}")
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(send())


def _ingest(processor: Processor, groups: Sequence[Sequence[EventRequest]]) -> None:
    if _INGESTION.group_commit is None:
        raise AssertionError("ingestion commits no groups")
    for group in groups:
        answers: Sequence[HttpAnswer]
        if len(group) > 1:
            answers = processor.process_together(group, _INGESTION.group_commit)
        else:
            answers = [processor.process(*group[0])]
        if any(answer.status != 202 for answer in answers):
            raise AssertionError(f"ingestion answered {answers[0].status}: {answers[0].outcome}")


def _copy(engine: sa.Engine, batches: Iterable[bytes]) -> None:
    for batch in batches:
        with engine.begin() as connection:
            connection.exec_driver_sql(_COPY, (batch,))


def _seconds(process: psutil.Process) -> float:
    """Of CPU."""
    used = process.cpu_times()
    return float(used.user + used.system)
