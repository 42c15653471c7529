"""How an event is handled: decode, validate, claim, handle, reply. No HTTP server, no threads.

In order:

1. A request that is not a CloudEvent is 400; a type that is not taken, data that does not fit its type,
   or more than 32 hops is 422. A broker retries neither: they go to the dead letters. While the database is away, it is
   told 503 instead: nobody could keep the dead letter.
2. What the next tick repeats (a tick, a notice of an API server) is handled whenever it comes, and so is what has a
   natural key (telemetry): its handler changes nothing the second time. Neither has a row in the inbox, and so no
   stored reply: all that follows goes out through the outbox, and no crash loses that. Telemetry that comes at the same
   time is handled in one transaction, and each event is answered when that is committed.
3. For any other event the inbox is asked. An event that was handled before gets its stored reply, byte for byte, and
   nothing else happens. The same (source, id) with other data is refused and recorded.
4. Otherwise an attempt is counted, durably and apart from the handling, or a failing handler would
   roll the count back. Past the limit the answer is 422. An attempt that ends in 409 or 503 does not count: these
   mean "later", however long that is.
5. The handler runs, and its effects, the reply and the outbox rows commit together or not at all.
6. A caller that sent `Prefer: reply` (every broker does) gets the first outgoing event as the
   answer and forwards it; the rest goes out through the outbox. Any other caller just sees the event,
   and all of them go out through the outbox.
7. What is in the outbox is published right after the commit, before the answer. The relay publishes what is left
   then: after a crash, or while the broker is away.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError

from shared import tracing
from shared.errors import (
    AlreadyInProgress,
    EventError,
    EventTooLarge,
    MalformedEvent,
    PoisonEvent,
    StoreContended,
    StoreUnavailable,
)
from shared.eventing import codec
from shared.eventing.event import (
    MAX_HOPS,
    Envelope,
    Event,
    Outgoing,
    Queued,
    WireEvent,
    outgoing_id,
)
from shared.eventing.event_types import Catalogue, EventType
from shared.eventing.function import MAX_ATTEMPTS, ClusterFunction, Done, EventStore, GroupCommit, TransactionalFunction
from shared.tracing import Span, SpanKind, TraceContext, span_attributes

_HOP = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_MAX_REASON = 2000

GROUP_LOCK_TIMEOUT = timedelta(milliseconds=200)
"""What one event of a group waits for, all the others do as well."""

logger = logging.getLogger("sentinel.processing")


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP answer; `outcome` is the word for the log. trace_id: of the event, "" where it belongs to no trace."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    outcome: str
    trace_id: str = ""

    def in_trace(self, context: TraceContext | None) -> HttpAnswer:
        """The same answer, to an event of that trace."""
        return self if context is None else replace(self, trace_id=context.trace_id)

    def in_span(self, span: Span) -> HttpAnswer:
        """The same answer, which this span of the current trace ends with."""
        span.set({"http.response.status_code": self.status})
        if self.status >= HTTPStatus.BAD_REQUEST:
            span.fail(str(self.status))
        return self.in_trace(tracing.current())


EventRequest = tuple[dict[str, str], bytes]
"""Headers with lower-case names, and the body."""

Finished = tuple[WireEvent | None, Sequence[Queued]]
"""The reply, and what the outbox holds now."""


@dataclass(frozen=True)
class Processor:
    """Handles requests for one function.

    source: the URI reference that its events carry. publish: sends what was put into the outbox, after the commit; it
    raises nothing. Without it, the relay sends everything.
    """

    function: TransactionalFunction[Any] | ClusterFunction[Any, Any, Any]
    store: EventStore[Any]
    catalogue: Catalogue
    source: str
    publish: Callable[[Sequence[Queued]], None] | None = None

    def process(self, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """The answer to one request. Header names are lower-case. Raises nothing on purpose but EventError's kin."""
        wants_reply = _wants_reply(headers)
        try:
            envelope = codec.decode(headers, body)
        except EventError as error:
            return self._refusal(error, wants_reply=wants_reply)
        context = tracing.carried(envelope.attributes) or tracing.carried(headers)
        with tracing.within(context, "receive", SpanKind.CONSUMER, span_attributes(envelope.attributes)) as span:
            return self._answer(envelope, wants_reply=wants_reply).in_span(span)

    def _answer(self, envelope: Envelope, *, wants_reply: bool) -> HttpAnswer:
        try:
            return self._handle(envelope, wants_reply=wants_reply)
        except (AlreadyInProgress, StoreUnavailable) as error:
            return problem(error)
        except EventError as error:
            return self._refusal(error, wants_reply=wants_reply)

    def process_together(
        self, requests: Sequence[EventRequest], group_commit: GroupCommit[Any, Any]
    ) -> list[HttpAnswer]:
        """The answers to requests that are handled in one transaction, in their order.

        An event that is refused is left out, and changes nothing for the others. Raises StoreContended, or what is a
        defect of ours, when they can only be handled one by one. One span stands for all; it links to their traces.
        """
        with tracing.within(None, "receive", SpanKind.CONSUMER, {"messaging.batch.message_count": len(requests)}):
            return self._answers(requests, group_commit)

    def _answers(self, requests: Sequence[EventRequest], group_commit: GroupCommit[Any, Any]) -> list[HttpAnswer]:
        answers: list[HttpAnswer] = []
        read: dict[int, Any] = {}
        for number, (headers, body) in enumerate(requests):
            try:
                attributes, said = self._read(headers, body, group_commit)
                if said is None:
                    answers.append(self.process(headers, body))
                    continue
                read[number] = said
                context = tracing.carried(attributes) or tracing.carried(headers)
                tracing.link(context)
                answers.append(_reply(None, "handled").in_trace(context))
            except EventError as error:
                answers.append(self._refusal(error, wants_reply=_wants_reply(headers)))
        if not read:
            return answers
        try:
            with self.store.transaction(None) as transaction:
                transaction.limit_lock_waits(GROUP_LOCK_TIMEOUT)
                group_commit.write(list(read.values()), transaction)
        except StoreContended:
            raise
        except StoreUnavailable as error:
            return [problem(error) if number in read else answer for number, answer in enumerate(answers)]
        return answers

    def _read(
        self, headers: Mapping[str, str], body: bytes, group_commit: GroupCommit[Any, Any]
    ) -> tuple[Mapping[str, str], Any]:
        """The attributes of an event and what it says; None where it is of no type of the group.

        The latter is for a structured event, which may differ from its headers. Raises EventError.
        """
        attributes = codec.binary_attributes(headers)
        if attributes is not None:
            codec.check(attributes)
            if (said := group_commit.read_plain(attributes, body)) is not None:
                return attributes, said
        envelope = codec.decode(headers, body)
        if envelope.type not in group_commit.types:
            return envelope.attributes, None
        _, data, hop = self._validated(envelope)
        return envelope.attributes, group_commit.read(Event(envelope, data, hop))

    def _refusal(self, error: EventError, *, wants_reply: bool) -> HttpAnswer:
        """The answer to an event that is refused; to a broker, 503 while nobody could keep the dead letter.

        Without this, the dead-letter function would send the event back into the broker, and it would be refused again
        at once, and so on.
        """
        if not wants_reply:
            return problem(error)
        try:
            self.store.now()
        except StoreUnavailable as away:
            return problem(away)
        return problem(error)

    def _handle(self, envelope: Envelope, *, wants_reply: bool) -> HttpAnswer:
        name = self.function.name
        declared, data, hop = self._validated(envelope)
        if not declared.is_claimed:
            now = self.store.now() if declared.repeated else None
            return _reply(self._run(Event(envelope, data, hop), now, wants_reply), "handled")
        claim = self.store.claim(name, envelope)
        if not claim.same_data:
            reason = f"another event with the source {envelope.source!r} and the id {envelope.id!r} had other data"
            self.store.refuse(name, envelope, reason)
            raise PoisonEvent(reason)
        if claim.handled:
            return _reply(claim.reply, "duplicate")
        if claim.attempts > MAX_ATTEMPTS:
            raise PoisonEvent(f"{MAX_ATTEMPTS} attempts failed; redrive the dead letter to try again")
        try:
            return _reply(self._run(Event(envelope, data, hop), claim.now, wants_reply), "handled")
        except (AlreadyInProgress, StoreUnavailable):
            self._uncount(envelope)
            raise

    def _validated(self, envelope: Envelope) -> tuple[EventType, Any, int]:
        declared = self.function.accepts.get(envelope.type)
        if declared is None:
            known = (
                "this function takes" if envelope.type in self.catalogue else "unknown event type; this function takes"
            )
            raise PoisonEvent(f"{envelope.type[:200]!r}: {known} {', '.join(sorted(self.function.accepts))}")
        hop = 0 if declared.outside else _hop(envelope)
        if declared.raw:
            return declared, envelope.data, hop
        if not declared.foreign and not envelope.subject:
            raise PoisonEvent(f"an event of type {declared.name} needs a subject")
        data = envelope.data if isinstance(envelope.data, dict) or not declared.foreign else {}
        try:
            return declared, declared.data.model_validate(data), hop
        except ValidationError as error:
            raise PoisonEvent(f"the data does not fit {declared.name}: {describe(error)}") from None

    def _run(self, event: Event, now: datetime | None, wants_reply: bool) -> WireEvent | None:
        reply, queued = self._committed(event, now, wants_reply)
        if self.publish is not None:
            self.publish(queued)
        return reply

    def _uncount(self, envelope: Envelope) -> None:
        try:
            self.store.uncount(self.function.name, envelope)
        except StoreUnavailable as error:
            logger.warning("an attempt at %s stays counted: %s", envelope.id, error)

    def _committed(self, event: Event, now: datetime | None, wants_reply: bool) -> Finished:
        function = self.function
        if isinstance(function, TransactionalFunction):
            with self.store.transaction(now, event.envelope) as transaction:
                return self._finish(event, function.handle(event, transaction), transaction, wants_reply)
        with self.store.transaction(now, event.envelope) as transaction:
            work = function.prepare(event, transaction)
            if isinstance(work, Done):
                return self._finish(event, work.outgoing, transaction, wants_reply)
        result = function.perform(work)
        try:
            with self.store.transaction(now, event.envelope) as transaction:
                outgoing = function.conclude(event, work, result, transaction)
                return self._finish(event, outgoing, transaction, wants_reply)
        except AlreadyInProgress:
            if function.overtaken is not None:
                with self.store.transaction(now, event.envelope) as transaction:
                    function.overtaken(work, result, transaction)
            raise

    def _finish(self, event: Event, outgoing: Sequence[Outgoing], transaction: Any, wants_reply: bool) -> Finished:
        wires = [self._wire(event, one, ordinal, transaction.now) for ordinal, one in enumerate(outgoing)]
        if not self.function.accepts[event.type].is_claimed:
            return None, transaction.add_to_outbox(wires)
        reply = wires[0] if wires else None
        others = wires[1:] if wants_reply else wires
        return reply, transaction.finish(self.function.name, event.envelope, reply, others)

    def _wire(self, event: Event, outgoing: Outgoing, ordinal: int, at: datetime) -> WireEvent:
        type_name = self.catalogue.name_of(type(outgoing.data))
        # A redelivery of what is repeated finds another state, and says something else: never under the same id.
        wire_id = (
            uuid.uuid4()
            if self.function.accepts[event.type].repeated
            else outgoing_id(self.function.name, event.envelope, type_name, outgoing.subject, ordinal)
        )
        return wire_event(self.catalogue, self.source, outgoing, wire_id, at, hop=event.hop + 1)


def wire_event(
    catalogue: Catalogue,
    source: str,
    outgoing: Outgoing,
    wire_id: uuid.UUID,
    at: datetime,
    *,
    hop: int = 0,
) -> WireEvent:
    """An outgoing event as it is sent, with its trace. Raises PoisonEvent.

    hop: 0 for one that no event has led to.
    """
    type_name = catalogue.name_of(type(outgoing.data))
    context = tracing.continued(outgoing.traceparent)
    wire = WireEvent(
        {
            "specversion": "1.0",
            "id": str(wire_id),
            "source": source,
            "type": type_name,
            "subject": outgoing.subject,
            "partitionkey": outgoing.subject,
            "hop": str(hop),
            "time": at.isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            **(context.attributes if context is not None else {}),
        },
        outgoing.data.model_dump_json(by_alias=True).encode(),
    )
    try:
        codec.check(wire.attributes)
        codec.check_size(wire)
    # What cannot be carried would be lost on the way, or stay in the outbox, and the chain would end there.
    except (MalformedEvent, EventTooLarge) as error:
        raise PoisonEvent(f"its {type_name} could not be sent: {error}") from None
    return wire


def problem(error: EventError) -> HttpAnswer:
    """The answer that carries the reason of an error, and nothing of our insides."""
    body = json.dumps({"error": str(error)[:_MAX_REASON]}).encode()
    return HttpAnswer(error.status, {"content-type": "application/json"}, body, f"refused: {error}")


def describe(error: ValidationError) -> str:
    """Every bad field with its fix: "resources.gpu.count: Input should be ...; name: Field required"."""
    return "; ".join(f"{path or 'data'}: {message}" for path, message in bad_fields(error))


def bad_fields(error: ValidationError) -> list[tuple[str, str]]:
    """(dotted path, message) of every bad field. Values are left out: they may be secrets, or huge."""
    return advised_fields(error.errors(include_url=False, include_context=False))


def advised_fields(errors: Sequence[Any]) -> list[tuple[str, str]]:
    """The same of errors as pydantic lists them."""
    found = []
    for one in errors:
        if one["type"] == "too_short" and any(_inside(other["loc"], one["loc"]) for other in errors):
            continue  # pydantic leaves bad items out before it counts; their own errors are already here
        path = ".".join(_legible(str(part)[:80]) for part in one["loc"])
        found.append((path, _advised(one["type"], one["msg"].removeprefix("Value error, "), one["input"])))
    return found


def _advised(kind: str, message: str, given: object) -> str:
    """The message, with what to write where JSON or YAML has read another type than was meant."""
    if kind == "string_type":
        match given:
            case None:
                return 'must be text, not null: write "" for empty text, or leave it out'
            case bool():
                return "must be text, not true or false: put quotes around it"
            case int() | float():
                return "must be text, not a number: put quotes around it"
            case _:
                return f"must be text, not {'a list' if isinstance(given, list) else 'an object'}"
    if kind in ("int_type", "float_type") and isinstance(given, str) and _NUMBER.fullmatch(given):
        return f"{message}: leave the quotes out"
    return message


def _inside(path: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer


def _legible(part: str) -> str:
    """A key of the caller's own, so that it cannot forge a line of a log."""
    return part if part.isprintable() else ascii(part)


def _wants_reply(headers: Mapping[str, str]) -> bool:
    return "reply" in headers.get("prefer", "")


def _reply(event: WireEvent | None, outcome: str) -> HttpAnswer:
    if event is None:
        return HttpAnswer(202, {}, b"", outcome)
    headers, body = codec.encode(event)
    return HttpAnswer(200, headers, body, f"{outcome} -> {event.attributes['type']}")


def _hop(envelope: Envelope) -> int:
    text = envelope.attributes.get("hop", "0")
    if not _HOP.fullmatch(text):
        raise PoisonEvent(f"the extension 'hop' must be a whole number, not {text[:20]!r}")
    hop = int(text)
    if hop > MAX_HOPS:
        raise PoisonEvent(f"the event went through {hop} hops; the limit is {MAX_HOPS}: it goes round in a loop")
    return hop
