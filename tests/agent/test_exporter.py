"""The agent's HTTP server, over a real socket."""

import http.client
import socket
from collections.abc import Callable, Iterator

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.exporter import Exporter
from agent.settings import Address
from shared.errors import ConfigurationError
from shared.models.telemetry import NodeState
from tests.support.gpus import gpu_reading, node_reading

LOOPBACK = Address("127.0.0.1", 0)
Get = Callable[[str], tuple[int, str]]


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Spool(Collector):
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("sentinel_agent_waiting_events", "Events.", 7)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exporter(clock: Clock) -> Iterator[Exporter]:
    exporter = Exporter(LOOPBACK, overdue_after=60, others=(Spool(),), clock=clock)
    yield exporter
    exporter.close()


@pytest.fixture
def get(exporter: Exporter) -> Get:
    address = exporter.start()

    def get(path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    return get


def test_it_is_ready_once_it_has_a_reading(exporter: Exporter, get: Get) -> None:
    assert (get("/healthz")[0], get("/readyz")[0]) == (200, 503)
    exporter.show(node_reading(gpu_reading()))
    assert (get("/healthz")[0], get("/readyz")[0]) == (200, 200)


def test_it_is_healthy_while_readings_come(exporter: Exporter, clock: Clock, get: Get) -> None:
    clock.seconds = 61
    assert get("/healthz") == (503, "the last reading is overdue\n")
    exporter.show(node_reading())
    assert get("/healthz")[0] == 200
    clock.seconds = 122
    assert (get("/healthz")[0], get("/readyz")[0]) == (503, 503)


def test_it_is_unhealthy_when_the_driver_stays_changed(exporter: Exporter, clock: Clock, get: Get) -> None:
    changed = node_reading(state=NodeState.DRIVER_CHANGED)
    exporter.show(node_reading(gpu_reading()))
    for second in (30, 60):
        clock.seconds = second
        exporter.show(changed)
        assert get("/healthz")[0] == 200
    clock.seconds = 61
    assert get("/healthz") == (503, "the driver was changed, and this agent has the library of the old one\n")
    assert get("/readyz")[0] == 200  # it still has something to show
    exporter.show(node_reading(gpu_reading()))
    assert get("/healthz")[0] == 200


def test_metrics_are_those_of_the_reading_of_other_parts_and_of_the_process(exporter: Exporter, get: Get) -> None:
    exporter.show(node_reading(gpu_reading()))
    status, text = get("/metrics")
    assert status == 200
    for name in ("DCGM_FI_DEV_GPU_UTIL{", "sentinel_agent_waiting_events 7", "process_resident_memory_bytes "):
        assert f"\n{name}" in text


def test_the_metrics_of_a_gpu_that_is_gone_disappear(exporter: Exporter, get: Get) -> None:
    exporter.show(node_reading(gpu_reading(0), gpu_reading(1)))
    assert 'UUID="GPU-1"' in get("/metrics")[1]
    exporter.show(node_reading(gpu_reading(0)))
    text = get("/metrics")[1]
    assert 'UUID="GPU-0"' in text
    assert 'UUID="GPU-1"' not in text


def test_a_reading_that_is_overdue_is_not_shown(exporter: Exporter, clock: Clock, get: Get) -> None:
    exporter.show(node_reading(gpu_reading()))
    clock.seconds = 61
    assert "DCGM_FI_DEV_GPU_UTIL" not in get("/metrics")[1]


def test_another_path_is_not_found(get: Get) -> None:
    assert get("/")[0] == 404


def test_it_serves_on_a_socket_that_it_inherited(exporter: Exporter) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    assert exporter.start(listening) == Address("127.0.0.1", port)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()


def test_a_client_that_says_nothing_holds_nobody_up(exporter: Exporter) -> None:
    address = exporter.start()
    with socket.create_connection((address.host, address.port)):
        connection = http.client.HTTPConnection(address.host, address.port, timeout=10)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()


def test_an_address_that_is_taken_is_refused_by_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = Exporter(Address("127.0.0.1", taken.getsockname()[1]), overdue_after=60)
        with pytest.raises(ConfigurationError, match="EXPORTER_ADDRESS: cannot listen on"):
            other.start()
