"""The agent's environment: defaults that suit a node, and errors that name the variable."""

import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import agent.settings
from agent.settings import Address, AgentSettings
from shared.errors import ConfigurationError


def test_without_an_environment_the_agent_serves_metrics_of_its_host_and_sends_nothing() -> None:
    settings = AgentSettings.from_environment({})
    assert (settings.cluster, settings.node) == ("local", socket.gethostname().lower())
    assert settings.interval == timedelta(seconds=10)
    assert settings.exporter == Address("0.0.0.0", 9400)
    assert (settings.sink, settings.kafka, settings.script) == (None, (), None)


def test_every_variable_is_read() -> None:
    settings = AgentSettings.from_environment(
        {
            "CLUSTER_NAME": "eu-1",
            "NODE_NAME": "gpu-0.example",
            "SAMPLE_INTERVAL": "PT2S",
            "EXPORTER_ADDRESS": "[::1]:0",
            "POD_RESOURCES_SOCKET": "/run/kubelet.sock",
            "POD_RESOURCES_INTERVAL": "5s",
            "AGENT_STATE_DIR": "/state",
            "SPOOL_BYTES": "16Mi",
            "KAFKA_BOOTSTRAP": "a:9092, b:9093",
            "KAFKA_TOPIC": "gpus",
            "KAFKA_CREDENTIALS": "/credentials",
            "K_CA_CERTS": "pem",
            "GPU_SCRIPT": "gpus.yaml",
        }
    )
    assert settings == AgentSettings(
        cluster="eu-1",
        node="gpu-0.example",
        interval=timedelta(seconds=2),
        exporter=Address("::1", 0),
        pod_resources=Path("/run/kubelet.sock"),
        pod_resources_interval=timedelta(seconds=5),
        state=Path("/state"),
        spool_bytes=16 * 1024 * 1024,
        sink=None,
        sink_authorities="pem",
        kafka=("a:9092", "b:9093"),
        kafka_topic="gpus",
        kafka_credentials=Path("/credentials"),
        script=Path("gpus.yaml"),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NODE_NAME", "Node 1"),
        ("CLUSTER_NAME", "-"),
        ("SAMPLE_INTERVAL", "10"),
        ("SAMPLE_INTERVAL", "500ms"),
        ("EXPORTER_ADDRESS", "9400"),
        ("EXPORTER_ADDRESS", "localhost:70000"),
        ("SPOOL_BYTES", "1Mi"),
        ("SPOOL_BYTES", "much"),
        ("KAFKA_BOOTSTRAP", "broker"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        AgentSettings.from_environment({name: value})


def test_events_go_to_one_place() -> None:
    with pytest.raises(ConfigurationError, match="K_SINK or KAFKA_BOOTSTRAP"):
        AgentSettings.from_environment({"K_SINK": "http://broker", "KAFKA_BOOTSTRAP": "a:9092"})


class _Recorded(dict[str, str]):
    """An empty environment that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def get(self, name: str, default: object = None) -> Any:
        self.asked.add(name)
        return default


def test_the_table_of_the_module_names_every_variable() -> None:
    environment = _Recorded()
    AgentSettings.from_environment(environment)
    assert "GPU_SCRIPT" in environment.asked
    assert not {name for name in environment.asked if f"`{name}`" not in (agent.settings.__doc__ or "")}
