"""Brokers on a temporary directory, subscribed by real HTTP servers."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from knative.local.broker.addressables import HttpAddressable, new_session
from knative.local.broker.broker import Broker
from knative.local.broker.clock import Clock
from knative.local.broker.dispatcher import Subscription
from knative.local.broker.wire import Record
from knative.local.resources.manifests import DeliverySpec, TriggerSpec
from knative.local.runtime import logs


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the platform logged, at every level."""
    stream = io.StringIO()
    handler = logs.LogHandler(stream)
    handler.setFormatter(logs.TextFormatter())
    with logs.following(handler):
        yield stream


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with new_session() as found:
        yield found


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


Subscribe = Callable[..., Subscription]


@pytest.fixture
def subscribe(session: aiohttp.ClientSession) -> Subscribe:
    """Makes a subscription of a URL to one event type (None: to all)."""

    def make(url: str, kind: str | None = None, *, sink: str | None = None, **delivery: Any) -> Subscription:
        spec: dict[str, Any] = {"broker": "default", "subscriber": {"uri": url}}
        if kind is not None:
            spec["filters"] = [{"exact": {"type": kind}}]
        return Subscription(
            trigger=f"sentinel/{kind}-{url}",
            namespace="sentinel",
            spec=TriggerSpec.model_validate(spec),
            delivery=DeliverySpec.model_validate(delivery),
            subscriber=HttpAddressable(url, session),
            sink=HttpAddressable(sink, session) if sink else None,
        )

    return make


@dataclass
class StartBroker:
    """Starts brokers on one directory; stops those that a test left running."""

    directory: Path
    running: list[Broker] = field(default_factory=list)

    async def __call__(self, *subscriptions: Subscription, clock: Clock | None = None) -> Broker:
        broker = Broker(self.directory, subscriptions, clock)
        self.running.append(broker)
        await broker.start()
        return broker

    async def stop(self, broker: Broker, grace: float = 0.1) -> None:
        self.running.remove(broker)
        await broker.stop(grace)


@pytest.fixture
async def start_broker(tmp_path: Path) -> AsyncIterator[StartBroker]:
    start = StartBroker(tmp_path / "broker")
    yield start
    for broker in start.running:
        await broker.stop(0.1)


def fill(broker: Broker) -> None:
    """SQLite refuses every write to the broker's log, as it does on a full disk."""
    broker._log._connection.execute("PRAGMA query_only = ON")


def make_room(broker: Broker) -> None:
    broker._log._connection.execute("PRAGMA query_only = OFF")


def record(kind: str = "k", number: str = "1", data: bytes | None = b"{}", **more: str) -> Record:
    """A small event."""
    attributes = {"specversion": "1.0", "id": number, "source": "/test", "type": kind, "subject": "s", **more}
    return Record(attributes, data)
