"""How long the agent waits before it tries a sink again that did not take an event."""

BASE_SECONDS = 1.0
CAP_SECONDS = 60.0


def full_jitter(failures: int, draw: float, *, base: float = BASE_SECONDS, cap: float = CAP_SECONDS) -> float:
    """Seconds to wait after the `failures`-th failure in a row (1, 2, ...): draw * min(cap, base * 2**(failures - 1)).

    draw: a random number from 0 up to 1. The wait is anywhere between nothing and the limit ("full jitter"), so that
    agents whose sink went away at the same moment do not come back at the same moment: of 10,000 agents about 167 a
    second ask a sink that has been away for long. With a draw of 0.5: 0.5 s, 1 s, 2 s, ..., 30 s, 30 s.
    """
    doublings = min(failures - 1, 32)  # 2.0**1024 overflows
    return draw * min(cap, base * 2.0**doublings)
