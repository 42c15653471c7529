"""The settings of the agent, read from its environment once.

| variable | default | meaning |
|---|---|---|
| `CLUSTER_NAME` | `local` | the name that this cluster is registered under (`sentinel cluster list`) |
| `NODE_NAME` | the host's name | the name of the Kubernetes node; the DaemonSet sets it from `spec.nodeName` |
| `SAMPLE_INTERVAL` | `10s` | how often the node is measured: `1s` to `10m` |
| `EXPORTER_ADDRESS` | `0.0.0.0:9400` | where `/metrics`, `/healthz` and `/readyz` are served; `[::]:9400` for IPv6 |
| `POD_RESOURCES_SOCKET` | `/var/lib/kubelet/pod-resources/kubelet.sock` | the kubelet says here who has which GPU |
| `POD_RESOURCES_INTERVAL` | `5m` | how old its answer may be while the memory in use on the GPUs stays: `1s` to `10m` |
| `AGENT_STATE_DIR` | `/var/lib/sentinel/agent` | the spool, and which faults are raised; it outlives the pod |
| `SPOOL_BYTES` | `256Mi` | what the spool may take of the disk; the oldest events make room for newer ones |
| `K_SINK`, `K_CA_CERTS` | | where events go over HTTP, and who signed its certificate; a SinkBinding sets both |
| `KAFKA_BOOTSTRAP` | | Kafka instead of `K_SINK`: `host:port`, with commas between several |
| `KAFKA_TOPIC` | `sentinel-telemetry` | the topic there |
| `KAFKA_CREDENTIALS` | | a directory with a Secret as Knative's broker for Kafka has it; without it PLAINTEXT |
| `FAULT_...` | | when something is a fault, and when it is over; see agent/faults/settings.py |
| `GPU_SCRIPT` | | a document that stands in for the GPUs of the node; see agent/scripted.py |
| `LOG_FORMAT`, `LOG_LEVEL` | `text`, `info` | as for functions |

Without `K_SINK` and `KAFKA_BOOTSTRAP` the agent serves metrics, and sends nothing.
"""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from agent import pods
from shared.errors import ConfigurationError, InvalidQuantity
from shared.models import quantities
from shared.settings import duration

DEFAULT_INTERVAL = timedelta(seconds=10)
SHORTEST_INTERVAL, LONGEST_INTERVAL = timedelta(seconds=1), timedelta(minutes=10)
SMALLEST_SPOOL = 8 * 1024 * 1024
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_ADDRESS = re.compile(r"(?P<host>[^\s:\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Address:
    """Where to listen. Port 0 is any free one."""

    host: str
    port: int


@dataclass(frozen=True)
class AgentSettings:
    """The agent's environment; the module says what each is for.

    cluster (CLUSTER_NAME), node (NODE_NAME), interval (SAMPLE_INTERVAL), exporter (EXPORTER_ADDRESS), pod_resources
    (POD_RESOURCES_SOCKET), pod_resources_interval (POD_RESOURCES_INTERVAL), state (AGENT_STATE_DIR), spool_bytes
    (SPOOL_BYTES), sink (K_SINK), sink_authorities (K_CA_CERTS), kafka (KAFKA_BOOTSTRAP), kafka_topic (KAFKA_TOPIC),
    kafka_credentials (KAFKA_CREDENTIALS), script (GPU_SCRIPT).
    """

    cluster: str
    node: str
    interval: timedelta
    exporter: Address
    pod_resources: Path
    pod_resources_interval: timedelta
    state: Path
    spool_bytes: int
    sink: str | None
    sink_authorities: str | None
    kafka: tuple[str, ...]
    kafka_topic: str
    kafka_credentials: Path | None
    script: Path | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "AgentSettings":
        """Raises ConfigurationError that names the variable."""

        def text(name: str, default: str = "") -> str:
            return environment.get(name, "").strip() or default

        kafka = tuple(one for one in (each.strip() for each in text("KAFKA_BOOTSTRAP").split(",")) if one)
        if kafka and text("K_SINK"):
            raise ConfigurationError("set K_SINK or KAFKA_BOOTSTRAP, not both: events go to one place")
        for one in kafka:
            if not _ADDRESS.fullmatch(one):
                raise ConfigurationError(f"KAFKA_BOOTSTRAP must be host:port, with commas between, not {one[:60]!r}")
        script, credentials = text("GPU_SCRIPT"), text("KAFKA_CREDENTIALS")
        return cls(
            cluster=_name("CLUSTER_NAME", text("CLUSTER_NAME", "local")),
            node=_name("NODE_NAME", text("NODE_NAME", socket.gethostname().lower())),
            interval=_interval(environment, "SAMPLE_INTERVAL", DEFAULT_INTERVAL),
            exporter=_address(text("EXPORTER_ADDRESS", "0.0.0.0:9400")),
            pod_resources=Path(text("POD_RESOURCES_SOCKET", "/var/lib/kubelet/pod-resources/kubelet.sock")),
            pod_resources_interval=_interval(environment, "POD_RESOURCES_INTERVAL", pods.DEFAULT_INTERVAL),
            state=Path(text("AGENT_STATE_DIR", "/var/lib/sentinel/agent")),
            spool_bytes=_spool_bytes(text("SPOOL_BYTES", "256Mi")),
            sink=text("K_SINK") or None,
            sink_authorities=text("K_CA_CERTS") or None,
            kafka=kafka,
            kafka_topic=text("KAFKA_TOPIC", "sentinel-telemetry"),
            kafka_credentials=Path(credentials) if credentials else None,
            script=Path(script) if script else None,
        )


def _name(variable: str, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ConfigurationError(
            f"{variable} must be lower-case letters, digits, '-' and '.', at most 253 characters, not {value[:60]!r}"
        )
    return value


def _interval(environment: Mapping[str, str], name: str, default: timedelta) -> timedelta:
    interval = duration(environment, name, default)
    if not SHORTEST_INTERVAL <= interval <= LONGEST_INTERVAL:
        raise ConfigurationError(f"{name} must be from 1s to 10m")
    return interval


def _address(text: str) -> Address:
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65_535:
        raise ConfigurationError(f"EXPORTER_ADDRESS must be host:port, such as 0.0.0.0:9400, not {text[:60]!r}")
    return Address(found["host"].strip("[]"), int(found["port"]))


def _spool_bytes(text: str) -> int:
    try:
        size = quantities.to_bytes(text)
    except InvalidQuantity as error:
        raise ConfigurationError(f"SPOOL_BYTES {error}") from None
    if size < SMALLEST_SPOOL:
        raise ConfigurationError("SPOOL_BYTES must be at least 8Mi")
    return size
