"""The contract as a whole: whatever subscribers answer and whenever the broker restarts, nothing is lost.

Every event that was acknowledged ends in one of three ways, which its subscriber's answers decide: taken, taken with a
reply that is delivered in turn, or in the dead letters with its original bytes.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

import pytest
from aiohttp import web

from knative.local.broker.broker import Broker
from tests.knative.conftest import StartBroker, Subscribe, record
from tests.support.subscribers import HangUp, ManualClock, Received, event, eventually, subscriber

EVENTS = 120
RETRIES = 3
FAILURES = ("503", "409", "429", "hang-up")
ENDS = ("202", "reply", "422", "not an event")


@dataclass(frozen=True)
class Fate:
    """What the subscriber answers to one event: as many failures (more than the retries: for ever), then the end.

    A restart repeats deliveries, so it can only make the broker see fewer of the failures.
    """

    failure: str
    failures: int
    end: str

    @property
    def outcome(self) -> str:
        if self.failures > RETRIES or self.end in ("422", "not an event"):
            return "dead"
        return "replied" if self.end == "reply" else "taken"


class Script:
    """The fates of all events."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.fates = {
            str(number): Fate(chance.choice(FAILURES), chance.choice([0, 0, 1, RETRIES, 1000]), chance.choice(ENDS))
            for number in range(EVENTS)
        }
        self._calls: Counter[str] = Counter()

    def answer(self, received: Received) -> web.Response:
        fate = self.fates[received.id]
        self._calls[received.id] += 1
        what = fate.failure if self._calls[received.id] <= fate.failures else fate.end
        if what == "hang-up":
            raise HangUp
        if what == "reply":
            return event("replied", "reply-" + received.id, received.body)
        if what == "not an event":
            return web.Response(text="OK")
        return web.Response(status=int(what))

    def expected(self, outcome: str) -> set[str]:
        return {number for number, fate in self.fates.items() if fate.outcome == outcome}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
async def test_every_event_ends_as_its_subscriber_decides(
    start_broker: StartBroker, subscribe: Subscribe, seed: int
) -> None:
    clock, script = ManualClock(), Script(seed)
    async with subscriber(script.answer) as taker, subscriber() as follower, subscriber() as sink:
        subscriptions = [
            subscribe(taker.url, "k", sink=sink.url, retry=RETRIES, backoffDelay="PT0.5S"),
            subscribe(follower.url, "replied"),
        ]
        broker = await start_broker(*subscriptions, clock=clock)
        numbers = list(script.fates)
        for part in range(4):
            await asyncio.gather(*(broker.accept(record("k", each, each.encode())) for each in numbers[part::4]))
            if part < 3:  # in the middle of deliveries
                await start_broker.stop(broker, grace=0)
                broker = await start_broker(*subscriptions, clock=clock)
        await _run_dry(broker, clock)

        assert {each.id for each in sink.received} == script.expected("dead")
        assert {each.id for each in follower.received} == {f"reply-{number}" for number in script.expected("replied")}
        assert {each.id for each in taker.received} == set(numbers)
        assert all(each.body.decode() == each.id for each in (*sink.received, *taker.received))


async def _run_dry(broker: Broker, clock: ManualClock) -> None:
    """Lets time pass until nothing is pending."""

    async def dry() -> bool:
        clock.advance(1)
        return not await broker.pending()

    await eventually(dry)
