"""Counters of a process whose threads count side by side."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from agent.counters import CounterSpec, count, exposition

_AT_ONCE = 4


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_switching")
def test_the_first_counts_at_once_register_a_counter_once() -> None:
    specs = [CounterSpec(f"test_first_counts_{number}", "For a test.", ("verdict",)) for number in range(50)]
    barrier = Barrier(_AT_ONCE)

    def first(spec: CounterSpec) -> None:
        barrier.wait()
        count(spec, verdict="approved")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for spec in specs:
            list(pool.map(first, [spec] * _AT_ONCE))
    text = exposition()[0].decode()
    for spec in specs:
        assert f'{spec.name}_total{{verdict="approved"}} {float(_AT_ONCE)}' in text
