"""Delivers one Trigger's events: up to 99 in flight, retries when they are due, then the dead-letter sink.

Only what is in flight is in memory; the rest waits in the log, however much it is. A new event that finds a free place
goes straight out; one that does not is left in the log, and fetched when places are free again. A failed attempt is
written down with the time of the next one and gives its place up, so a failing event delays nobody. (The Kafka broker
keeps the place until the last retry: 99 failing events at once would block the Trigger there.)

INVARIANT: a delivery is in flight at most once. `_active` holds the ids; the log hands results out in the order of its
statements, so a row that a fetch found is either still in `_active` or not in flight.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from knative.local.broker import delivery as rules
from knative.local.broker import wire
from knative.local.broker.addressables import Addressable
from knative.local.broker.attempts import DONE, log_attempt, log_unrouted
from knative.local.broker.clock import Clock, Timer
from knative.local.broker.delivery import Delivered, HttpAnswer, Rejected, Retry
from knative.local.broker.log import Log, LogUnavailable, PendingDelivery, Routed
from knative.local.broker.wire import Record
from knative.local.resources.manifests import DeliverySpec, TriggerSpec

_log = logging.getLogger(__name__)
IN_FLIGHT = 99
_REFILL_BELOW = IN_FLIGHT // 3
_LOG_AWAY_SECONDS = 1.0


@dataclass(frozen=True)
class Subscription:
    """A Trigger, resolved: what it takes, where that goes, and how."""

    trigger: str
    namespace: str
    spec: TriggerSpec
    delivery: DeliverySpec
    subscriber: Addressable
    sink: Addressable | None


class Dispatcher:
    """One Trigger's deliveries. `route` finds the Triggers that take a reply."""

    def __init__(self, subscription: Subscription, log: Log, route: Callable[[Record], Routed], clock: Clock) -> None:
        self.subscription = subscription
        self._log = log
        self._route = route
        self._clock = clock
        self._active: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._behind = False
        self._fetching = False
        self._timer: tuple[float, Timer] | None = None
        self._stopped = False

    def start(self) -> None:
        """Takes up what an earlier run left in the log."""
        self._fetch_soon()

    def offer(self, delivery: PendingDelivery) -> None:
        """A delivery that has just become durable and is due."""
        if self._behind or len(self._active) >= IN_FLIGHT or self._stopped:
            self._behind = True
        else:
            self._begin(delivery)

    async def stop(self, grace: float) -> None:
        """Starts nothing more, waits `grace` seconds for what is in flight, and leaves the rest to the next run."""
        self._stopped = True
        if self._timer is not None:
            self._timer[1].cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _begin(self, delivery: PendingDelivery) -> None:
        self._active.add(delivery.id)
        self._spawn(self._deliver(delivery))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: PendingDelivery) -> None:
        try:
            following: PendingDelivery | None = delivery
            while following is not None:
                following = await self._attempt(following)
        except LogUnavailable as error:
            _log.error("the broker's log is not writable; the event will be delivered again: %s", error)
            self._wake_at(self._clock.now() + _LOG_AWAY_SECONDS)
        finally:
            self._active.discard(delivery.id)
        if self._behind and len(self._active) < _REFILL_BELOW:
            self._fetch_soon()

    async def _attempt(self, delivery: PendingDelivery) -> PendingDelivery | None:
        """One attempt. Returns the delivery to go on with at once: the dead letter that it became."""
        subscription = self.subscription
        target = subscription.sink if delivery.dead and subscription.sink else subscription.subscriber
        started = time.perf_counter()
        answer = await target.post(self._headers(delivery), delivery.record.data, subscription.delivery.timeout)
        elapsed = (time.perf_counter() - started) * 1000
        verdict = rules.outcome_of(answer)
        if isinstance(verdict, Delivered):
            reply = self._route(verdict.reply) if verdict.reply else None
            await self._log.complete(delivery, reply, self._clock.now())
            outcome = f"-> {_short(verdict.reply)}" if verdict.reply else verdict.note or DONE
            log_attempt(delivery.record, target.name, outcome, elapsed, ok=not verdict.note)
            if reply is not None and not reply.triggers:
                log_unrouted(reply.record)
            return None
        delay = rules.wait(subscription.delivery, delivery.attempts + 1) if isinstance(verdict, Retry) else None
        if delay is not None:
            due = self._clock.now() + delay
            await self._log.postpone(delivery, due)
            self._wake_at(due)
            outcome = f"{verdict.reason}, again in {delay:g} s ({delivery.attempts + 1}/{subscription.delivery.retry})"
            log_attempt(delivery.record, target.name, outcome, elapsed, ok=False)
            return None
        return await self._give_up(delivery, target, answer, verdict, elapsed)

    async def _give_up(
        self,
        delivery: PendingDelivery,
        target: Addressable,
        answer: HttpAnswer,
        verdict: Retry | Rejected,
        elapsed: float,
    ) -> PendingDelivery | None:
        if self.subscription.sink is None or delivery.dead:
            await self._log.complete(delivery, None, self._clock.now())
            log_attempt(delivery.record, target.name, f"{verdict.reason}, DROPPED", elapsed, ok=False)
            return None
        extensions = rules.dead_letter_extensions(target.url, answer, verdict)
        dead = await self._log.turn_to_dead_letter(delivery, extensions, self._clock.now())
        log_attempt(delivery.record, target.name, f"{verdict.reason}, dead letter", elapsed, ok=False)
        return dead

    def _headers(self, delivery: PendingDelivery) -> dict[str, str]:
        headers = wire.encode(delivery.record)
        headers["prefer"] = "reply"
        headers["kn-namespace"] = self.subscription.namespace
        headers["ce-knativekafkapartition"] = "0"
        headers["ce-knativekafkaoffset"] = str(delivery.id)
        return headers

    def _wake_at(self, due: float) -> None:
        if self._stopped or (self._timer is not None and self._timer[0] <= due):
            return
        if self._timer is not None:
            self._timer[1].cancel()
        self._timer = (due, self._clock.call_later(max(0.0, due - self._clock.now()), self._woken))

    def _woken(self) -> None:
        self._timer = None
        self._fetch_soon()

    def _fetch_soon(self) -> None:
        if self._stopped:
            return
        self._behind = True
        if not self._fetching:
            self._fetching = True
            self._spawn(self._fetch())

    async def _fetch(self) -> None:
        """Fills free places from the log, and sets the timer for what is not due yet."""
        try:
            now = self._clock.now()
            self._behind = False
            found = await self._log.due(self.subscription.trigger, now, IN_FLIGHT)
            for delivery in found:
                if delivery.id not in self._active and len(self._active) < IN_FLIGHT and not self._stopped:
                    self._begin(delivery)
            self._behind = self._behind or len(found) == IN_FLIGHT
            later = await self._log.next_due(self.subscription.trigger, now)
            if later is not None:
                self._wake_at(later)
        except LogUnavailable as error:
            _log.error("the broker's log is not readable: %s", error)
            self._wake_at(self._clock.now() + _LOG_AWAY_SECONDS)
        finally:
            self._fetching = False
        if self._behind and len(self._active) < _REFILL_BELOW:
            self._fetch_soon()


def _short(record: Record) -> str:
    return record.attributes["type"].removeprefix("dev.sentinel.")
