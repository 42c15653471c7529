"""Services as real processes: cold starts, scale to zero, crashes, concurrency."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from knative.local.broker.addressables import exchange
from knative.local.broker.delivery import HttpAnswer, HttpResponse, NoResponse
from knative.local.serving.services import LocalService, LocalServiceSpec
from tests.support.subscribers import eventually

FUNCTION = Path(__file__).parents[2] / "support" / "echo_function.py"
ROOT = Path(__file__).resolve().parents[3]


class Start:
    """Makes services of the test function."""

    def __init__(self) -> None:
        self.services: list[LocalService] = []

    def __call__(self, *, concurrency: int = 0, timeout: float = 30, window: float = 60, **env: str) -> LocalService:
        service = LocalService(
            LocalServiceSpec(
                name="echo",
                namespace="test",
                command=[sys.executable, str(FUNCTION)],
                env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **env},
                concurrency=concurrency,
                timeout=timeout,
                window=window,
            ),
        )
        self.services.append(service)
        return service


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    found = Start()
    yield found
    for service in found.services:
        await service.stop()


async def get(service: LocalService, path: str) -> Any:
    async with service.lease() as session, session.get(service.address + path) as response:
        return json.loads(await response.read())


async def post(service: LocalService, timeout: float = 30) -> HttpAnswer:
    return await service.post({"content-type": "text/plain"}, b"body", timeout)


async def test_nothing_runs_until_the_first_request(start: Start) -> None:
    service = start()
    assert service.pid is None
    assert await get(service, "/pid") == service.pid


async def test_cold_requests_wait_and_share_one_process(start: Start) -> None:
    service = start(START_SECONDS="0.2")
    pids = await asyncio.gather(*(get(service, "/pid") for _ in range(20)))
    assert set(pids) == {service.pid}


async def test_the_socket_takes_connections_while_nothing_runs(start: Start) -> None:
    service = start()
    port = int(service.address.rsplit(":", 1)[1])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()
    assert service.pid is None


async def test_scales_to_zero_and_back(start: Start) -> None:
    service = start(window=0.1)
    first = await get(service, "/pid")
    await eventually(lambda: service.pid is None)
    second = await get(service, "/pid")
    assert first != second
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


async def test_a_request_under_way_keeps_it_up(start: Start, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    service = start(window=0.05, HOLD=str(hold))
    await get(service, "/pid")
    held = asyncio.create_task(get(service, "/hold"))
    await asyncio.sleep(0.2)
    pid = service.pid
    hold.touch()
    await held
    assert pid is not None
    assert not held.cancelled()


async def test_requests_while_it_is_stopping_get_a_new_process(start: Start) -> None:
    service = start(window=0.01)
    for _ in range(5):
        await get(service, "/pid")
        await asyncio.sleep(0.01)


async def test_a_killed_process_fails_its_requests_and_the_next_one_starts_it_again(
    start: Start, tmp_path: Path, lines: io.StringIO
) -> None:
    hold = tmp_path / "hold"
    service = start(HOLD=str(hold))
    first = await get(service, "/pid")
    held = asyncio.create_task(post_to(service, "/hold"))
    await asyncio.sleep(0.1)
    os.kill(first, signal.SIGKILL)
    assert isinstance(await held, NoResponse)
    await eventually(lambda: service.pid is None)
    assert await get(service, "/pid") != first
    assert "exited by itself (signal 9)" in lines.getvalue()


async def post_to(service: LocalService, path: str) -> HttpAnswer:
    async with service.lease() as session:
        return await exchange(session, service.address + path, {}, None)


async def test_a_crash_in_the_middle_of_a_request_is_a_network_error(start: Start) -> None:
    assert isinstance(await post_to(start(), "/exit"), NoResponse)


async def test_a_process_that_exits_while_starting_fails_its_requests(start: Start, lines: io.StringIO) -> None:
    service = start(EXIT="7")
    answers = await asyncio.gather(post(service), post(service))
    assert all(isinstance(answer, NoResponse) for answer in answers)
    assert "exited by itself (code 7)" in lines.getvalue()


async def test_a_process_that_keeps_exiting_is_not_started_at_once_again(start: Start, lines: io.StringIO) -> None:
    service = start(EXIT="7")
    await post(service)
    again = asyncio.create_task(post(service))
    await asyncio.sleep(0.2)
    assert lines.getvalue().count("starting") == 1
    assert not again.done()
    assert isinstance(await again, NoResponse)


async def test_a_command_that_does_not_exist_is_a_failure() -> None:
    service = LocalService(LocalServiceSpec("x", "test", ["/does/not/exist"], {}, 0, 30, 60))
    answer = await post(service)
    assert isinstance(answer, NoResponse)
    assert "cannot start" in answer.reason
    await service.stop()


async def test_no_more_requests_at_once_than_its_concurrency(start: Start, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    service = start(concurrency=2, HOLD=str(hold))
    held = [asyncio.create_task(get(service, "/hold")) for _ in range(2)]
    await eventually(lambda: service.pid is not None)
    third = asyncio.create_task(get(service, "/pid"))
    await asyncio.sleep(0.3)
    assert not third.done()
    hold.touch()
    await asyncio.gather(*held)
    assert await third == service.pid


async def test_the_service_s_timeout_is_a_504_and_the_delivery_s_a_failure(start: Start) -> None:
    service = start(timeout=0.1, START_SECONDS="5")
    answer = await post(service)
    assert isinstance(answer, HttpResponse)
    assert answer.status == 504
    answer = await post(service, timeout=0.05)
    assert answer == NoResponse("timeout after 0.05 s")


async def test_the_wait_for_a_place_does_not_use_up_the_delivery_s_timeout(start: Start, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    service = start(concurrency=1, HOLD=str(hold))
    held = asyncio.create_task(get(service, "/hold"))
    await eventually(lambda: service.pid is not None)
    queued = asyncio.create_task(post(service, timeout=0.2))
    await asyncio.sleep(0.4)
    assert not queued.done()
    hold.touch()
    await held
    assert isinstance(await queued, HttpResponse)


async def test_its_environment_is_the_one_given_and_names_the_parent(start: Start) -> None:
    env = await get(start(A="b"), "/env")
    assert env["A"] == "b"
    assert env["SENTINEL_PARENT_PID"] == str(os.getpid())
    assert "HOME" not in env


async def test_a_new_environment_takes_effect_with_the_next_request(start: Start) -> None:
    service = start(A="old")
    await get(service, "/pid")
    await service.configure({**service.spec.env, "A": "new"})
    assert (await get(service, "/env"))["A"] == "new"


async def test_its_output_is_in_the_log(start: Start, lines: io.StringIO) -> None:
    await get(start(), "/pid")
    await eventually(lambda: "[echo] starting" in lines.getvalue())


async def test_deliveries_carry_the_cluster_s_host_name(start: Start) -> None:
    service = start()
    async with service.lease() as session:
        answer = await exchange(session, service.address + "/echo", {"host": "echo.test.svc.cluster.local"}, b"x")
    assert isinstance(answer, HttpResponse)
    assert json.loads(answer.body)["headers"]["host"] == "echo.test.svc.cluster.local"
    assert service.url == "http://echo.test.svc.cluster.local/"
