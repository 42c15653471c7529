"""For how long Sentinel keeps what is over."""

from dataclasses import dataclass
from datetime import timedelta

LEAST_ACTIONS = timedelta(days=366)
"""The window of a rate limit is at most a year long, so an action that is younger may count."""


@dataclass(frozen=True)
class Retention:
    """Ages at which rows go.

    events: what the inbox knows of an event since its last attempt, what the outbox has published, the answers that
    requests were given under their idempotency keys, reports of backtests, and a withdrawal that came before the first
    submission of its workload. No broker redelivers what is that old. letters: a dead letter since it was sent again,
    and an event since the broker refused it; an open letter stays. actions: at least `LEAST_ACTIONS`.
    """

    events: timedelta = timedelta(days=7)
    letters: timedelta = timedelta(days=90)
    actions: timedelta = timedelta(days=400)


DEFAULT_RETENTION = Retention()
