"""What an event is, on its way in and out.

An `Envelope` is a CloudEvent whose attributes are known to be good and whose data is still JSON or
bytes. An `Event` is an envelope whose type this consumer takes, with its data parsed by that type's
model. An `Outgoing` is data that a handler emits, before it has an id; a `WireEvent` is that
with its attributes, as bytes, exactly as it is stored and sent.

Pydantic is imported for types alone: the agent of GPU nodes sends events, and does not have the memory for it.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from shared.eventing import strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from shared.eventing.event_types import EventData

OUTGOING_NAMESPACE = uuid.UUID("5e471e1a-0000-5000-8000-000000000002")
MAX_HOPS = 32
MAX_EVENT_BYTES = 1_048_576 - 1024
"""Of an event that goes out: a Kafka record with its headers may have 1 MiB, and a broker adds headers of its own."""


@dataclass(frozen=True)
class Envelope:
    """A well-formed CloudEvent: attributes as text, data as the bytes that came and, if JSON, parsed."""

    attributes: Mapping[str, str]
    body: bytes
    data: JsonValue

    @property
    def id(self) -> str:
        return self.attributes["id"]

    @property
    def source(self) -> str:
        return self.attributes["source"]

    @property
    def type(self) -> str:
        return self.attributes["type"]

    @property
    def subject(self) -> str | None:
        return self.attributes.get("subject")

    @cached_property
    def digest(self) -> bytes:
        """A fingerprint of what the event says: equal for redeliveries, different for "same id, other data".

        Values count, not spellings: an ingress may rewrite JSON and timestamps, and brokers add extensions.
        """
        said = {name: value for name, value in self.attributes.items() if name in ("type", "subject", "dataschema")}
        data = strict_json.canonical(self.data) if self.data is not None else self.body
        return hashlib.sha256(strict_json.canonical({**said}) + b"\n" + data).digest()


@dataclass(frozen=True)
class Event:
    """An event that a consumer takes. `data` is an instance of the type's model, or JSON for raw types."""

    envelope: Envelope
    data: Any
    hop: int

    @property
    def id(self) -> str:
        return self.envelope.id

    @property
    def source(self) -> str:
        return self.envelope.source

    @property
    def type(self) -> str:
        return self.envelope.type

    @property
    def subject(self) -> str | None:
        return self.envelope.subject

    @property
    def time(self) -> datetime | None:
        """When the event happened, by its producer's clock; None where it does not say."""
        text = self.envelope.attributes.get("time")
        return None if text is None else datetime.fromisoformat(text.upper())


@dataclass(frozen=True)
class Outgoing:
    """Data to emit about `subject`: a workload's id, or a node's.

    traceparent: where what it tells of began; see shared.tracing.continued. None: here.
    """

    data: EventData
    subject: str
    traceparent: str | None = None


@dataclass(frozen=True)
class WireEvent:
    """A CloudEvent ready to be stored and sent: attributes without prefix, data as JSON bytes."""

    attributes: Mapping[str, str]
    body: bytes

    @property
    def size(self) -> int:
        """Bytes of the body, and of the attributes as headers."""
        return len(self.body) + sum(len(f"ce-{name}{value}".encode()) for name, value in self.attributes.items())


@dataclass(frozen=True)
class Queued:
    """An event in the outbox; `id` names its row."""

    id: uuid.UUID
    event: WireEvent


def outgoing_id(consumer: str, event: Envelope, type_name: str, subject: str, ordinal: int) -> uuid.UUID:
    """The id of the `ordinal`-th event that `consumer` emits on handling `event`.

    A redelivery gives the same ids, and two producers' equal ids never collide, because the source counts.
    """
    parts = (consumer, event.source, event.id, type_name, subject, str(ordinal))
    return uuid.uuid5(OUTGOING_NAMESPACE, "\n".join(parts))
