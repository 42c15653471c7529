"""The metrics of the store in Prometheus' text format, made anew at most once an interval."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from shared.operations.metrics import Limits, measure
from shared.settings import DEFAULT_METRICS_INTERVAL
from shared.telemetry.metrics import BUCKETS, METRICS, Measurement, Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import timedelta

    from prometheus_client.core import Metric as Family

    from shared.store.unit_of_work import UnitOfWork

_INFINITE = "+Inf"
_SUM = "sum"


class MetricsPage:
    """What /metrics answers. Everybody who asks within the interval gets the same.

    A request that comes while another measures waits for it: the database is asked once.
    """

    def __init__(
        self, interval: timedelta = DEFAULT_METRICS_INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval.total_seconds()
        self._clock = clock
        self._limits = Limits()
        self._lock = threading.Lock()
        self._made: tuple[float, bytes] | None = None

    def read(self, work: UnitOfWork) -> bytes:
        """The page as of at most an interval ago."""
        with self._lock:
            if self._made is None or self._clock() - self._made[0] >= self._interval:
                self._made = (self._clock(), exposition(measure(work, self._limits)))
            return self._made[1]


def exposition(measurements: Iterable[Measurement]) -> bytes:
    """The text format, with every metric of the catalogue that has a value, in the catalogue's order."""
    from prometheus_client import generate_latest
    from prometheus_client.registry import Collector, CollectorRegistry

    by_metric: defaultdict[str, list[Measurement]] = defaultdict(list)
    for measurement in measurements:
        by_metric[measurement.metric].append(measurement)

    class Measured(Collector):
        def collect(self) -> Iterator[Family]:
            for metric in METRICS.values():
                if found := by_metric.get(metric.name):
                    yield _family(metric, sorted(found, key=lambda one: one.labels))

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Measured())
    return generate_latest(registry)


def _family(metric: Metric, measurements: Sequence[Measurement]) -> Family:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if metric.type == "histogram":
        values = {one.labels[0]: one.value for one in measurements}
        histogram = HistogramMetricFamily(metric.name, metric.help)
        histogram.add_metric([], _buckets(values), values.get(_SUM, 0.0))
        return histogram
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for one in measurements:
        family.add_metric(one.labels, one.value)
    return family


def _buckets(values: dict[str, float]) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus wants them."""
    found, total = [], 0.0
    for bound in (*(f"{bucket:g}" for bucket in BUCKETS), _INFINITE):
        total += values.get(bound, 0.0)
        found.append((bound, total))
    return found
