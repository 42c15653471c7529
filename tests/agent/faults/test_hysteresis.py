"""How long a condition has held: without a break, and in which share of a window."""

import pytest

from agent.faults.hysteresis import Streak, Window, continued, widened


def test_streak_counts_from_the_reading_in_which_the_condition_changed() -> None:
    streak = continued(None, True, 10)
    assert streak == Streak(True, 0)
    streak = continued(continued(streak, True, 10), None, 10)
    assert streak == Streak(True, 10)
    assert continued(streak, False, 10) == Streak(False, 0)


@pytest.mark.parametrize("every", [1.0, 10.0, 70.0])
def test_window_holds_its_length_and_at_most_a_reading_or_a_tenth_more(every: float) -> None:
    window = Window()
    for _ in range(int(2000 / every)):
        window = widened(window, True, every, 600)
    assert 600 <= window.known_seconds <= 600 + max(every, 60) + every
    assert len(window.slots) <= 11
    assert window.share(600) == 1


def test_share_of_a_short_history_is_one_of_the_whole_window() -> None:
    assert widened(Window(), True, 60, 600).share(600) == pytest.approx(0.1)


def test_pause_of_the_length_of_the_window_makes_it_forget() -> None:
    window = widened(Window(), True, 60, 600)
    window = widened(window, None, 590, 600)
    assert window.share(600) == pytest.approx(0.1)
    assert widened(window, None, 10, 600) == Window()
    assert widened(window, False, 10, 600).unknown == 0
