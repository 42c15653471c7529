"""Delivery over real HTTP: what subscribers get, and what becomes of their answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from knative.local.broker.broker import Broker
from knative.local.broker.dispatcher import IN_FLIGHT
from knative.local.broker.log import LogUnavailable
from tests.knative.conftest import StartBroker, Subscribe, fill, make_room, record
from tests.support.subscribers import ManualClock, Received, event, eventually, subscriber


async def drained(broker: Broker) -> bool:
    return not await broker.pending()


def is_drained(broker: Broker) -> Callable[[], Awaitable[bool]]:
    return lambda: drained(broker)


async def test_an_event_arrives_in_binary_mode(start_broker: StartBroker, subscribe: Subscribe) -> None:
    async with subscriber() as taker:
        broker = await start_broker(subscribe(taker.url, "k"))
        await broker.accept(record("k", "7", b'{"a": 1}', partitionkey="p", datacontenttype="application/json"))
        await taker.wait_for_count(1)
        headers = taker.received[0].headers
        assert taker.received[0].body == b'{"a": 1}'
        assert headers["content-type"] == "application/json"
        assert headers["prefer"] == "reply"
        assert headers["kn-namespace"] == "sentinel"
        assert {name: value for name, value in headers.items() if name.startswith("ce-")} == {
            "ce-specversion": "1.0",
            "ce-id": "7",
            "ce-source": "/test",
            "ce-type": "k",
            "ce-subject": "s",
            "ce-partitionkey": "p",
            "ce-knativekafkapartition": "0",
            "ce-knativekafkaoffset": "1",
        }
        await eventually(is_drained(broker))


async def test_only_matching_triggers_get_an_event(
    start_broker: StartBroker, subscribe: Subscribe, lines: io.StringIO
) -> None:
    async with subscriber() as one, subscriber() as other, subscriber() as everything:
        broker = await start_broker(subscribe(one.url, "one"), subscribe(other.url, "other"), subscribe(everything.url))
        await broker.accept(record("one", "1"))
        await broker.accept(record("none", "2"))
        await everything.wait_for_count(2)
        await eventually(is_drained(broker))
        assert [each.id for each in one.received] == ["1"]
        assert other.received == []


async def test_an_event_that_no_trigger_takes_is_not_kept(
    start_broker: StartBroker, subscribe: Subscribe, lines: io.StringIO
) -> None:
    async with subscriber() as taker:
        broker = await start_broker(subscribe(taker.url, "other"))
        await broker.accept(record("none"))
        assert await drained(broker)
        assert "no trigger" in lines.getvalue()


async def test_a_reply_enters_the_broker(start_broker: StartBroker, subscribe: Subscribe) -> None:
    async with subscriber(lambda _: event("second", "2", b'{"b":2}', subject="x")) as first, subscriber() as second:
        broker = await start_broker(subscribe(first.url, "first"), subscribe(second.url, "second"))
        await broker.accept(record("first", partitionkey="p"))
        await second.wait_for_count(1)
        received = second.received[0]
        assert (received.id, received.body) == ("2", b'{"b":2}')
        assert "ce-partitionkey" not in received.headers
        await eventually(is_drained(broker))


async def test_a_reply_that_nobody_takes_ends_the_chain_and_is_said(
    start_broker: StartBroker, subscribe: Subscribe, lines: io.StringIO
) -> None:
    async with subscriber(lambda _: event("last", "2")) as taker:
        broker = await start_broker(subscribe(taker.url, "first"))
        await broker.accept(record("first"))
        await eventually(is_drained(broker))
        outcomes = [line.split("ms  ")[1] for line in lines.getvalue().splitlines()]
        assert outcomes == ["-> last", "no trigger"]


async def test_retries_follow_the_schedule(start_broker: StartBroker, subscribe: Subscribe) -> None:
    clock = ManualClock()
    async with subscriber(lambda _: web.Response(status=503)) as taker:
        broker = await start_broker(subscribe(taker.url, "k", retry=3, backoffDelay="PT0.2S"), clock=clock)
        await broker.accept(record("k"))
        for attempt, wait in enumerate([0.4, 0.8, 1.6], start=1):
            await taker.wait_for_count(attempt)
            await eventually(lambda expected=wait: clock.waits == [expected])  # type: ignore[misc]  # a default binds it now
            clock.advance(wait)
        await eventually(is_drained(broker))
        assert len(taker.received) == 4


async def test_a_retry_that_succeeds_ends_it(start_broker: StartBroker, subscribe: Subscribe) -> None:
    clock = ManualClock()
    answers = iter([409, 202])
    async with subscriber(lambda _: web.Response(status=next(answers))) as taker:
        broker = await start_broker(subscribe(taker.url, "k", retry=3), clock=clock)
        await broker.accept(record("k"))
        await eventually(lambda: clock.waits == [0.4])
        clock.advance(0.4)
        await eventually(is_drained(broker))
        assert [each.headers["ce-knativekafkaoffset"] for each in taker.received] == ["1", "1"]


async def test_poison_goes_to_the_dead_letters_at_once(start_broker: StartBroker, subscribe: Subscribe) -> None:
    async with subscriber(lambda _: web.Response(status=422, body=b"bad")) as taker, subscriber() as sink:
        broker = await start_broker(subscribe(taker.url, "k", sink=sink.url + "dead?a=b", retry=5))
        await broker.accept(record("k", "9", b"\x00original"))
        await sink.wait_for_count(1)
        dead = sink.received[0]
        assert dead.path == "/dead?a=b"
        assert (dead.id, dead.body) == ("9", b"\x00original")
        assert dead.headers["ce-knativeerrordest"] == taker.url
        assert dead.headers["ce-knativeerrorcode"] == "422"
        assert base64.b64decode(dead.headers["ce-knativeerrordata"]) == b"bad"
        assert len(taker.received) == 1
        await eventually(is_drained(broker))


async def test_a_success_that_is_no_event_is_a_bare_dead_letter(
    start_broker: StartBroker, subscribe: Subscribe
) -> None:
    async with subscriber(lambda _: web.Response(text="OK")) as taker, subscriber() as sink:
        broker = await start_broker(subscribe(taker.url, "k", sink=sink.url, retry=5))
        await broker.accept(record("k"))
        await sink.wait_for_count(1)
        reasons = [name for name in sink.received[0].headers if name.startswith("ce-knativeerror")]
        assert reasons == ["ce-knativeerrordest"]
        assert len(taker.received) == 1


async def test_an_unreachable_subscriber_ends_in_the_dead_letters_without_a_code(
    start_broker: StartBroker, subscribe: Subscribe
) -> None:
    clock = ManualClock()
    async with subscriber() as gone:
        url = gone.url
    async with subscriber() as sink:
        broker = await start_broker(subscribe(url, "k", sink=sink.url, retry=1), clock=clock)
        await broker.accept(record("k"))
        await eventually(lambda: clock.waits == [0.4])
        clock.advance(0.4)
        await sink.wait_for_count(1)
        assert sink.received[0].headers["ce-knativeerrordest"] == url
        assert "ce-knativeerrorcode" not in sink.received[0].headers


async def test_a_dead_letter_sink_is_retried_and_then_the_event_is_dropped(
    start_broker: StartBroker, subscribe: Subscribe, lines: io.StringIO
) -> None:
    clock = ManualClock()
    async with (
        subscriber(lambda _: web.Response(status=400)) as taker,
        subscriber(lambda _: web.Response(status=500)) as sink,
    ):
        broker = await start_broker(subscribe(taker.url, "k", sink=sink.url, retry=1), clock=clock)
        await broker.accept(record("k"))
        await eventually(lambda: clock.waits == [0.4])
        clock.advance(0.4)
        await eventually(is_drained(broker))
        assert (len(taker.received), len(sink.received)) == (1, 2)
        assert "DROPPED" in lines.getvalue()


async def test_the_sink_s_own_reply_enters_the_broker(start_broker: StartBroker, subscribe: Subscribe) -> None:
    async with (
        subscriber(lambda _: web.Response(status=400)) as taker,
        subscriber(lambda _: event("buried", "b")) as sink,
        subscriber() as after,
    ):
        broker = await start_broker(subscribe(taker.url, "k", sink=sink.url), subscribe(after.url, "buried"))
        await broker.accept(record("k"))
        await after.wait_for_count(1)
        assert after.received[0].id == "b"


async def test_without_a_sink_the_event_is_dropped(
    start_broker: StartBroker, subscribe: Subscribe, lines: io.StringIO
) -> None:
    async with subscriber(lambda _: web.Response(status=400)) as taker:
        broker = await start_broker(subscribe(taker.url, "k"))
        await broker.accept(record("k"))
        await eventually(is_drained(broker))
        assert "400, DROPPED" in lines.getvalue()


async def test_a_subscriber_that_stalls_runs_into_the_timeout(start_broker: StartBroker, subscribe: Subscribe) -> None:
    never = asyncio.Event()

    async def stall(_: Received) -> web.Response:
        await never.wait()
        return web.Response()

    async with subscriber(stall) as taker, subscriber() as sink:
        broker = await start_broker(subscribe(taker.url, "k", sink=sink.url, timeout="PT0.1S"))
        await broker.accept(record("k"))
        await sink.wait_for_count(1)
        never.set()


async def test_a_truncated_answer_is_a_network_error(start_broker: StartBroker, subscribe: Subscribe) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, subscriber() as sink:
        broker = await start_broker(subscribe(url, "k", sink=sink.url))
        await broker.accept(record("k"))
        await sink.wait_for_count(1)
        assert "ce-knativeerrorcode" not in sink.received[0].headers


@pytest.mark.parametrize("sizes", [[9000], [1000] * 9])
async def test_an_answer_with_headers_over_8_kib_is_a_network_error(
    start_broker: StartBroker, subscribe: Subscribe, sizes: list[int]
) -> None:
    headers = {f"x-{number}": "x" * size for number, size in enumerate(sizes)}
    async with subscriber(lambda _: web.Response(status=202, headers=headers)) as taker, subscriber() as sink:
        broker = await start_broker(subscribe(taker.url, "k", sink=sink.url))
        await broker.accept(record("k"))
        await sink.wait_for_count(1)
        assert "ce-knativeerrorcode" not in sink.received[0].headers


async def test_an_answer_of_many_megabytes_is_not_read_to_its_end(
    start_broker: StartBroker, subscribe: Subscribe
) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
                sent += 65_536
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, subscriber() as sink:
        broker = await start_broker(subscribe(url, "k", sink=sink.url))
        await broker.accept(record("k"))
        await sink.wait_for_count(1)
        assert "ce-knativeerrorcode" not in sink.received[0].headers


@pytest.mark.parametrize("status", [301, 303, 307])
async def test_redirects_are_not_followed(start_broker: StartBroker, subscribe: Subscribe, status: int) -> None:
    async with subscriber() as target, subscriber() as sink:
        location = {"location": target.url}
        async with subscriber(lambda _: web.Response(status=status, headers=location)) as taker:
            broker = await start_broker(subscribe(taker.url, "k", sink=sink.url))
            await broker.accept(record("k"))
            await sink.wait_for_count(1)
            assert sink.received[0].headers["ce-knativeerrorcode"] == str(status)
            assert target.received == []


async def test_a_failing_event_delays_nobody(start_broker: StartBroker, subscribe: Subscribe) -> None:
    clock = ManualClock()

    def answer(received: Received) -> web.Response:
        return web.Response(status=503 if received.id == "poison" else 202)

    async with subscriber(answer) as taker:
        broker = await start_broker(subscribe(taker.url, "k", retry=10), clock=clock)
        await broker.accept(record("k", "poison"))
        await eventually(lambda: clock.waits == [0.4])
        for number in range(200):
            await broker.accept(record("k", f"good-{number}"))
        await taker.wait_for_count(201)
        await eventually(lambda: _only_one_pending(broker))


async def _only_one_pending(broker: Broker) -> bool:
    return sum((await broker.pending()).values()) == 1


async def test_more_failing_events_than_places_do_not_block(start_broker: StartBroker, subscribe: Subscribe) -> None:
    clock = ManualClock()

    def answer(received: Received) -> web.Response:
        return web.Response(status=503 if received.id.startswith("poison") else 202)

    async with subscriber(answer) as taker:
        broker = await start_broker(subscribe(taker.url, "k", retry=10), clock=clock)
        for number in range(2 * IN_FLIGHT):
            await broker.accept(record("k", f"poison-{number}"))
        await broker.accept(record("k", "good"))
        await taker.wait_for(lambda received: any(each.id == "good" for each in received))


async def test_at_most_99_are_in_flight_and_the_rest_waits_in_the_log(
    start_broker: StartBroker, subscribe: Subscribe
) -> None:
    open_gate, in_flight, most = asyncio.Event(), 0, 0

    async def answer(_: Received) -> web.Response:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await open_gate.wait()
        in_flight -= 1
        return web.Response(status=202)

    async with subscriber(answer) as taker:
        broker = await start_broker(subscribe(taker.url, "k"))
        await asyncio.gather(*(broker.accept(record("k", str(number))) for number in range(500)))
        await taker.wait_for_count(IN_FLIGHT)
        assert sum((await broker.pending()).values()) == 500
        open_gate.set()
        await eventually(is_drained(broker))
        assert most == IN_FLIGHT
        assert sorted(int(each.id) for each in taker.received) == list(range(500))


async def test_what_is_pending_is_delivered_after_a_restart(
    start_broker: StartBroker, subscribe: Subscribe, lines: io.StringIO
) -> None:
    clock = ManualClock()
    async with subscriber(lambda _: web.Response(status=503)) as taker:
        subscription = subscribe(taker.url, "k", retry=3)
        broker = await start_broker(subscription, clock=clock)
        await broker.accept(record("k"))
        await eventually(lambda: clock.waits == [0.4])
        await start_broker.stop(broker)
        taker.answer = lambda _: web.Response(status=202)
        again = await start_broker(subscription, clock=clock)
        await eventually(lambda: clock.waits == [0.4])
        clock.advance(0.4)
        await eventually(is_drained(again))
        assert len(taker.received) == 2
        assert "taking up" in lines.getvalue()


async def test_attempts_are_counted_across_restarts(start_broker: StartBroker, subscribe: Subscribe) -> None:
    clock = ManualClock()
    async with subscriber(lambda _: web.Response(status=503)) as taker, subscriber() as sink:
        subscription = subscribe(taker.url, "k", sink=sink.url, retry=1)
        broker = await start_broker(subscription, clock=clock)
        await broker.accept(record("k"))
        await eventually(lambda: 0.4 in clock.waits)
        await start_broker.stop(broker)
        clock.advance(0.4)
        await start_broker(subscription, clock=clock)
        await sink.wait_for_count(1)
        assert len(taker.received) == 2


async def test_what_was_pending_for_a_trigger_that_is_gone_is_dropped(
    start_broker: StartBroker, subscribe: Subscribe, lines: io.StringIO
) -> None:
    clock = ManualClock()
    async with subscriber(lambda _: web.Response(status=503)) as taker:
        broker = await start_broker(subscribe(taker.url, "k", retry=3), clock=clock)
        await broker.accept(record("k"))
        await eventually(lambda: clock.waits == [0.4])
        await start_broker.stop(broker)
        again = await start_broker(subscribe(taker.url, "other"), clock=clock)
        assert await drained(again)
        assert "Trigger that is gone" in lines.getvalue()


async def test_stopping_drains_what_is_in_flight(start_broker: StartBroker, subscribe: Subscribe) -> None:
    arrived, finish = asyncio.Event(), asyncio.Event()

    async def slow(_: Received) -> web.Response:
        arrived.set()
        await finish.wait()
        return web.Response(status=202)

    async with subscriber(slow) as taker:
        subscription = subscribe(taker.url, "k")
        broker = await start_broker(subscription)
        await broker.accept(record("k"))
        await arrived.wait()
        stopping = asyncio.create_task(start_broker.stop(broker, 10))
        await asyncio.sleep(0)
        finish.set()
        await stopping
        assert await drained(await start_broker(subscription))


async def test_a_caller_that_gives_up_leaves_the_event_behind_for_delivery(
    start_broker: StartBroker, subscribe: Subscribe
) -> None:
    async with subscriber() as taker:
        broker = await start_broker(subscribe(taker.url, "k"))
        await broker.accept(record("k", "first"))
        await eventually(is_drained(broker))
        caller = asyncio.create_task(broker.accept(record("k", "second")))
        await asyncio.sleep(0)
        caller.cancel()
        await taker.wait_for_count(2)
        await eventually(is_drained(broker))


async def test_a_log_that_cannot_be_written_costs_a_second_delivery_but_no_event(
    start_broker: StartBroker, subscribe: Subscribe, lines: io.StringIO
) -> None:
    clock = ManualClock()

    def fill_the_disk(received: Received) -> web.Response:
        if received.id == "1":
            fill(broker)
        return web.Response(status=202)

    async with subscriber(fill_the_disk) as taker:
        broker = await start_broker(subscribe(taker.url, "k"), clock=clock)
        await broker.accept(record("k", "0"))
        await eventually(is_drained(broker))
        await broker.accept(record("k", "1"))
        await eventually(lambda: clock.waits == [1.0])
        assert "not writable" in lines.getvalue()
        with pytest.raises(LogUnavailable):
            await broker.accept(record("k", "2"))
        taker.answer = lambda _: web.Response(status=202)
        make_room(broker)
        clock.advance(1.0)
        await eventually(is_drained(broker))
        assert [each.id for each in taker.received] == ["0", "1", "1"]
