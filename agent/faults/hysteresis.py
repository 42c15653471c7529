"""How long a condition has held: without a break (`Streak`), or in which share of a window (`Window`).

A condition is True, False, or None where it cannot be told; None changes nothing.
"""

from dataclasses import dataclass

_SLOTS = 10


@dataclass(frozen=True)
class Streak:
    """For how many seconds a condition has been what it is."""

    holds: bool
    seconds: float = 0.0


def continued(streak: Streak | None, holds: bool | None, elapsed: float) -> Streak | None:
    """The streak after one more reading, `elapsed` seconds after the one before."""
    if holds is None:
        return streak
    if streak is None or streak.holds is not holds:
        return Streak(holds)
    return Streak(holds, streak.seconds + elapsed)


@dataclass(frozen=True)
class Window:
    """The seconds in which a condition was known, and in which it held, in slots of a tenth of the window, oldest
    first. unknown: for how many seconds it has not been known.
    """

    slots: tuple[tuple[float, float], ...] = ()
    unknown: float = 0.0

    @property
    def known_seconds(self) -> float:
        return sum(known for known, _ in self.slots)

    @property
    def held_seconds(self) -> float:
        return sum(held for _, held in self.slots)

    @property
    def is_full(self) -> bool:
        return len(self.slots) == _SLOTS


def widened(window: Window, holds: bool | None, elapsed: float, length: float) -> Window:
    """The window after one more reading. What was known before a pause of the window's length is forgotten."""
    if holds is None:
        unknown = window.unknown + elapsed
        return Window() if unknown >= length else Window(window.slots, unknown)
    slots = window.slots
    if not slots or slots[-1][0] >= length / _SLOTS:
        slots = (*slots, (0.0, 0.0))[-_SLOTS:]
    known, held = slots[-1]
    return Window((*slots[:-1], (known + elapsed, held + (elapsed if holds else 0.0))))
