"""Samples of GPUs in the binary format of COPY: it takes a tenth of the time that text does to write, and less to read.

https://www.postgresql.org/docs/current/sql-copy.html (Binary Format). A value is its length in bytes and then itself; a
length of -1 is NULL. Numbers are big-endian. A timestamptz is microseconds since the year 2000, an array its dimensions
and then its elements.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import compress
from struct import Struct
from types import NoneType

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


def _measured(metrics: tuple[float | None, ...]) -> bytes:
    layout = _layout(tuple(map(type, metrics)))
    parts = layout.parts.copy()
    parts[1::2] = compress(metrics, layout.there)  # type: ignore[arg-type]
    return layout.struct.pack(*parts)


@dataclass(frozen=True)
class _Layout:
    """How the fields of a GPU are packed of which some are there: in one go, which a driver's samples share.

    parts: by turns what comes before a field that is there (its length, after the NULLs of those that are not), and a
    gap for its value; at the end the NULLs of those after it. there: of each field, whether it is.
    """

    struct: Struct
    parts: list[bytes | float]
    there: list[bool]


@lru_cache(maxsize=256)
def _layout(kinds: tuple[type, ...]) -> _Layout:
    """The layout for fields of these types, which are those of a number and of None."""
    there = [kind is not NoneType for kind in kinds]
    format_, parts, before = "!", list[bytes | float](), b""
    for is_there in there:
        if is_there:
            before += _LENGTH.pack(_DOUBLE_BYTES)
            format_ += f"{len(before)}sd"
            parts += (before, 0.0)
            before = b""
        else:
            before += _NULL
    return _Layout(Struct(f"{format_}{len(before)}s"), [*parts, before], there)
