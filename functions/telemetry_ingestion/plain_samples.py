"""Reads a sample of a node from JSON that leaves no doubt, in a third of the time that its model takes.

Under load most of what ingestion does is to read. msgspec reads JSON straight into typed values, but it takes the last
of two equal keys, and names one bad field where the model names all. So what is refused here, or might mean something
else to another reader, is no error: events.telemetry.TelemetryGpu reads it again, and says what is wrong. What is taken
here, the model takes too, and it comes to the same sample.

A pair that msgspec drops shows in the number of colons: a text without escapes has one for each key and those in its
strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated

from msgspec import DecodeError, Meta, Struct, defstruct
from msgspec.json import Decoder
from msgspec.structs import astuple

from events.telemetry import MAX_CONTAINERS, MAX_GPUS
from shared.models.fields import MAX_TEXT
from shared.models.telemetry import Container, GpuSample, GpuState, NodeSample, NodeState, agent_source
from shared.telemetry.fields import GPU_FIELDS, NODE_FIELDS, Field

_JSON = "application/json"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
_Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]


def _metrics(name: str, known: Mapping[str, Field]) -> type[Struct]:
    bounds = {field.name: Meta(ge=field.minimum, le=field.maximum) for field in known.values()}
    fields = [(field, Annotated[float, bound] | None, None) for field, bound in bounds.items()]
    return defstruct(name, fields, forbid_unknown_fields=True)


_GpuMetrics, _NodeMetrics = _metrics("_GpuMetrics", GPU_FIELDS), _metrics("_NodeMetrics", NODE_FIELDS)
_NOTHING = (None,) * len(GPU_FIELDS)


class _Container(Struct, forbid_unknown_fields=True):
    namespace: _Text
    pod: _Text
    container: _Text


# A field that is null is in doubt, too: when the keys are counted, it counts as one that is not there.
class _Gpu(Struct, forbid_unknown_fields=True):
    gpu: _Text
    index: Annotated[int, Meta(ge=0, lt=MAX_GPUS)]
    product: _Text | None = None
    state: GpuState | None = None
    parent: _Text | None = None
    profile: _Text | None = None
    metrics: _GpuMetrics | None = None  # type: ignore[valid-type]
    containers: Annotated[tuple[_Container, ...], Meta(max_length=MAX_CONTAINERS)] | None = None


class _Node(Struct, forbid_unknown_fields=True, rename={"observed_at": "observedAt"}):
    cluster: _Text
    node: _Text
    observed_at: str
    state: NodeState | None = None
    driver: _Text | None = None
    metrics: _NodeMetrics | None = None  # type: ignore[valid-type]
    gpus: Annotated[tuple[_Gpu, ...], Meta(max_length=MAX_GPUS)] | None = None


_DECODER = Decoder(_Node)


def read(attributes: Mapping[str, str], body: bytes) -> NodeSample | None:
    """The sample in the body of a telemetry.gpu event of these attributes; None where its model has to judge it."""
    if attributes.get("datacontenttype") != _JSON or b"\\" in body:
        return None
    try:
        said = _DECODER.decode(body)
        at = _moment(said.observed_at)
    except (DecodeError, ValueError, OverflowError):
        return None
    if attributes.get("subject") != said.node or attributes["source"] != agent_source(said.cluster, said.node):
        return None
    gpus = [_sample(one) for one in said.gpus or ()]
    if not (_is_plain(said, gpus, body) and _each_gpu_is_there_once(gpus)):
        return None
    return NodeSample(said.cluster, said.node, at, said.state or NodeState.OK, said.driver, gpus)


def _moment(text: str) -> datetime:
    """Raises ValueError or OverflowError."""
    if not _MOMENT.fullmatch(text):
        raise ValueError(text)
    return datetime.fromisoformat(text).astimezone(UTC)


def _sample(said: _Gpu) -> GpuSample:
    return GpuSample(
        said.gpu,
        said.index,
        said.product or "",
        said.state or GpuState.OK,
        said.parent,
        said.profile,
        _NOTHING if said.metrics is None else astuple(said.metrics),
        tuple(Container(*astuple(held)) for held in said.containers or ()),
    )


def _is_plain(said: _Node, gpus: Iterable[GpuSample], body: bytes) -> bool:
    """Whether the body has no key twice, and no text has a control character."""
    texts = [said.cluster, said.node, said.observed_at, said.driver or ""]
    keys = _keys(said) + (0 if said.metrics is None else _keys(said.metrics))
    for one, gpu in zip(said.gpus or (), gpus, strict=True):
        keys += _keys(one) + _there(gpu.metrics) + len(Container._fields) * len(gpu.containers)
        texts += (gpu.gpu, gpu.product, gpu.parent or "", gpu.profile or "")
        for held in gpu.containers:
            texts += held
    text = "".join(texts)
    return text.isprintable() and body.count(b":") == keys + text.count(":")


def _keys(said: Struct) -> int:
    """How many fields were there."""
    return _there(astuple(said))


def _there(values: tuple[object, ...]) -> int:
    """How many are not None; the tuple's own `count` compares, which takes twice as long."""
    return len([1 for value in values if value is not None])


def _each_gpu_is_there_once(gpus: Iterable[GpuSample]) -> bool:
    names = [one.gpu for one in gpus]
    whole = [one.index for one in gpus if one.parent is None]
    return len(set(names)) == len(names) and len(set(whole)) == len(whole)
