"""Calls that may never return are waited for up to a deadline."""

import threading
from collections.abc import Iterator

import pytest

from agent.nvml.watchdog import Overdue, Watchdog

_LONG = 60.0  # seconds: what is said at once does not take this long


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    opened = Watchdog("test")
    yield opened
    opened.stop()


def _fail() -> None:
    raise LookupError("gone")


def test_a_call_returns_or_raises_as_without_a_watchdog(watchdog: Watchdog) -> None:
    assert watchdog.run(lambda: "answer", _LONG) == "answer"
    with pytest.raises(LookupError, match="gone"):
        watchdog.run(_fail, _LONG)
    assert watchdog.run(threading.get_ident, _LONG) != threading.get_ident()


def test_a_call_that_does_not_return_is_overdue_and_those_after_it_at_once(watchdog: Watchdog) -> None:
    returns = threading.Event()
    with pytest.raises(Overdue):
        watchdog.run(returns.wait, 0.01)
    with pytest.raises(Overdue):
        watchdog.run(lambda: "never asked", _LONG)
    returns.set()


def test_the_next_call_is_made_when_the_late_one_has_returned(watchdog: Watchdog) -> None:
    returns, asked = threading.Event(), []
    with pytest.raises(Overdue):
        watchdog.run(returns.wait, 0.01)
    with pytest.raises(Overdue):
        watchdog.run(lambda: asked.append("while it was stuck"), _LONG)
    returns.set()
    late = watchdog._last
    assert late is not None
    assert late.pending.acquire(timeout=_LONG)
    late.pending.release()
    watchdog.run(lambda: asked.append("afterwards"), _LONG)
    assert asked == ["afterwards"]


def test_a_timeout_of_the_call_itself_is_its_own_error(watchdog: Watchdog) -> None:
    def time_out() -> None:
        raise TimeoutError("of the call")

    with pytest.raises(TimeoutError, match="of the call"):
        watchdog.run(time_out, _LONG)
