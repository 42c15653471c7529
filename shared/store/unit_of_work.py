"""One transaction, and the store that opens them for the endpoint."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import sqlalchemy as sa
from pydantic import JsonValue

from shared.errors import AlreadyInProgress
from shared.eventing import codec
from shared.eventing.event import Envelope, Queued, WireEvent
from shared.eventing.function import Claim
from shared.models.actor import Actor
from shared.models.retention import Retention
from shared.store import audit, inbox, outbox
from shared.store.audit import AuditEntry, NewEntry
from shared.store.database import transient_errors

if TYPE_CHECKING:
    from shared.store.audit_rows import AuditRows
    from shared.store.backtests import BacktestRows
    from shared.store.bindings import BindingRows
    from shared.store.breaches import BreachRows
    from shared.store.catalogue import CatalogueRows
    from shared.store.collections import CollectionRows
    from shared.store.costs import CostRows
    from shared.store.dead_letters import DeadLetterRows
    from shared.store.denials import DenialRows
    from shared.store.deployments import DeploymentRows
    from shared.store.facts import FactRows
    from shared.store.faults import FaultRows
    from shared.store.gpu_statuses import GpuStatusRows
    from shared.store.history import HistoryRows
    from shared.store.idempotency import IdempotencyRows
    from shared.store.identity import IdentityRows
    from shared.store.idle import IdleRows
    from shared.store.ledger import Ledger
    from shared.store.ledger_records import LedgerRecordRows
    from shared.store.measurements import MeasurementRows
    from shared.store.nodes import NodeRows
    from shared.store.objects import ObjectRows
    from shared.store.plans import PlanRows
    from shared.store.policies import PolicyRows
    from shared.store.queue import QueueRows
    from shared.store.rollups import RollupRows
    from shared.store.sweeps import SweepRows
    from shared.store.telemetry import TelemetryRows
    from shared.store.workloads import WorkloadRows

_NOW = sa.select(sa.func.now())
_SNAPSHOT = sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


class UnitOfWork:
    """An open transaction with everything a handler may read and change. `now` is PostgreSQL's clock.

    Audit rows are kept back to the end: their lock is the last that a transaction takes. A repository is imported when
    it is first used: a command that lists workloads needs neither the ledger's statements nor the rules of policy.
    """

    def __init__(self, connection: sa.Connection, now: datetime | None) -> None:
        self._connection = connection
        self._now = now
        self.cause: Mapping[str, JsonValue] = {}
        """What led to this transaction, on every audit row: `event` with its source and id, or `request`, an id."""
        self._audits: list[NewEntry] = []

    @property
    def now(self) -> datetime:
        """The moment that this transaction goes by, UTC; it is asked for where nobody has."""
        if self._now is None:
            self._now = self._connection.execute(_NOW).scalar_one()
        return self._now

    @cached_property
    def workloads(self) -> "WorkloadRows":
        from shared.store.workloads import WorkloadRows

        return WorkloadRows(self._connection)

    @cached_property
    def plans(self) -> "PlanRows":
        from shared.store.plans import PlanRows

        return PlanRows(self._connection)

    @cached_property
    def queue(self) -> "QueueRows":
        from shared.store.queue import QueueRows

        return QueueRows(self._connection)

    @cached_property
    def deployments(self) -> "DeploymentRows":
        from shared.store.deployments import DeploymentRows

        return DeploymentRows(self._connection)

    @cached_property
    def objects(self) -> "ObjectRows":
        from shared.store.objects import ObjectRows

        return ObjectRows(self._connection)

    @cached_property
    def catalogue(self) -> "CatalogueRows":
        from shared.store.catalogue import CatalogueRows

        return CatalogueRows(self._connection)

    @cached_property
    def collections(self) -> "CollectionRows":
        from shared.store.collections import CollectionRows

        return CollectionRows(self._connection)

    @cached_property
    def policies(self) -> "PolicyRows":
        from shared.store.policies import PolicyRows

        return PolicyRows(self._connection)

    @cached_property
    def backtests(self) -> "BacktestRows":
        from shared.store.backtests import BacktestRows

        return BacktestRows(self._connection)

    @cached_property
    def ledger(self) -> "Ledger":
        from shared.store.ledger import Ledger

        return Ledger(self._connection)

    @cached_property
    def costs(self) -> "CostRows":
        from shared.store.costs import CostRows

        return CostRows(self._connection)

    @cached_property
    def dead_letters(self) -> "DeadLetterRows":
        from shared.store.dead_letters import DeadLetterRows

        return DeadLetterRows(self._connection)

    @cached_property
    def denials(self) -> "DenialRows":
        from shared.store.denials import DenialRows

        return DenialRows(self._connection)

    @cached_property
    def ledger_records(self) -> "LedgerRecordRows":
        from shared.store.ledger_records import LedgerRecordRows

        return LedgerRecordRows(self._connection)

    @cached_property
    def measurements(self) -> "MeasurementRows":
        from shared.store.measurements import MeasurementRows

        return MeasurementRows(self._connection)

    @cached_property
    def history(self) -> "HistoryRows":
        from shared.store.history import HistoryRows

        return HistoryRows(self._connection)

    @cached_property
    def idempotency(self) -> "IdempotencyRows":
        from shared.store.idempotency import IdempotencyRows

        return IdempotencyRows(self._connection)

    @cached_property
    def telemetry(self) -> "TelemetryRows":
        from shared.store.telemetry import TelemetryRows

        return TelemetryRows(self._connection)

    @cached_property
    def rollups(self) -> "RollupRows":
        from shared.store.rollups import RollupRows

        return RollupRows(self._connection)

    @cached_property
    def nodes(self) -> "NodeRows":
        from shared.store.nodes import NodeRows

        return NodeRows(self._connection)

    @cached_property
    def faults(self) -> "FaultRows":
        from shared.store.faults import FaultRows

        return FaultRows(self._connection)

    @cached_property
    def breaches(self) -> "BreachRows":
        from shared.store.breaches import BreachRows

        return BreachRows(self._connection)

    @cached_property
    def gpu_statuses(self) -> "GpuStatusRows":
        from shared.store.gpu_statuses import GpuStatusRows

        return GpuStatusRows(self._connection)

    @cached_property
    def idle(self) -> "IdleRows":
        from shared.store.idle import IdleRows

        return IdleRows(self._connection)

    @cached_property
    def sweeps(self) -> "SweepRows":
        from shared.store.sweeps import SweepRows

        return SweepRows(self._connection)

    @cached_property
    def facts(self) -> "FactRows":
        from shared.store.facts import FactRows

        return FactRows(self._connection)

    @cached_property
    def identity(self) -> "IdentityRows":
        from shared.store.identity import IdentityRows

        return IdentityRows(self._connection)

    @cached_property
    def bindings(self) -> "BindingRows":
        from shared.store.bindings import BindingRows

        return BindingRows(self._connection)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part of the transaction that is undone by itself when its block raises. Raises StoreUnavailable."""
        audits = len(self._audits)
        try:
            with transient_errors(), self._connection.begin_nested():
                yield
        except BaseException:
            del self._audits[audits:]
            raise

    def audit(self, action: str, subject: str, actor: Actor, **detail: JsonValue) -> None:
        """Records what `actor` does to `subject`, if this transaction commits. `detail` must hold no secret.

        The row is the team's that `detail` names, or else the one of the workload that it is about.
        """
        self._audits.append(NewEntry(action, subject, actor, {**self.cause, **detail}))

    @cached_property
    def audit_log(self) -> "AuditRows":
        from shared.store.audit_rows import AuditRows

        return AuditRows(self._connection)

    def audit_entries(self, subject: str) -> list[AuditEntry]:
        """All that was done to one subject, oldest first."""
        return audit.entries(self._connection, subject)

    def limit_lock_waits(self, most: timedelta) -> None:
        """See shared.eventing.function.Transaction."""
        milliseconds = most // timedelta(milliseconds=1)
        self._connection.exec_driver_sql(f"SET LOCAL lock_timeout = {milliseconds}")

    def add_to_outbox(self, events: Sequence[WireEvent]) -> list[Queued]:
        """Announces events, if this transaction commits: the relay publishes what nobody publishes earlier.

        Raises EventTooLarge for one that no broker would take.
        """
        for event in events:
            codec.check_size(event)
        return outbox.add(self._connection, events)

    def answer(self, consumer: str, source: str, event_id: str) -> inbox.Answered | None:
        """What a consumer answered to an event; None while it has not handled it."""
        return inbox.answer(self._connection, consumer, source, event_id)

    def reset_attempts(self, source: str, event_id: str) -> None:
        """Lets every consumer that did not handle an event count its attempts from zero."""
        inbox.reset_attempts(self._connection, source, event_id)

    def forget_old(self, retention: Retention, limit: int) -> None:
        """Deletes at most `limit` rows of each table that are over and older than they are kept."""
        from shared.store import retention as tables

        tables.forget(self._connection, retention, limit)

    def forget_history(self, age: timedelta, limit: int) -> None:
        """Deletes old plans, decisions and revisions: looks at the next `limit` rows of each of these tables."""
        from shared.store import history_retention

        history_retention.forget(self._connection, age, limit)

    def lock_pending(self, limit: int) -> list[Queued]:
        """The oldest unpublished events; other relays skip them until this transaction ends."""
        return outbox.lock_pending(self._connection, limit)

    def mark_published(self, ids: Sequence[uuid.UUID]) -> None:
        """The sink has these rows of the outbox."""
        outbox.mark_published(self._connection, ids)

    def postpone(self, ids: Sequence[uuid.UUID]) -> None:
        """The sink did not take these rows of the outbox now; each waits a little longer every time."""
        outbox.postpone(self._connection, ids)

    def mark_refused(self, row_id: uuid.UUID, reason: str) -> None:
        """The sink will never take this row of the outbox: it stays, with the reason, and blocks nobody."""
        outbox.mark_refused(self._connection, row_id, reason)

    def write_audits(self) -> None:
        """Appends the kept-back audit rows, in the order of their subjects: shard locks are taken in one order."""
        for entry in sorted(self._audits, key=lambda one: audit.shard_of(one.subject)):
            audit.append(self._connection, entry, self.now)
        self._audits.clear()

    def finish(
        self, consumer: str, event: Envelope, reply: WireEvent | None, others: Sequence[WireEvent]
    ) -> Sequence[Queued]:
        """See shared.eventing.function.Transaction."""
        queued = outbox.queued(others)
        if not inbox.finish(self._connection, consumer, event, reply, queued):
            raise AlreadyInProgress("another delivery of this event was handled meanwhile")
        return queued


class Store:
    """Opens transactions on one engine. Every method raises StoreUnavailable when a retry may mend it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._by_itself = engine.execution_options(isolation_level="AUTOCOMMIT")

    def claim(self, consumer: str, event: Envelope) -> Claim:
        """See shared.eventing.function.EventStore."""
        with transient_errors(), self._by_itself.connect() as connection:
            return inbox.claim(connection, consumer, event)

    def uncount(self, consumer: str, event: Envelope) -> None:
        """See shared.eventing.function.EventStore."""
        with transient_errors(), self._by_itself.connect() as connection:
            inbox.uncount(connection, consumer, event)

    def now(self) -> datetime:
        """See shared.eventing.function.EventStore."""
        with transient_errors(), self._by_itself.connect() as connection:
            return connection.execute(_NOW).scalar_one()

    def mark_published(self, rows: Sequence[Queued]) -> None:
        """See shared.eventing.function.EventStore."""
        with transient_errors(), self._by_itself.connect() as connection:
            outbox.mark_published(connection, [row.id for row in rows])

    def refuse(self, consumer: str, event: Envelope, reason: str) -> None:
        """See shared.eventing.function.EventStore."""
        with self.begin() as work:
            work.audit(
                "event.refused",
                event.subject or event.source,
                Actor.function(consumer),
                consumer=consumer,
                id=event.id,
                reason=reason,
            )

    @contextmanager
    def transaction(self, now: datetime | None, event: Envelope | None = None) -> Iterator[UnitOfWork]:
        """A unit of work at a moment that PostgreSQL has given before, or None. event: what led to it."""
        with transient_errors(), self._engine.begin() as connection:
            work = UnitOfWork(connection, now)
            if event is not None:
                work.cause = {"event": {"source": event.source, "id": event.id}}
            yield work
            work.write_audits()

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        """A unit of work that asks PostgreSQL for the time itself."""
        with transient_errors(), self._engine.begin() as connection:
            work = UnitOfWork(connection, connection.execute(sa.select(sa.func.now())).scalar_one())
            yield work
            work.write_audits()

    @contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        """A unit of work that sees one moment and can write nothing: PostgreSQL refuses."""
        with transient_errors(), self._engine.begin() as connection:
            connection.execute(_SNAPSHOT)
            yield UnitOfWork(connection, connection.execute(sa.select(sa.func.now())).scalar_one())

    def check_schema(self) -> None:
        """Raises StoreUnavailable for a database that does not answer, or lacks a migration of this release."""
        from shared.store import schema

        with transient_errors(), self._by_itself.connect() as connection:
            schema.check(connection)

    def close(self) -> None:
        """Closes every idle connection."""
        self._engine.dispose()
