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

    def share(self, length: float) -> float:
        """In which share of the window the condition held. A time of which nothing is known counts against it."""
        held = sum(held for _, held in self.slots)
        return held / max(self.known_seconds, length)


def widened(window: Window, holds: bool | None, elapsed: float, length: float) -> Window:
    """The window after one more reading: the last `length` seconds of known time, and at most a slot more.

    What was known before a pause of that length is forgotten.
    """
    if holds is None:
        unknown = window.unknown + elapsed
        return Window() if unknown >= length else Window(window.slots, unknown)
    slots = list(window.slots)
    if not slots or slots[-1][0] >= length / _SLOTS:
        slots.append((0.0, 0.0))
    known, held = slots[-1]
    slots[-1] = (known + elapsed, held + (elapsed if holds else 0.0))
    total = sum(known for known, _ in slots)
    while total - slots[0][0] >= length:
        total -= slots.pop(0)[0]
    return Window(tuple(slots))
