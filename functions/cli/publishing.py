"""Events from the command line: durable first, published right after.

An event is in the outbox before anything is sent, so an unavailable broker costs time and not the event: the relay
publishes it with the next tick that finds the broker.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel

from events import CATALOGUE
from functions.cli.connection import PlatformReference
from functions.cli.errors import CommandFailed, complain
from shared.eventing.event import WireEvent
from shared.eventing.publishing import HttpPublisher
from shared.eventing.relay import publish_pending
from shared.store.unit_of_work import Store

SOURCE = "/sentinel/cli"
_OTHERS = 100


def event_about(subject: uuid.UUID | str, data: BaseModel, now: datetime) -> WireEvent:
    """A new event that tells `data`; what the user left out stays out, for intake to default."""
    attributes = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": SOURCE,
        "type": CATALOGUE.name_of(type(data)),
        "subject": str(subject),
        "partitionkey": str(subject),
        "time": now.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
    }
    return WireEvent(attributes, data.model_dump_json(by_alias=True, exclude_unset=True).encode())


def publish(store: Store, platform: PlatformReference, stored: Sequence[WireEvent]) -> None:
    """Publishes what was just put into the outbox, and says so where that has to wait.

    Raises CommandFailed when the broker will never take one of these events.
    """
    if not stored:
        return
    if platform.broker is None:
        complain(f"{_count(stored)} stored; the relay publishes (K_SINK names no broker to publish to from here)")
        return
    relayed = publish_pending(store, HttpPublisher(platform.broker), limit=len(stored) + _OTHERS)
    if relayed.failure:
        complain(f"{_count(stored)} stored, and published later: {relayed.failure}")
    ours = {(event.attributes["source"], event.attributes["id"]) for event in stored}
    refused = [r for r in relayed.refused if (r.event.attributes["source"], r.event.attributes["id"]) in ours]
    if refused:
        raise CommandFailed("\n".join(f"{r.event.attributes['subject']}: {r.reason}" for r in refused))


def _count(events: Sequence[WireEvent]) -> str:
    return "1 event is" if len(events) == 1 else f"{len(events)} events are"
