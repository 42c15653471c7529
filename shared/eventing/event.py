"""What an event is, on its way in and out, and the registry that event types are declared in.

An `Envelope` is a CloudEvent whose attributes are known to be good and whose data is still JSON or
bytes. An `Event` is an envelope whose type this consumer takes, with its data parsed by that type's
model. An `Outgoing` is data that a handler emits, before it has an id; a `WireEvent` is that
with its attributes, as bytes, exactly as it is stored and sent.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel, JsonValue

from shared.eventing import strict_json
from shared.models.fields import Wire

M = TypeVar("M", bound=BaseModel)

OUTGOING_NAMESPACE = uuid.UUID("5e471e1a-0000-5000-8000-000000000002")
MAX_HOPS = 32
MAX_EVENT_BYTES = 1_048_576 - 1024
"""Of an event that goes out: a Kafka record with its headers may have 1 MiB, and a broker adds headers of its own."""


class EventData(Wire):
    """Base of the data of Sentinel's own event types: camelCase JSON, no unknown field."""


@dataclass(frozen=True)
class EventType:
    """One declared event type.

    terminal: nothing in the chain takes it. raw: its handler judges the data itself and answers a bad
    one with an event, so the endpoint hands it over unparsed. foreign: another system's type, with its
    own rules (no subject needed, unknown fields ignored). repeated: what it brings about, the next tick does too, so
    one that is lost costs time alone. outside: no function emits it, so its hops are counted from here.
    """

    name: str
    data: type[BaseModel]
    terminal: bool
    raw: bool
    foreign: bool
    repeated: bool
    outside: bool
    example: Mapping[str, JsonValue]


class Catalogue:
    """Event types by name. An unknown name is a KeyError, a second declaration a ValueError."""

    def __init__(self) -> None:
        self._types: dict[str, EventType] = {}
        self._names: dict[type[BaseModel], str] = {}

    def declare(
        self,
        name: str,
        *,
        example: Mapping[str, JsonValue],
        terminal: bool = False,
        raw: bool = False,
        foreign: bool = False,
        repeated: bool = False,
        outside: bool = False,
    ) -> Callable[[type[M]], type[M]]:
        """Class decorator: the data model of the event type `name`."""

        def register(model: type[M]) -> type[M]:
            if name in self._types:
                raise ValueError(f"event type {name} is declared twice")
            self._types[name] = EventType(name, model, terminal, raw, foreign, repeated, outside, example)
            self._names[model] = name
            return model

        return register

    def __getitem__(self, name: str) -> EventType:
        return self._types[name]

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def __iter__(self) -> Iterator[EventType]:
        return iter(sorted(self._types.values(), key=lambda t: t.name))

    def name_of(self, model: type[BaseModel]) -> str:
        """The type string that a data model was declared for."""
        return self._names[model]

    def of(self, *models: type[BaseModel]) -> dict[str, EventType]:
        """The declarations of these models, by type string: what a consumer takes."""
        return {self._names[model]: self._types[self._names[model]] for model in models}


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
    received_at: datetime

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
    """Data to emit about `subject`: a workload's id, or a node's."""

    data: EventData
    subject: str


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
