"""Samples of GPUs in the binary format of COPY: it takes a tenth of the time that text does to write, and less to read.

https://www.postgresql.org/docs/current/sql-copy.html (Binary Format). A value is its length in bytes and then itself; a
length of -1 is NULL. Numbers are big-endian. A timestamptz is microseconds since the year 2000, an array its dimensions
and then its elements.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct

from shared.models.telemetry import GpuSample, NodeSample
from shared.telemetry.fields import GPU_FIELDS

COLUMNS = (
    *("cluster", "node", "observed_at", "gpu", "index", "product", "state", "parent", "profile"),
    *("containers", "workload_id"),
    *GPU_FIELDS,
)
"""Of gpu_samples, in the order in which they are written."""

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COUNT, _LENGTH = Struct("!h"), Struct("!i")
_SMALLINT, _MOMENT = Struct("!ih"), Struct("!iq")
_ARRAY = Struct("!iiiiii")
_BEGINNING, _END = _COUNT.pack(len(COLUMNS)), _COUNT.pack(-1)
_NULL = _LENGTH.pack(-1)
_TEXT_TYPE = 25
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DOUBLE_BYTES = 8


def encode(rows: Iterable[tuple[NodeSample, Sequence[uuid.UUID | None]]]) -> bytes:
    """All that COPY is sent. Each sample comes with the workloads of its GPUs, in their order."""
    parts = [_SIGNATURE]
    for sample, workloads in rows:
        moment = _MOMENT.pack(8, (sample.observed_at - _EPOCH) // _MICROSECOND)
        beginning = _BEGINNING + _text(sample.cluster) + _text(sample.node) + moment
        for gpu, workload in zip(sample.gpus, workloads, strict=True):
            parts += (beginning, _described(gpu, workload), _measured(gpu.metrics))
    parts.append(_END)
    return b"".join(parts)


def _described(gpu: GpuSample, workload: uuid.UUID | None) -> bytes:
    return b"".join(
        (
            _text(gpu.gpu),
            _SMALLINT.pack(2, gpu.index),
            _text(gpu.product),
            _text(gpu.state),
            _text(gpu.parent),
            _text(gpu.profile),
            _texts([str(one) for one in gpu.containers]),
            _NULL if workload is None else _LENGTH.pack(16) + workload.bytes,
        )
    )


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    encoded = value.encode()
    return _LENGTH.pack(len(encoded)) + encoded


def _texts(values: Sequence[str]) -> bytes:
    """An array; NULL for one without elements."""
    if not values:
        return _NULL
    elements = b"".join(map(_text, values))
    # Its length, then: one dimension, no NULL in it, the type, how many elements, the index of the first.
    return _ARRAY.pack(20 + len(elements), 1, 0, _TEXT_TYPE, len(values), 1) + elements


def _measured(metrics: Mapping[str, float]) -> bytes:
    struct, parts, places = _layout(tuple(metrics))
    filled = parts.copy()
    for place, value in zip(places, metrics.values(), strict=True):
        filled[place] = value
    return struct.pack(*filled)


@lru_cache(maxsize=256)
def _layout(names: tuple[str, ...]) -> tuple[Struct, list[float], list[int]]:
    """How the fields of a GPU are packed of which these are there: in one go, which a driver's samples share.

    Returns the format, the values with a gap for each field that is there, and the places of the gaps, in the order of
    `names`.
    """
    kinds, parts = "!", list[float]()
    places: dict[str, int] = {}
    for field in GPU_FIELDS:
        if field in names:
            kinds += "id"
            places[field] = len(parts) + 1
            parts += (_DOUBLE_BYTES, 0.0)
        else:
            kinds += "i"
            parts.append(-1)
    return Struct(kinds), parts, [places[name] for name in names]
