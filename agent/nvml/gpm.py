"""The utilization of MIG instances, by GPM (GPU Performance Monitoring), which GPUs have from Hopper on.

nvmlDeviceGetUtilizationRates is not supported while MIG is enabled. GPM has counters of each GPU instance. A sample
holds the counters of one moment. A metric is the average between two samples, so a reading gives the average since the
reading before:

    first reading     takes sample A    no metrics
    second reading    takes sample B    averages from A to B; the next sample goes into the buffer of A
    third reading     takes sample C    averages from B to C

GPM does not tell apart the compute instances of a GPU instance: each of them has the figures of its GPU instance.

The contracts are those of https://docs.nvidia.com/deploy/nvml-api/group__nvmlGpmFunctions.html.
"""

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pynvml

from agent.nvml.calls import GpmMetric
from agent.nvml.failures import Failures

_log = logging.getLogger(__name__)

_SHORTEST_INTERVAL = 0.1
"""Seconds between two samples: the driver refreshes its counters that often."""


@dataclass
class _GpuInstance:
    """sample: the last one, None before the first. taken_at: its moment, by the clock. metrics: those it supports."""

    failures: Failures
    metrics: tuple[GpmMetric, ...]
    sample: Any = None
    taken_at: float = 0.0


class GpmSampler:
    """The GPU instances of one GPU. It keeps a buffer for each, and one more for the next sample.

    gpu: the handle of the whole GPU. entity: its name in the log. clock: seconds, monotonic.
    """

    def __init__(self, gpu: Any, entity: str, metrics: tuple[GpmMetric, ...], clock: Callable[[], float]) -> None:
        self._gpu = gpu
        self._entity = entity
        self._metrics = metrics
        self._failures = Failures(entity)
        self._clock = clock
        self._supported: bool | None = None
        self._instances: dict[int, _GpuInstance] = {}
        self._next: Any = None

    def read(self, instances: Collection[int]) -> dict[int, dict[str, float]]:
        """The averages since the reading before, by GPU instance (NVML's id) and field. Bounds are not checked here.

        An average is absent after the first sample, after one that comes too soon, and where a call fails. Without
        instances nothing is asked of the driver. Raises NVMLError whose meaning is GPU_LOST or SESSION_OVER.
        """
        if not instances or not self._is_supported():
            return {}
        return {number: self._read(number) for number in instances}

    def keep(self, instances: Collection[int]) -> None:
        """Forgets the other GPU instances, and frees their samples. Raises nothing."""
        for number in self._instances.keys() - instances:
            _free(self._instances.pop(number).sample)

    def close(self) -> None:
        """Frees all samples, before NVML is shut down. Raises nothing."""
        self.keep(())
        _free(self._next)
        self._next = None

    def _is_supported(self) -> bool:
        """Whether the GPU has GPM. This is asked until there is an answer, and then never again."""
        if self._supported is None:
            try:
                self._supported = bool(pynvml.nvmlGpmQueryDeviceSupport(self._gpu).isSupportedDevice)
                if not self._supported:
                    _log.info("%s: GPM is not supported; its MIG instances have no utilization", self._entity)
            except pynvml.NVMLError as error:
                if not self._failures.comes_back("nvmlGpmQueryDeviceSupport", error.value):
                    self._supported = False
        return bool(self._supported)

    def _read(self, number: int) -> dict[str, float]:
        instance = self._instances.get(number)
        if instance is None:
            failures = Failures(f"{self._entity}, GPU instance {number}")
            instance = self._instances[number] = _GpuInstance(failures, self._metrics)
        if not instance.metrics:
            return {}
        if self._next is None:
            self._next = _answer(instance, pynvml.nvmlGpmSampleAlloc)
        sample = self._next
        if sample is None or _answer(instance, pynvml.nvmlGpmMigSampleGet, self._gpu, number, sample) is None:
            return {}
        now, before = self._clock(), instance.sample
        if before is not None and now - instance.taken_at < _SHORTEST_INTERVAL:
            return {}  # the sample before stays, and the next reading has a longer interval
        instance.sample, instance.taken_at, self._next = sample, now, before
        return {} if before is None else self._averages(instance, before, sample)

    def _averages(self, instance: _GpuInstance, before: Any, sample: Any) -> dict[str, float]:
        request, answers = self._request
        request.sample1, request.sample2, request.numMetrics = before, sample, len(instance.metrics)
        for answer, metric in zip(answers, instance.metrics, strict=False):
            answer.metricId = metric.id
        if _answer(instance, pynvml.nvmlGpmMetricsGet, request) is None:
            return {}
        found: dict[str, float] = {}
        supported = []
        for answer, metric in zip(answers, instance.metrics, strict=False):
            if (code := answer.nvmlReturn) == pynvml.NVML_SUCCESS:
                found[metric.output.field] = metric.output.part(answer.value) * metric.output.factor
            elif not instance.failures.comes_back(metric.name, code):
                continue
            supported.append(metric)
        instance.metrics = tuple(supported)
        return found

    @cached_property
    def _request(self) -> tuple[Any, list[Any]]:
        """The structure of nvmlGpmMetricsGet, and the part of it for each metric. It has 19 KiB, and is made once."""
        request = pynvml.c_nvmlGpmMetricsGet_t()
        request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        return request, [request.metrics[index] for index in range(len(self._metrics))]


def _answer(instance: _GpuInstance, function: Callable[..., Any], *arguments: Any) -> Any | None:
    """What the function returns, or None where it fails. An instance that does not support it is asked no more."""
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        if not instance.failures.comes_back(function.__name__, error.value):
            instance.metrics = ()
        return None


def _free(sample: Any) -> None:
    if sample is not None:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlGpmSampleFree(sample)
