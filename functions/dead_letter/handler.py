"""What becomes of an event that a broker gave up on.

Nothing about it is validated: it may be here because it is malformed. The broker says why in three
extensions (Knative Eventing, delivery failure): `knativeerrordest`, the URL that refused;
`knativeerrorcode`, its status; `knativeerrordata`, base64 of the first 1024 bytes of its answer.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from shared.errors import EventError, MalformedEvent
from shared.eventing import codec
from shared.eventing.processing import HttpAnswer, problem
from shared.models.actor import Actor
from shared.models.dead_letter import DeadLetter, index_key
from shared.operations import dead_letters

if TYPE_CHECKING:
    from shared.store.unit_of_work import Store

ACTOR = Actor.function("dead-letter")

_BROKERS_OWN = ("knativeerror", "knativekafka")
_MAX_REASON = 2000
_UNKNOWN = "no answer, or an answer that the broker could not store or use"
"""Without `knativeerrorcode` nobody knows: the Kafka broker leaves it out too when the answer was 200, and its reply
could not be stored.
"""


def keeper(store: Store) -> Callable[[dict[str, str], bytes], HttpAnswer]:
    """The endpoint's `process`: 202 once the letter is stored."""

    def process(headers: dict[str, str], body: bytes) -> HttpAnswer:
        try:
            letter = read(headers, body)
            with store.begin() as work:
                dead_letters.keep(work, letter, ACTOR)
        except EventError as error:
            return problem(error)
        return HttpAnswer(202, {}, b"", f"kept: {letter.reason}")

    return process


def read(headers: Mapping[str, str], body: bytes) -> DeadLetter:
    """The letter in a binary-mode delivery. Raises MalformedEvent for a request without any `ce-` header."""
    extensions = {name: _storable(value) for name, value in codec.header_attributes(headers).items()}
    if not extensions:
        raise MalformedEvent("not a CloudEvent: there are no ce- headers")
    attributes = {name: value for name, value in extensions.items() if not name.startswith(_BROKERS_OWN)}
    if content_type := headers.get("content-type"):
        attributes["datacontenttype"] = content_type
    code = extensions.get("knativeerrorcode", "")
    return DeadLetter(
        destination=index_key(extensions.get("knativeerrordest", "")),
        source=index_key(attributes.get("source", "")),
        event_id=index_key(attributes.get("id", "")),
        type=attributes.get("type", ""),
        subject=attributes.get("subject"),
        attributes=attributes,
        body=body,
        error_code=int(code) if code.isdecimal() and len(code) < 9 else None,
        reason=_reason(extensions.get("knativeerrordata", ""), code),
    )


def _storable(value: str) -> str:
    """The value, or its bytes as ISO 8859-1 where they are no UTF-8: PostgreSQL stores no half of a character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="surrogateescape").decode("latin-1")
    return value


def _reason(data: str, code: str) -> str:
    """What the destination said: our functions answer {"error": "..."}, others whatever they like."""
    try:
        said = base64.b64decode(data, validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        said = data
    try:
        document = json.loads(said)
        said = str(document["error"]) if isinstance(document, dict) and "error" in document else said
    except (ValueError, RecursionError):
        pass  # not JSON that can be read: the reason is the text itself
    # What JSON may hold and PostgreSQL does not: NUL, and surrogates without their other half.
    said = said.replace("\x00", "").encode(errors="replace").decode()
    return said[:_MAX_REASON] or (f"status {code}" if code else _UNKNOWN)
