"""Cold start of each function, beside a bare functions-framework hello: exec to first handled event.

The database is ready, the event is real and comes through a socket. The functions of the chain get what the one
before them answered, so every event is one that they act on. Rounds alternate between the peer and the functions.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from events import CATALOGUE
from events.foreign import Tick
from events.telemetry import TelemetryGpu
from events.workload import WorkloadSubmitted
from knative.local.runtime.postgres import EmbeddedPostgres
from knative.local.runtime.scratch import scratch_directory
from shared.models.cluster import Cluster
from shared.operations.bindings import allow_all
from shared.store.database import connect
from shared.store.migrate import upgrade
from shared.store.unit_of_work import Store
from tests.bench.importing import ImportBudget, import_budget
from tests.bench.processes import First, Request, first_of_function, first_of_hello, standin
from tests.support.builders import TESTS

ROUNDS = 7
CHAIN = ("workload_intake", "policy_evaluation", "deployment_execution", "health_verification")
OTHERS = ("telemetry_ingestion", "event_relay", "dead_letter")
LIMITS = {"deployment_execution": 2.5, "health_verification": 2.5}
LIMIT = 2.0
"""Cold starts over the peer's that are promised; with the Kubernetes client a little more."""


@dataclass
class ColdStarts:
    """Seconds, by round. imports: what a function imports until its first event is handled."""

    hello: list[float] = field(default_factory=list)
    functions: dict[str, list[float]] = field(default_factory=dict)
    imports: dict[str, ImportBudget] = field(default_factory=dict)

    def ratio(self, name: str) -> float:
        return statistics.median(self.functions[name]) / statistics.median(self.hello)


def measure(said: Callable[[str], None]) -> ColdStarts:
    """Runs every round; `said` is told about each."""
    found = ColdStarts()
    with scratch_directory("bench") as directory, EmbeddedPostgres(directory / "postgres") as database:
        upgrade(database.owner_url)
        _register(database.url)
        with standin(directory / "kubernetes") as kubeconfig:
            clusters = directory / "clusters"
            clusters.mkdir()
            (clusters / "local").write_text(kubeconfig.read_text())
            env = {
                "DATABASE_URL": database.url,
                "CLUSTERS_DIR": str(clusters),
                "CLUSTERS_ALLOW_LOOPBACK": "true",
                "K_SINK": "http://127.0.0.1:9/",  # the outbox is empty: nothing is published
                "LOG_LEVEL": "warning",
            }
            log = directory / "stderr"
            _round(0, env, log)  # writes byte code and fills the page cache; not counted
            first_of_hello(log)
            for number in range(1, ROUNDS + 1):
                said(f"cold start, round {number} of {ROUNDS}")
                found.hello.append(first_of_hello(log).seconds)
                for name, seconds in _round(number, env, log).items():
                    found.functions.setdefault(name, []).append(seconds)
            said("import budgets")
            _round(ROUNDS + 1, env, log, options=("-X", "importtime"), budgets=found.imports)
    return found


def _register(url: str) -> None:
    store = Store(connect(url, pool_size=1))
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("local"))
        allow_all(work, TESTS)
    store.close()


def _round(
    number: int,
    env: Mapping[str, str],
    log: Path,
    options: Sequence[str] = (),
    budgets: dict[str, ImportBudget] | None = None,
) -> dict[str, float]:
    """Every function once; seconds by function."""
    seconds: dict[str, float] = {}

    def start(name: str, request: Request) -> First:
        first = first_of_function(name, request, env, *options, stderr=log)
        seconds[name] = first.seconds
        if budgets is not None:
            budgets[name] = import_budget(log.read_text(errors="replace"))
        return first

    request = _submission(number)
    for name in CHAIN:
        answer = start(name, request)
        request = Request(_event_headers(answer.headers), answer.body)
    for name in OTHERS:
        start(name, _other(name, number))
    return seconds


def _event_headers(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in headers.items() if name.startswith("ce-") or name == "content-type"}
    return {**kept, "prefer": "reply"}


def _submission(number: int) -> Request:
    document = {"name": f"cold-{number}", "type": "inference", "image": "fate.test/ready", "bake": "PT0S"}
    return _request(CATALOGUE.name_of(WorkloadSubmitted), number, document)


def _other(name: str, number: int) -> Request:
    if name == "telemetry_ingestion":
        kind = CATALOGUE.name_of(TelemetryGpu)
        sample = {**CATALOGUE[kind].example, "observedAt": datetime.now(UTC).isoformat()}
        return _request(kind, number, sample, source="/sentinel/agents/local/gpu-0", subject="gpu-0")
    if name == "event_relay":
        return _request(CATALOGUE.name_of(Tick), number, {})
    return _request("com.example.lost", number, {}, knativeerrordest="http://nowhere.example/", knativeerrorcode="400")


def _request(kind: str, number: int, data: object, **attributes: str) -> Request:
    told = {"specversion": "1.0", "id": f"{kind}-{number}", "source": "/bench", "type": kind, **attributes}
    headers = {"content-type": "application/json", "prefer": "reply", **{f"ce-{k}": v for k, v in told.items()}}
    return Request(headers, json.dumps(data).encode())
