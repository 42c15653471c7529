"""Functions that tell what a test wants told, and what they leave in the store."""

import json
from collections.abc import Sequence

import sqlalchemy as sa

from events import CATALOGUE
from events.foreign import Tick
from events.plan import PlanProposed
from events.workload import WorkloadRejected
from shared.eventing.event import Event, Outgoing
from shared.eventing.function import TransactionalFunction
from shared.eventing.processing import HttpAnswer
from shared.store.unit_of_work import UnitOfWork
from tests.support.builders import (
    PROPOSED,
    TESTS,
    rows,
)

TICK = "dev.knative.sources.ping"
PLAN = CATALOGUE[PROPOSED].example
STATE = ("workloads", "action_plans", "policy_decisions", "reservations", "usage", "outbox", "audit_log", "inbox")


def tells(*outgoing: Outgoing) -> TransactionalFunction[UnitOfWork]:
    """A function that audits, and tells these events."""

    def handle(event: Event, work: UnitOfWork) -> Sequence[Outgoing]:
        work.audit("seen", event.subject or "none", TESTS)
        return outgoing

    return TransactionalFunction("teller", CATALOGUE.of(PlanProposed, Tick), handle)


def rejected(name: str = "x", subject: str = "s") -> Outgoing:
    data = {"workload": None, "name": name, "errors": [{"field": "", "message": "m"}]}
    return Outgoing(WorkloadRejected.model_validate(data), subject)


def error(answer: HttpAnswer) -> str:
    return str(json.loads(answer.body)["error"])


def state(engine: sa.Engine) -> dict[str, list[str]]:
    """All that a handler may change; of the inbox only what was handled."""
    found = {table: sorted(map(repr, rows(engine, table))) for table in STATE[:-1]}
    handled = [row for row in rows(engine, "inbox") if row["handled_at"]]
    return {**found, "inbox": sorted(map(repr, handled))}
