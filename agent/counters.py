"""What the agent counts, in the registry that its /metrics serves. The client is imported with the first of them."""

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


# Several threads count, and a counter that is registered twice is an error.
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
