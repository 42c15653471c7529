"""The suite against a real Kafka (KAFKA_BOOTSTRAP), and what the CloudEvents binding says of records."""

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from cloudevents.kafka import KafkaMessage, from_binary

from agent.publishing.kafka import KafkaPublisher
from events import CATALOGUE
from events.telemetry import GpuFault, TelemetryGpu
from shared.eventing import codec
from shared.eventing.event import WireEvent
from shared.eventing.publishing import PublishingFailed
from tests.agent.publishing.sinks import event
from tests.agent.test_process import SCRIPT, Agent, environment
from tests.contracts.publisher import suite

pytestmark = [pytest.mark.kafka, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]

PARTITIONS = 3


@pytest.fixture(scope="module")
def bootstrap() -> str:
    given = os.environ.get("KAFKA_BOOTSTRAP")
    if not given:
        pytest.fail("set KAFKA_BOOTSTRAP to host:port of a disposable Kafka (make test-kafka KAFKA_BOOTSTRAP=...)")
    return given


class KafkaWorld:
    """A topic of its own, which takes records of 100 kB."""

    def __init__(self, bootstrap: str) -> None:
        from kafka.admin import KafkaAdminClient, NewTopic  # half a second, which a suite without Kafka does not pay

        self._bootstrap = bootstrap
        self.topic = f"sentinel-{uuid.uuid4()}"
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        admin.create_topics([NewTopic(self.topic, PARTITIONS, 1, topic_configs={"max.message.bytes": "100000"})])
        admin.close()
        self.sink = KafkaPublisher((bootstrap,), self.topic, timeout=1.5)

    def records(self, count: int) -> list[KafkaMessage]:
        """The first records, at least `count`, in the order of their partition; events of one key share one."""
        from kafka import KafkaConsumer, TopicPartition

        consumer = KafkaConsumer(bootstrap_servers=self._bootstrap, auto_offset_reset="earliest")
        consumer.assign([TopicPartition(self.topic, number) for number in range(PARTITIONS)])
        found: list[Any] = []
        deadline = time.monotonic() + 20
        while len(found) < count:
            assert time.monotonic() < deadline
            for records in consumer.poll(timeout_ms=200).values():
                found += records
        consumer.close()
        found.sort(key=lambda record: (record.partition, record.offset))
        return [KafkaMessage(dict(record.headers), record.key, record.value) for record in found]

    def received(self, count: int) -> Sequence[WireEvent]:
        return [_event(record) for record in self.records(count)]

    @contextmanager
    def away(self) -> Iterator[None]:
        """The broker is stopped in its tracks: connections stay open, and nothing answers."""
        port = int(self._bootstrap.rpartition(":")[2])
        (process,) = {
            psutil.Process(one.pid)
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid
        }
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)


def _event(record: KafkaMessage) -> WireEvent:
    attributes = {name.removeprefix("ce_"): value.decode() for name, value in record.headers.items()}
    attributes["datacontenttype"] = attributes.pop("content-type")
    assert isinstance(record.value, bytes)
    return WireEvent(attributes, record.value)


@pytest.fixture(autouse=True)
def sockets_end_with_their_test() -> Iterator[None]:
    """kafka-python leaves the sockets of a failed attempt to the collector; its log lines keep them from it."""
    logger = logging.getLogger("kafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    gc.collect()
    logger.setLevel(level)


@pytest.fixture
def world(bootstrap: str) -> Iterator[KafkaWorld]:
    found = KafkaWorld(bootstrap)
    yield found
    found.sink.close()


class TestKafka(suite.PublisherContract): ...


def test_a_record_is_a_cloud_event_in_binary_mode_whose_key_is_the_node(world: KafkaWorld) -> None:
    sent = WireEvent({**event(1).attributes, "place": "Zürich %41"}, b'{"a": 1}')
    world.sink.publish(sent)
    (record,) = world.records(1)
    assert (record.key, record.value) == (b"gpu-0", b'{"a": 1}')
    assert record.headers == {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": b"1",
        "ce_source": b"/sentinel/agents/local/gpu-0",
        "ce_type": b"dev.sentinel.telemetry.gpu.v1",
        "ce_subject": b"gpu-0",
        "ce_partitionkey": b"gpu-0",
        "ce_place": "Zürich %41".encode(),
    }
    read = from_binary(record)  # the reader of the CloudEvents SDK
    assert (read["id"], read["place"], read["subject"], read.get_data()) == ("1", "Zürich %41", "gpu-0", {"a": 1})


def test_the_agent_sends_its_readings_and_faults_to_kafka(world: KafkaWorld, bootstrap: str, tmp_path: Path) -> None:
    script = tmp_path / "gpus.json"
    script.write_text(json.dumps(SCRIPT))
    variables: dict[str, object] = {"GPU_SCRIPT": script, "KAFKA_BOOTSTRAP": bootstrap, "KAFKA_TOPIC": world.topic}
    command = [sys.executable, "-m", "agent"]
    with subprocess.Popen(command, env=environment(tmp_path, variables), stderr=subprocess.PIPE, text=True) as process:
        agent = Agent(process)
        records = world.records(3)
        assert agent.end() == 0
    assert {record.key for record in records} == {b"gpu-0"}
    events = [codec.envelope(one.attributes, one.body) for one in map(_event, records)]
    data = [CATALOGUE[one.type].data.model_validate(one.data) for one in events]
    assert [type(one) for one in data[:2]] == [TelemetryGpu, GpuFault]
    assert len({one.id for one in events}) == len(events)


def test_a_topic_that_is_not_there_is_waited_for(bootstrap: str) -> None:
    sink = KafkaPublisher((bootstrap,), "no topic", timeout=1.5)
    with pytest.raises(PublishingFailed, match="the Kafka topic no topic") as failure:
        sink.publish(event(1))
    assert not failure.value.permanent
    sink.close()


def test_a_broker_that_is_not_there_is_away_and_costs_no_more_files_with_every_attempt() -> None:
    def attempt() -> int:
        with pytest.raises(PublishingFailed, match=r"127\.0\.0\.1:1") as failure:
            sink.publish(event(1))
        assert (failure.value.permanent, failure.value.answered) == (False, False)
        return len(os.listdir("/proc/self/fd"))

    sink = KafkaPublisher(("127.0.0.1:1",), "sentinel-telemetry", timeout=0.2)
    gc.disable()
    first = attempt()
    assert max(attempt() for _ in range(4)) <= first + 3
    gc.enable()
