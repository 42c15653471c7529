"""What was acknowledged takes effect, however long the database is away.

The laptop's broker delivers it, by the production Triggers. Each has fewer retries here, and time is a manual clock.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from events import CATALOGUE
from functions.dead_letter import function as dead_letter
from knative.local.broker.addressables import new_session
from knative.local.broker.broker import Broker
from knative.local.broker.delivery import HttpResponse
from knative.local.broker.wire import Record
from knative.local.resources import loader
from knative.local.resources.loader import Name
from knative.local.runtime import secrets
from knative.local.runtime.assembly import subscriptions
from knative.local.runtime.platform import BASE
from shared.eventing.processing import HttpAnswer, Processor
from shared.models.lifecycle import Phase
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.support.builders import SUBMITTED
from tests.support.chain import TICK, Chain, Message
from tests.support.subscribers import ManualClock, eventually

RETRIES = 3


@dataclass
class Database:
    """The store, or one on a server that is not there."""

    real: Store
    away: bool = False
    nowhere: Store = field(
        default_factory=lambda: Store(
            connect(f"postgresql+pg8000://sentinel@/sentinel?unix_sock=/tmp/{uuid.uuid4()}/.s.PGSQL.5432")
        )
    )

    @property
    def store(self) -> Store:
        return self.nowhere if self.away else self.real


@dataclass
class InProcess:
    """A function as the broker reaches it. `statuses` counts its answers by event type."""

    name: str
    process: Callable[[dict[str, str], bytes], HttpAnswer]
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"http://{self.name}.sentinel.svc.cluster.local/"

    async def post(self, headers: Mapping[str, str], body: bytes | None, timeout: float) -> HttpResponse:
        answer = await asyncio.to_thread(self.process, dict(headers), body or b"")
        self.statuses[headers["ce-type"], answer.status] += 1
        return HttpResponse(answer.status, answer.headers, answer.body)


@dataclass
class Platform:
    """The broker and the functions of a chain, on a database that may be away."""

    broker: Broker
    clock: ManualClock
    database: Database
    functions: dict[str, InProcess]

    async def post(self, message: Message) -> None:
        """As through the ingress: when it returns, the event is acknowledged."""
        headers, body = message
        attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
        await self.broker.accept(Record({**attributes, "datacontenttype": headers["content-type"]}, body))

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Lets time pass until the condition holds."""

        def passed() -> bool:
            self.clock.advance(1)
            return condition()

        await eventually(passed)

    async def drain(self) -> None:
        """Lets time pass until nothing is pending."""

        async def drained() -> bool:
            self.clock.advance(1)
            return not await self.broker.pending()

        await eventually(drained)

    def sent_back(self, type_name: str) -> int:
        """How often the dead-letter function sent an event of this type back into the broker."""
        return self.functions["dead-letter"].statuses[type_name, 200]


@pytest.fixture
async def platform(chain: Chain, tmp_path: Path) -> AsyncIterator[Platform]:
    database, clock = Database(chain.store), ManualClock()

    def processing(function: Any) -> Callable[[dict[str, str], bytes], HttpAnswer]:
        return lambda headers, body: Processor(
            function, database.store, CATALOGUE, f"/sentinel/{function.name}"
        ).process(headers, body)

    functions = {each.name: InProcess(each.name, processing(each)) for each in chain.routes.values()}
    functions["dead-letter"] = InProcess(
        "dead-letter", lambda headers, body: dead_letter.build(database.store)(headers, body)
    )
    manifests = loader.load(BASE, secrets.SUPPLIED)
    triggers = {
        name: trigger
        for name, trigger in manifests.triggers.items()
        if trigger.spec.subscriber.ref is not None and trigger.spec.subscriber.ref.name in functions
    }
    services = {Name("sentinel", name): cast("Any", function) for name, function in functions.items()}
    async with new_session() as session:
        found = subscriptions(Name("sentinel", "default"), replace(manifests, triggers=triggers), services, session)
        few = [replace(one, delivery=one.delivery.model_copy(update={"retry": RETRIES})) for one in found]
        broker = Broker(tmp_path / "broker", few, clock)
        await broker.start()
        yield Platform(broker, clock, database, functions)
        await broker.stop(5)


async def test_submission_and_withdrawal_take_effect_after_an_outage_longer_than_all_retries(
    chain: Chain, platform: Platform
) -> None:
    await asyncio.to_thread(chain.submit, "old")
    await asyncio.to_thread(chain.settle, "old")
    platform.database.away = True
    withdrawn = chain.withdrawn("old")
    await platform.post(chain.submitted("new"))
    await platform.post(withdrawn)
    kinds = (SUBMITTED, withdrawn[0]["ce-type"])
    await platform.wait_for(lambda: all(platform.sent_back(kind) >= 3 for kind in kinds))

    platform.database.away = False
    await platform.drain()
    assert (await asyncio.to_thread(chain.settle, "new")).phase is Phase.HEALTHY
    assert (await asyncio.to_thread(chain.settle, "old")).phase is Phase.REMOVED
    with chain.store.begin() as work:
        assert work.dead_letters.find() == []


async def test_an_event_that_nobody_can_take_waits_for_the_database_and_becomes_one_dead_letter(
    chain: Chain, platform: Platform
) -> None:
    platform.database.away = True
    headers, _ = chain.submitted()
    await platform.post((headers, b"{no json"))
    await platform.wait_for(lambda: platform.sent_back(SUBMITTED) >= 2)
    intake = platform.functions["workload-intake"]
    assert intake.statuses[SUBMITTED, 503] >= 2 * (RETRIES + 1)
    platform.database.away = False
    await platform.drain()
    with chain.store.begin() as work:
        [letter] = work.dead_letters.find()
    assert (letter.body, letter.error_code, letter.attributes["id"]) == (b"{no json", 400, headers["ce-id"])
    assert intake.statuses[SUBMITTED, 400] == 1


async def test_ticks_of_an_outage_are_not_kept(chain: Chain, platform: Platform) -> None:
    platform.database.away = True
    tick = {"ce-specversion": "1.0", "ce-id": "tick", "ce-source": "/ping", "ce-type": TICK}
    await platform.post(({**tick, "content-type": "application/json"}, json.dumps({}).encode()))
    await platform.wait_for(lambda: platform.functions["dead-letter"].statuses[TICK, 202] == 2)
    await platform.drain()
