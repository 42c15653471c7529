"""What a function is to the endpoint, and what the endpoint asks of the store.

Two forms. A `TransactionalFunction` does all its work in one transaction. A `ClusterFunction` touches a
cluster between two: `prepare` records the intent (and a lease), `perform` does the I/O with no
transaction open, `conclude` records the outcome together with the reply. A redelivery between the two
performs again, so `perform` is idempotent. When another delivery concluded first, `overtaken` may record what this one
has done to the cluster all the same. When there is nothing to perform, `prepare` returns `Done` and
the first transaction is the only one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from shared.eventing.event import Envelope, Event, Outgoing, Queued, WireEvent

if TYPE_CHECKING:
    from shared.eventing.event_types import EventType

MAX_ATTEMPTS = 42
"""How often an event may crash its function or meet a defect of ours: with the waits of our Triggers, within 45 s."""

U_co = TypeVar("U_co", bound="Transaction", covariant=True)
U = TypeVar("U", bound="Transaction")
W = TypeVar("W")
R = TypeVar("R")


@dataclass(frozen=True)
class Claim:
    """What the inbox knows of an event. `reply` is meaningful only when it was `handled` before.

    attempts: how often it was tried, this time included. now: PostgreSQL's clock, UTC.
    """

    handled: bool
    same_data: bool
    attempts: int
    now: datetime
    reply: WireEvent | None = None


class Transaction(Protocol):
    """An open transaction; what it did is kept only when its `with` block ends without an error."""

    @property
    def now(self) -> datetime:
        """PostgreSQL's clock when it began, or the moment that it was given; UTC."""

    def finish(
        self, consumer: str, event: Envelope, reply: WireEvent | None, others: Sequence[WireEvent]
    ) -> Sequence[Queued]:
        """Stores the reply, and the others in the outbox, in their order; returns those.

        Raises AlreadyInProgress if another delivery was faster.
        """

    def limit_lock_waits(self, most: timedelta) -> None:
        """From now on, a statement waits at most so long for a lock; then the transaction ends in StoreContended."""

    def add_to_outbox(self, events: Sequence[WireEvent]) -> Sequence[Queued]:
        """Puts events into the outbox, in their order; returns them. Raises EventTooLarge."""


class EventStore(Protocol[U_co]):
    """The durable memory of a consumer. Its methods raise StoreUnavailable."""

    def claim(self, consumer: str, event: Envelope) -> Claim:
        """Counts an attempt, in a transaction of its own, unless the event was handled before."""

    def uncount(self, consumer: str, event: Envelope) -> None:
        """Takes the last attempt back, in a transaction of its own: it ended in "later"."""

    def now(self) -> datetime:
        """PostgreSQL's clock, UTC."""

    def mark_published(self, rows: Sequence[Queued]) -> None:
        """Notes that the broker has these events, in a transaction of its own."""

    def refuse(self, consumer: str, event: Envelope, reason: str) -> None:
        """Leaves an audit row of an event that was refused, in a transaction of its own."""

    def transaction(self, now: datetime | None, event: Envelope | None = None) -> AbstractContextManager[U_co]:
        """A unit of work that commits at the end of the block. event: what led to it, for the audit log.

        now: the moment that it goes by; None: it asks PostgreSQL for the time when somebody wants to know it.
        """


@dataclass(frozen=True)
class GroupCommit(Generic[U, W]):
    """How many events are handled in one transaction. They have a natural key, and nothing is emitted for them.

    types: of the events. read: what one says; raises PoisonEvent. write: stores what all of them say, in any order.
    read_plain: the same of one in binary mode, from its attributes and bytes, and faster; None where `read` has to.
    """

    types: Collection[str]
    read: Callable[[Event], W]
    write: Callable[[Sequence[W], U], None]
    read_plain: Callable[[Mapping[str, str], bytes], W | None]


@dataclass(frozen=True)
class TransactionalFunction(Generic[U]):
    """A function whose whole effect is one transaction. group_commit: for events that it may handle many at once."""

    name: str
    accepts: Mapping[str, EventType]
    handle: Callable[[Event, U], Sequence[Outgoing]]
    group_commit: GroupCommit[U, Any] | None = None


@dataclass(frozen=True)
class Done:
    """What `prepare` returns when its own transaction was all there was to do."""

    outgoing: Sequence[Outgoing] = ()


@dataclass(frozen=True)
class ClusterFunction(Generic[U, W, R]):
    """A function that touches a cluster, or asks a Prometheus, between two transactions. group_commit: as above."""

    name: str
    accepts: Mapping[str, EventType]
    prepare: Callable[[Event, U], W | Done]
    perform: Callable[[W], R]
    conclude: Callable[[Event, W, R, U], Sequence[Outgoing]]
    overtaken: Callable[[W, R, U], None] | None = None
    group_commit: GroupCommit[U, Any] | None = None
