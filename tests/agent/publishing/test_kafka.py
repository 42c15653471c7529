"""What of an event and of the credentials reaches Kafka; the suite in tests/contracts/publisher talks to a real one."""

from pathlib import Path

import pytest

from agent.publishing.kafka import KafkaPublisher, encode, security_options
from shared.eventing.event import WireEvent
from shared.eventing.publishing import PublishingFailed
from tests.agent.publishing.sinks import event


def test_an_event_without_partitionkey_and_data_is_a_record_without_key_and_value() -> None:
    key, headers, value = encode(WireEvent({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b""))
    assert (key, value) == (None, None)
    assert [name for name, _ in headers] == ["ce_specversion", "ce_id", "ce_source", "ce_type"]


def test_credentials_are_those_of_a_secret_for_knatives_broker(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()  # as the kubelet mounts it
    for name, text in {"protocol": "SASL_SSL\n", "sasl.mechanism": "SCRAM-SHA-512", "user": "agent"}.items():
        (tmp_path / name).write_text(text)
    for name in ("ca.crt", "user.crt", "user.key"):
        (tmp_path / name).touch()
    assert security_options(tmp_path) == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "agent",
        "ssl_cafile": str(tmp_path / "ca.crt"),
        "ssl_certfile": str(tmp_path / "user.crt"),
        "ssl_keyfile": str(tmp_path / "user.key"),
    }


def test_credentials_that_are_not_there_yet_are_waited_for(tmp_path: Path) -> None:
    sink = KafkaPublisher(("127.0.0.1:1",), "sentinel-telemetry", credentials=tmp_path / "not mounted")
    with pytest.raises(PublishingFailed, match="not mounted") as failure:
        sink.publish(event(1))
    assert (failure.value.permanent, failure.value.answered) == (False, False)
