"""What a subscriber's answer means, and when to try again: the Kafka broker's rules as pure functions.

- 2xx: with a CloudEvent, that event re-enters the broker; empty, done; anything else in the body, a batch, or an event
  of more than 1 MiB: dead letter at once, with `knativeerrordest` only.
  A 2xx with an event that does not parse and has no body is done: the event is lost without a trace but this log line.
- Network error, truncated answer, timeout, 404, 408, 409, 429, >= 500: tried again `retry` times.
- Every other status: dead letter at once. (The broker follows 303; nothing may depend on it, so it is refused here.)
- Waits are counted from the failed answer: exponential `delay * 2^n`, linear `delay * n`, n from 1; no jitter,
  Retry-After is not read. A delay of zero means no retries at all.
- The dead-letter sink has the same retries; after those the event is dropped. Its own CloudEvent enters the broker.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from knative.local.broker import wire
from knative.local.broker.wire import MalformedRequest, Record, UnusableKey
from knative.local.resources.manifests import DeliverySpec

MAX_EVENT_BYTES = 1_048_576
MAX_ERROR_BYTES = 1024
_RETRIED = frozenset({404, 408, 409, 429})


@dataclass(frozen=True)
class HttpResponse:
    """What came back: `headers` with lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class NoResponse:
    """No response came: the network, a truncated answer, a timeout."""

    reason: str


HttpAnswer = HttpResponse | NoResponse


@dataclass(frozen=True)
class Delivered:
    """Delivered; `reply` goes back into the broker. `note` says what was wrong with an answer that was taken anyway."""

    reply: Record | None = None
    note: str = ""


@dataclass(frozen=True)
class Retry:
    """Not delivered; worth another attempt."""

    reason: str


@dataclass(frozen=True)
class Rejected:
    """Not delivered, and no attempt will change it. `bare`: the dead letter carries neither code nor data."""

    reason: str
    bare: bool = False


DeliveryOutcome = Delivered | Retry | Rejected


def outcome_of(answer: HttpAnswer) -> DeliveryOutcome:
    """The verdict on one attempt."""
    if isinstance(answer, NoResponse):
        return Retry(answer.reason)
    if 200 <= answer.status < 300:
        return _reply(answer)
    if answer.status in _RETRIED or answer.status >= 500:
        return Retry(str(answer.status))
    return Rejected(str(answer.status))


def wait(spec: DeliverySpec, failed: int) -> float | None:
    """Seconds until the next attempt after `failed` (1 or more) failed ones, or None when there is none."""
    if failed > spec.retry or spec.backoff_delay == 0:
        return None
    return spec.backoff_delay * (2**failed if spec.backoff_policy == "exponential" else failed)


def dead_letter_extensions(destination: str, answer: HttpAnswer, verdict: Retry | Rejected) -> dict[str, str]:
    """The extensions of a dead letter: where it was to go, and what came back from there last."""
    extensions = {"knativeerrordest": destination}
    if isinstance(answer, HttpResponse) and not (isinstance(verdict, Rejected) and verdict.bare):
        extensions["knativeerrorcode"] = str(answer.status)
        if answer.body:
            extensions["knativeerrordata"] = base64.b64encode(answer.body[:MAX_ERROR_BYTES]).decode()
    return extensions


def _reply(answer: HttpResponse) -> DeliveryOutcome:
    if not wire.is_event(answer.headers):
        if answer.body:
            return Rejected(f"{answer.status} with a body that is not a CloudEvent", bare=True)
        return Delivered()
    try:
        reply = wire.decode(answer.headers.items(), answer.body)
    except (MalformedRequest, UnusableKey) as error:
        if answer.body:
            return Rejected(f"{answer.status} with a malformed CloudEvent: {error}", bare=True)
        return Delivered(note=f"its reply was lost: {error}")
    if reply.size > MAX_EVENT_BYTES:
        return Rejected(f"{answer.status} with a CloudEvent over 1 MiB", bare=True)
    return Delivered(reply)
