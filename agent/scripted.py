"""GPUs that are written down in a document, for a machine that has none: the laptop platform and tests.

The document is YAML or JSON. It is read again when the file changes; one that cannot be used is logged, and the one
before stays in force. Example:

    driver: 580.95.05                # may be left out
    state: ok                        # of the node: ok (default), no_gpu, driver_missing, driver_hung, driver_changed
    gpus:
      - gpu: GPU-5d2f8a7e-0000-0000-0000-000000000000
        index: 0
        product: NVIDIA H100 80GB HBM3
        state: ok                    # ok (default), lost, hung
        load: 0.8                    # from 0 (default) to 1
        metrics: {memory_total_bytes: 85520809984}         # by names of shared/telemetry/gpu_fields.csv
        containers: [{namespace: search, pod: chat-7d9f6c8b5-x2x7k, container: main}]
      - gpu: GPU-5d2f8a7e-0000-0000-0000-000000000001
        index: 1
        product: NVIDIA H100 80GB HBM3
        loads:                       # changes over time; before the first of them, `load` holds
          - {at: 30s, load: 0.9}
          - {at: 5m, load: 0.1}
      - gpu: MIG-5d2f8a7e-0000-0000-0000-000000000002       # a MIG instance: the index is that of its parent
        index: 1
        product: NVIDIA H100 80GB HBM3
        parent: GPU-5d2f8a7e-0000-0000-0000-000000000001
        profile: 1g.10gb
        instance: 7                  # NVML's id of the GPU instance
        load: 0.5                    # may be left out: an instance has no utilization then
        metrics: {memory_used_bytes: 1073741824}
    xids:
      - {gpu: GPU-5d2f8a7e-0000-0000-0000-000000000000, xid: 79, at: "2026-01-01T00:00:00Z"}

`at` is a moment, or a duration since the agent started. An XID is seen once, at its time. One whose moment was before
the agent started is not seen; one that is written down later with a moment that has passed is seen at once.

What `metrics` does not give of a whole GPU follows from its load: utilization, memory, temperature, power, clocks. Of
an instance, only its utilization follows from its load. A GPU that is lost or hung has no metrics.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from agent.readings import GpuPart, GpuReading, SeenXid
from shared.errors import ConfigurationError
from shared.models import durations
from shared.models.fields import Text, Wire
from shared.models.telemetry import Container, GpuState, NodeState
from shared.telemetry.fields import GPU_FIELDS

LARGEST = 1024 * 1024
"""Bytes of a document; 256 GPUs have a tenth of it."""

logger = logging.getLogger("sentinel.agent.scripted")


def _at(value: object) -> datetime | timedelta:
    if not (isinstance(value, str) and value[4:5] == "-"):
        return durations.parse(value)
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("must have a time zone: 2026-01-01T00:00:00Z")
    return moment.astimezone(UTC)


def _fields(values: dict[str, float]) -> dict[str, float]:
    for name, value in values.items():
        if (field := GPU_FIELDS.get(name)) is None:
            raise ValueError(f"{name[:60]!r} is not a field of shared/telemetry/gpu_fields.csv")
        field.check(value)
    return values


At = Annotated[datetime | timedelta, BeforeValidator(_at)]
Share = Annotated[float, Field(ge=0, le=1)]


class LoadStep(Wire):
    """From `at` on, the GPU has this load."""

    at: At
    load: Share


class ScriptedContainer(Wire):
    """A container that has the GPU."""

    namespace: Text
    pod: Text
    container: Text


class ScriptedGpu(Wire):
    """One GPU, or one MIG instance."""

    gpu: Text
    index: Annotated[int, Field(ge=0, lt=256)]
    product: Text
    state: GpuState = GpuState.OK
    load: Share | None = None
    loads: Annotated[tuple[LoadStep, ...], Field(max_length=1_000)] = ()
    metrics: Annotated[dict[str, float], AfterValidator(_fields)] = Field(default_factory=dict)
    containers: Annotated[tuple[ScriptedContainer, ...], Field(max_length=64)] = ()
    parent: Text | None = None
    profile: Text | None = None
    instance: Annotated[int, Field(ge=0)] | None = None


class ScriptedXid(Wire):
    """An XID error. gpu: None where the driver does not name it."""

    gpu: Text | None = None
    xid: Annotated[int, Field(ge=0, le=65_535)]
    at: At


class GpuScript(Wire):
    """The whole document."""

    driver: Text | None = None
    state: NodeState = NodeState.OK
    gpus: Annotated[tuple[ScriptedGpu, ...], Field(max_length=256)] = ()
    xids: Annotated[tuple[ScriptedXid, ...], Field(max_length=10_000)] = ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        whole = {one.gpu: one.index for one in self.gpus if one.parent is None}
        if len({one.gpu for one in self.gpus}) < len(self.gpus):
            raise ValueError("gpus: a GPU is there twice")
        if len(set(whole.values())) < len(whole):
            raise ValueError("gpus: two GPUs have the same index")
        for number, one in enumerate(self.gpus):
            if one.parent is not None and whole.get(one.parent) != one.index:
                raise ValueError(f"gpus.{number}.parent: must be a GPU of the document with the same index")
        for number, seen in enumerate(self.xids):
            if seen.gpu is not None and all(seen.gpu != one.gpu for one in self.gpus):
                raise ValueError(f"xids.{number}.gpu: must be a GPU of the document")
        return self


class ScriptedGpus:
    """A GpuSource and a ContainerSource from one document. started: UTC, what durations in the document count from."""

    def __init__(self, path: Path, started: datetime) -> None:
        """Raises ConfigurationError that names the field."""
        self._path = path
        self._started = started
        self._version = _version(path)
        try:
            self._script = read_script(path)
        except ValueError as error:
            raise ConfigurationError(f"GPU_SCRIPT {path}: {error}") from None
        self._seen = {one for one in self._script.xids if isinstance(one.at, datetime) and one.at < started}
        self._last_xids: dict[str | None, int] = {}

    def read(self, now: datetime) -> GpuPart:
        """What the document says of this moment."""
        self._refresh()
        script = self._script
        due = [one for one in script.xids if one not in self._seen and self._moment(one.at) <= now]
        due.sort(key=lambda one: self._moment(one.at))
        self._seen = {one for one in script.xids if one in self._seen} | set(due)
        self._last_xids |= {one.gpu: one.xid for one in due}
        gpus = () if script.state is not NodeState.OK else tuple(self._reading(one, now) for one in script.gpus)
        state = NodeState.NO_GPU if script.state is NodeState.OK and not gpus else script.state
        driver = None if state is NodeState.DRIVER_MISSING else script.driver
        return GpuPart(state, driver, gpus, tuple(SeenXid(one.gpu, one.xid, self._moment(one.at)) for one in due))

    def containers(self, gpus: Sequence[GpuReading]) -> Mapping[str, tuple[Container, ...]]:
        """By the UUID of the GPU or the MIG instance."""
        return {
            gpu.gpu: tuple(Container(one.namespace, one.pod, one.container) for one in gpu.containers)
            for gpu in self._script.gpus
        }

    def close(self) -> None:
        """There is nothing to let go of."""

    def _refresh(self) -> None:
        if (version := _version(self._path)) == self._version:
            return
        self._version = version
        try:
            self._script = read_script(self._path)
        except ValueError as error:
            logger.error("the GPU script %s is not taken, and the one before stays: %s", self._path, error)

    def _moment(self, at: datetime | timedelta) -> datetime:
        return at if isinstance(at, datetime) else self._started + at

    def _reading(self, gpu: ScriptedGpu, now: datetime) -> GpuReading:
        metrics: dict[str, float] = {}
        if gpu.state is GpuState.OK:
            load = self._load(gpu, now)
            if gpu.parent is not None:
                metrics = ({} if load is None else _utilization(load)) | gpu.metrics
            else:
                metrics = _simulated(load or 0.0, gpu.metrics)
                metrics.setdefault("last_xid", self._last_xids.get(gpu.gpu, 0))
        return GpuReading(
            gpu.gpu, gpu.index, gpu.product, gpu.state, gpu.parent, gpu.profile, metrics, instance=gpu.instance
        )

    def _load(self, gpu: ScriptedGpu, now: datetime) -> float | None:
        begun = [step for step in gpu.loads if self._moment(step.at) <= now]
        return max(begun, key=lambda step: self._moment(step.at)).load if begun else gpu.load


def read_script(path: Path) -> GpuScript:
    """The document. Raises ValueError that names the field and says what is right."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise ValueError(f"must have at most {LARGEST} bytes")
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"is not YAML: {' '.join(str(error).split())[:300]}") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if not isinstance(document, dict):
        raise ValueError("must be an object with gpus")
    try:
        return GpuScript.model_validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        raise ValueError("; ".join(map(_in_words, error.errors(include_url=False)[:3]))) from None


def _in_words(error: Mapping[str, object]) -> str:
    location = error["loc"]
    assert isinstance(location, tuple)
    field = ".".join(map(str, location))
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _utilization(load: float) -> dict[str, float]:
    return {"utilization_percent": 100 * load, "memory_utilization_percent": 60 * load}


def _simulated(load: float, given: Mapping[str, float]) -> dict[str, float]:
    """What a GPU under this load measures, after an H100: at load 0 it is idle, at load 1 near its limits."""
    total, limit = given.get("memory_total_bytes", 80 * 2**30), given.get("power_limit_watts", 700)
    highest = given.get("sm_clock_maximum_hertz", 1.98e9)
    used = total * (0.01 + 0.9 * load)
    return {
        **_utilization(load),
        "memory_total_bytes": total,
        "memory_used_bytes": used,
        "memory_free_bytes": total - used,
        "temperature_celsius": 30 + 45 * load,
        "power_watts": limit * (0.1 + 0.85 * load),
        "power_limit_watts": limit,
        "sm_clock_hertz": highest if load > 0 else 345e6,
        "sm_clock_maximum_hertz": highest,
        "throttle_reasons": 0 if load > 0 else 1,  # nvmlClocksEventReasonGpuIdle
        **given,
    }
