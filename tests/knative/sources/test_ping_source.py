from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from knative.local.broker.wire import Record
from knative.local.resources.manifests import Metadata, PingSource, PingSourceSpec
from knative.local.sources import ping

START = datetime(2026, 1, 1, 12, 0, 2, 500_000, tzinfo=UTC)


def source(schedule: str = "*/5 * * * * *", **spec: str) -> PingSource:
    sink = {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}}
    return PingSource(
        metadata=Metadata(name="tick", namespace="n"),
        spec=PingSourceSpec.model_validate({"schedule": schedule, "sink": sink, **spec}),
    )


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("*/5 * * * * *", "12:00:05"),
        ("0 */5 * * * *", "12:05:00"),
        ("*/5 * * * *", "12:05:00"),
        ("30 14 * * *", "14:30:00"),
    ],
)
def test_the_next_time(schedule: str, expected: str) -> None:
    assert ping.next_time(schedule, START).strftime("%H:%M:%S") == expected


def test_schedules_are_in_utc() -> None:
    elsewhere = START.astimezone(datetime.strptime("+0530", "%z").tzinfo)
    assert ping.next_time("0 0 13 * * *", elsewhere) == datetime(2026, 1, 1, 13, tzinfo=UTC)


def test_the_event() -> None:
    first = ping.ping(source(data='{"a":1}', contentType="application/json"), START)
    second = ping.ping(source(), START)
    assert {**first.attributes, "id": ""} == {
        "specversion": "1.0",
        "id": "",
        "type": "dev.knative.sources.ping",
        "source": "/apis/v1/namespaces/n/pingsources/tick",
        "time": "2026-01-01T12:00:02Z",
        "datacontenttype": "application/json",
    }
    assert first.data == b'{"a":1}'
    assert second.data is None
    assert first.attributes["id"] != second.attributes["id"]


class Simulation:
    """A clock that moves when the source sleeps; ends the source after some pings."""

    def __init__(self, count: int) -> None:
        self.now = START
        self.pings: list[str] = []
        self._count = count

    def clock(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def accept(self, record: Record) -> None:
        self.pings.append(record.attributes["time"][11:19])
        self.after_ping()
        if len(self.pings) == self._count:
            raise asyncio.CancelledError

    def after_ping(self) -> None:
        pass

    async def run(self) -> list[str]:
        with pytest.raises(asyncio.CancelledError):
            await ping.run(source(), self.accept, self.clock, self.sleep)
        return self.pings


async def test_pings_follow_the_schedule() -> None:
    assert await Simulation(4).run() == ["12:00:05", "12:00:10", "12:00:15", "12:00:20"]


async def test_times_that_passed_meanwhile_are_not_caught_up() -> None:
    class Slept(Simulation):
        def after_ping(self) -> None:
            if len(self.pings) == 2:
                self.now += timedelta(hours=1)

    assert await Slept(4).run() == ["12:00:05", "12:00:10", "13:00:15", "13:00:20"]


async def test_a_sleep_that_ends_early_makes_no_second_ping() -> None:
    class Early(Simulation):
        async def sleep(self, seconds: float) -> None:
            self.now += timedelta(seconds=max(seconds * 0.75, 0.001))

    assert await Early(3).run() == ["12:00:05", "12:00:10", "12:00:15"]


async def test_a_clock_that_is_set_back_does_not_stop_the_pings() -> None:
    class SetBack(Simulation):
        set_back = False

        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if len(self.pings) == 1 and not self.set_back:
                self.set_back = True
                self.now -= timedelta(hours=1)

    assert await SetBack(3).run() == ["12:00:05", "11:00:15", "11:00:20"]
