"""Dead letters: events that a broker gave up on, with their original bytes and the reason."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from shared.models.moments import rfc3339

# Characters: three of them and a hash must stay below 2,704 bytes, PostgreSQL's limit for an index entry.
_LONGEST_KEY = 400


def index_key(text: str) -> str:
    """Text that fits an index: a long one ends in the hash of the whole. The attributes hold all of it."""
    if len(text) <= _LONGEST_KEY:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[: _LONGEST_KEY - len(digest) - 1]}…{digest}"


@dataclass(frozen=True)
class DeadLetter:
    """An event that nobody could handle.

    destination: the URL it could not be delivered to. error_code: the last HTTP answer, None when there was none.
    consumer: the function at that URL, as the inbox names it. digest: of what the event says (Envelope.digest), None
    for what is no event.
    """

    destination: str
    source: str
    event_id: str
    type: str
    subject: str | None
    attributes: Mapping[str, str]
    body: bytes
    error_code: int | None
    reason: str
    id: uuid.UUID | None = None
    deliveries: int = 1
    created_at: datetime | None = None
    redriven_at: datetime | None = None
    consumer: str = ""
    digest: bytes | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The letter for machines, without its event."""
        return {
            "id": str(self.id),
            "type": self.type,
            "subject": self.subject,
            "eventId": self.event_id,
            "source": self.source,
            "destination": self.destination,
            "code": self.error_code,
            "reason": self.reason,
            "deliveries": self.deliveries,
            "createdAt": rfc3339(self.created_at),
            "redrivenAt": rfc3339(self.redriven_at),
        }
