"""Prometheus metrics of the functions, served at /metrics. The client is imported with the first of them."""

import threading
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Counter


@dataclass(frozen=True)
class CounterSpec:
    """A counter: its name, without the suffix `_total`, what it counts, and its labels."""

    name: str
    help: str
    labels: tuple[str, ...]


DECISIONS = CounterSpec("sentinel_policy_decisions", "Plans decided, by verdict.", ("verdict",))
DRY_RUN_DENIALS = CounterSpec(
    "sentinel_policy_dry_run_denials", "What policies in dry run would have denied.", ("policy", "rule")
)
API_REQUESTS = CounterSpec("sentinel_api_requests", "Requests that the API answered.", ("method", "status"))
ROWS_SET_ASIDE = CounterSpec(
    "sentinel_rows_set_aside", "Rows that could not be read or handled, and were left out of a page.", ("table",)
)
SWEEP_FINDINGS = CounterSpec(
    "sentinel_sweep_findings",
    "Objects that a sweep of a cluster found missing, changed, not ready, recovered or orphaned, at each sweep.",
    ("cluster", "finding"),
)
SAMPLES_DROPPED = CounterSpec(
    "sentinel_telemetry_samples_dropped",
    "Samples that were counted and not stored: too old, in the future, or more than a node may send.",
    ("kind", "reason"),
)


# A function's first events are handled side by side, and a counter that is registered twice is an error.
_REGISTERING = threading.Lock()


def count(spec: CounterSpec, number: int = 1, /, **labels: str) -> None:
    """Adds one, or a number."""
    with _REGISTERING:
        counter = _counter(spec)
    (counter.labels(**labels) if spec.labels else counter).inc(number)


def exposition() -> tuple[bytes, str]:
    """Every metric of this process in the text format, and its content type."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    return generate_latest(), CONTENT_TYPE_LATEST


@cache
def _counter(spec: CounterSpec) -> "Counter":
    from prometheus_client import Counter

    return Counter(spec.name, spec.help, spec.labels)
