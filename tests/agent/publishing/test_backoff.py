"""Agents whose sink went away together do not come back together."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from agent.publishing.backoff import CAP_SECONDS, full_jitter

AGENTS = 10_000


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_between_nothing_and_a_limit_that_doubles_up_to_the_cap(failures: int, draw: float) -> None:
    assert 0 <= full_jitter(failures, draw) <= min(CAP_SECONDS, 2.0 ** min(failures - 1, 6))


def test_the_limit_doubles() -> None:
    assert [full_jitter(n, 0.5) for n in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_ten_thousand_agents_come_back_spread_over_the_cap() -> None:
    """All meet the outage in one second; it lasts five minutes. A sink that is back is asked evenly over a minute."""
    returns = []
    for seed in range(AGENTS):
        draw = random.Random(seed)
        now, failures = draw.random(), 0
        while now < 300:
            failures += 1
            now += full_jitter(failures, draw.random())
        returns.append(now - 300)
    assert max(returns) < CAP_SECONDS
    busiest = max(Counter(int(moment) for moment in returns).values())
    # A renewal process is asked at 2 / cap of its agents a second at first, and at less and less of them later.
    assert busiest < 1.25 * 2 * AGENTS / CAP_SECONDS


def test_ten_thousand_agents_do_not_ask_a_sink_that_is_away_at_once() -> None:
    """In any second of a long outage less than a twentieth of the agents ask, however they started."""
    attempts: Counter[int] = Counter()
    for seed in range(AGENTS):
        draw = random.Random(seed)
        now, failures = 0.0, 0
        while now < 180:
            failures += 1
            now += full_jitter(failures, draw.random())
            attempts[int(now)] += 1
    assert max(attempts[second] for second in range(120, 180)) < AGENTS / 20
