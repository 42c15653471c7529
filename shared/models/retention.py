"""For how long Sentinel keeps what is over."""

from dataclasses import dataclass
from datetime import timedelta

LEAST_ACTIONS = timedelta(days=366)
"""The window of a rate limit is at most a year long, so an action that is younger may count."""

LEAST_HISTORY = timedelta(days=30)
"""A person asks for what was decided, and a backtest replays it, for weeks at least."""

NEWEST_REVISIONS = 10
"""So many revisions of each workload stay, however old they are."""


@dataclass(frozen=True)
class Retention:
    """Ages at which rows go.

    events: what the inbox knows of an event since its last attempt, what the outbox has published, the answers that
    requests were given under their idempotency keys, reports of backtests, and a withdrawal that came before the first
    submission of its workload. No broker redelivers what is that old. letters: a dead letter since it was sent again,
    and an event since the broker refused it; an open letter stays. actions: at least `LEAST_ACTIONS`. history: plans
    with the decisions on them, and revisions, since they are over (see shared.store.history_retention), faults of GPUs,
    and what workloads have cost a day. No event is kept
    for longer than that: it would find no plan.

    samples, minutes, hours: telemetry as it came, and its rollups; see shared.store.telemetry_tables. A sample that is
    older than that when it comes is not stored.
    """

    events: timedelta = timedelta(days=7)
    letters: timedelta = timedelta(days=90)
    actions: timedelta = timedelta(days=400)
    history: timedelta = timedelta(days=400)
    samples: timedelta = timedelta(days=3)
    minutes: timedelta = timedelta(days=30)
    hours: timedelta = timedelta(days=400)


DEFAULT_RETENTION = Retention()
