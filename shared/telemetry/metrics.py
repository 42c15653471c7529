"""The metrics that the api serves: the catalogue of their names, and what was measured.

Everything comes from the store: functions scale to zero, and what a process has counted goes with it.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType

BUCKETS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Upper bounds of the histogram, in seconds; the migration that counts has the same."""


@dataclass(frozen=True)
class Metric:
    """type: gauge, counter or histogram. labels: their names, in the order of a measurement's."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


@dataclass(frozen=True)
class Measurement:
    """One value of a metric. labels: the values of its labels.

    Of a histogram there is one for each bucket that holds something, which has one label more, the upper bound ("+Inf"
    for none), and one with the label "sum".
    """

    metric: str
    labels: tuple[str, ...]
    value: float


def _read() -> Mapping[str, Metric]:
    with files("shared.telemetry").joinpath("metrics.csv").open(encoding="utf-8") as file:
        found = [
            Metric(row["name"], row["type"], tuple(row["labels"].split()), row["help"]) for row in csv.DictReader(file)
        ]
    return MappingProxyType({metric.name: metric for metric in found})


METRICS = _read()
ROWS_SET_ASIDE = "sentinel_rows_set_aside_total"
SWEEP_FINDINGS = "sentinel_sweep_findings_total"
SAMPLES_DROPPED = "sentinel_telemetry_samples_dropped_total"
COLLECTIONS_FAILED = "sentinel_collections_failed_total"
