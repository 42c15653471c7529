"""What becomes of an event that a broker gave up on.

1. An answer that meant "later" is no reason to give up. The event goes back into the broker, as this function's reply:
   the same event under the same id, which its consumers are asked for again. So it waits for as long as the database
   is away, with the waits of its Trigger, and needs no database meanwhile.
2. An event that its consumer has handled is no dead letter either: the broker could not store the reply, or heard no
   answer in time. The stored reply goes into the broker now.
3. Any other becomes a dead letter. Nothing about it is validated: it may be here because it is malformed.
4. While the dead letter cannot be stored, the event goes back into the broker as well. It does not come round at once:
   a function answers 503 in place of a refusal while the database is away (see shared.eventing.processing).

What the next tick does anyway is dropped in place of going back, and where no answer came.

The broker says why in three extensions (Knative Eventing, delivery failure): `knativeerrordest`, the URL that refused;
`knativeerrorcode`, its status; `knativeerrordata`, base64 of the first 1024 bytes of its answer.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from events import CATALOGUE
from shared import tracing
from shared.errors import EventError, MalformedEvent, StoreUnavailable
from shared.eventing import codec
from shared.eventing.event import WireEvent
from shared.eventing.processing import HttpAnswer, problem
from shared.models.actor import Actor
from shared.models.dead_letter import DeadLetter, index_key
from shared.operations import dead_letters
from shared.tracing import SpanKind, span_attributes

if TYPE_CHECKING:
    from shared.store.unit_of_work import Store

ACTOR = Actor.function("dead-letter")

_BROKERS_OWN = ("knativeerror", "knativekafka")
_LATER = frozenset({408, 409, 429, 502, 503, 504})
"""Our functions answer 409 and 503 when they mean "later". The others come from a proxy before them."""
_MAX_REASON = 2000
_UNKNOWN = "no answer, or an answer that the broker could not store or use"
"""Without `knativeerrorcode` nobody knows: the Kafka broker leaves it out too when the answer was 200, and its reply
could not be stored.
"""


def keeper(store: Store) -> Callable[[dict[str, str], bytes], HttpAnswer]:
    """The endpoint's `process`: 202 once the letter is stored, and 200 with an event that is to be tried again."""

    def process(headers: dict[str, str], body: bytes) -> HttpAnswer:
        try:
            letter = read(headers, body)
        except EventError as error:
            return problem(error)
        context = tracing.carried(letter.attributes)
        with tracing.within(context, "receive", SpanKind.CONSUMER, span_attributes(letter.attributes)) as span:
            return _answer(store, letter, headers).in_span(span)

    return process


def _answer(store: Store, letter: DeadLetter, headers: Mapping[str, str]) -> HttpAnswer:
    wants_reply = "reply" in headers.get("prefer", "")
    if wants_reply and letter.error_code in _LATER:
        return _again(letter, headers, f"status {letter.error_code}")
    if letter.error_code is None and _is_repeated(letter):
        return _dropped(letter.reason)
    try:
        with store.begin() as work:
            handled = dead_letters.handled(work, letter)
            if handled is None:
                dead_letters.keep(work, letter, ACTOR)
    except StoreUnavailable as away:
        return _again(letter, headers, str(away)) if wants_reply else problem(away)
    except EventError as error:
        return problem(error)
    if handled is None:
        return HttpAnswer(202, {}, b"", f"kept: {letter.reason}")
    return _passed_on(handled.reply if wants_reply else None)


def _again(letter: DeadLetter, headers: Mapping[str, str], why: str) -> HttpAnswer:
    """The event as it came, without what the broker added: its bytes and header values are not written anew."""
    if _is_repeated(letter):
        return _dropped(why)
    return HttpAnswer(200, _own_headers(headers), letter.body, f"tried again: {why}")


def _is_repeated(letter: DeadLetter) -> bool:
    return letter.type in CATALOGUE and CATALOGUE[letter.type].repeated


def _dropped(why: str) -> HttpAnswer:
    return HttpAnswer(202, {}, b"", f"dropped, because the next tick does the same: {why}")


def _passed_on(reply: WireEvent | None) -> HttpAnswer:
    if reply is None:
        return HttpAnswer(202, {}, b"", "handled before")
    headers, body = codec.encode(reply)
    return HttpAnswer(200, headers, body, f"handled before -> {reply.attributes['type']}")


def _own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in headers.items() if name.startswith("ce-")}
    own = {name: value for name, value in own.items() if not name.removeprefix("ce-").startswith(_BROKERS_OWN)}
    return own | {name: headers[name] for name in ("content-type",) if name in headers}


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
        consumer=_service(extensions.get("knativeerrordest", "")),
        digest=_digest(attributes, body),
    )


def _service(destination: str) -> str:
    """The Knative Service at a URL, which our functions are called after: `http://<service>.<namespace>.svc...`."""
    try:
        return (urlsplit(destination).hostname or "").partition(".")[0]
    except ValueError:
        return ""


def _digest(attributes: Mapping[str, str], body: bytes) -> bytes | None:
    try:
        return codec.envelope(attributes, body).digest
    except MalformedEvent:
        return None


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
