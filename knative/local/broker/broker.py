"""The broker: which Triggers take an event, and one dispatcher for each of them.

`accept` is what the ingress and the sources call; replies come in through the dispatchers. An event that no Trigger
takes is acknowledged and not kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from knative.local.broker import filters
from knative.local.broker.attempts import log_unrouted
from knative.local.broker.clock import Clock, SystemClock
from knative.local.broker.dispatcher import Dispatcher, Subscription
from knative.local.broker.log import Log, PendingDelivery, Routed
from knative.local.broker.wire import Record

_log = logging.getLogger(__name__)


class Broker:
    """One Broker with its Triggers. `directory` holds its log. Raises LogUnavailable where it cannot be written."""

    def __init__(self, directory: Path, subscriptions: Iterable[Subscription], clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._log = Log(directory, self._announce)
        self._dispatchers = {
            each.trigger: Dispatcher(each, self._log, self._route, self._clock) for each in subscriptions
        }

    async def start(self) -> None:
        """Takes up what an earlier run left. What was pending for a Trigger that is gone is dropped, and said so."""
        for trigger, count in (await self._log.pending()).items():
            if trigger not in self._dispatchers:
                _log.warning("dropped %d events that were pending for %s, a Trigger that is gone", count, trigger)
                await self._log.forget(trigger)
            else:
                _log.info("taking up %d events for %s that an earlier run left", count, trigger)
        for dispatcher in self._dispatchers.values():
            dispatcher.start()

    async def accept(self, record: Record) -> None:
        """Returns when the event is durable. Raises LogUnavailable."""
        routed = self._route(record)
        if routed.triggers:
            await self._log.append(routed, self._clock.now())
        else:
            log_unrouted(record)

    async def pending(self) -> dict[str, int]:
        """How many deliveries are pending, by Trigger."""
        return await self._log.pending()

    async def stop(self, grace: float) -> None:
        """Drains for `grace` seconds; the rest is delivered by the next run."""
        await asyncio.gather(*(dispatcher.stop(grace) for dispatcher in self._dispatchers.values()))
        await self._log.close()

    def _route(self, record: Record) -> Routed:
        taken = [
            name
            for name, each in self._dispatchers.items()
            if filters.matches(each.subscription.spec, record.attributes)
        ]
        return Routed(record, taken)

    def _announce(self, deliveries: Sequence[PendingDelivery]) -> None:
        for delivery in deliveries:
            self._dispatchers[delivery.trigger].offer(delivery)
