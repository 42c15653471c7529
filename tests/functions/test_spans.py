"""Spans, as a collector receives them: one trace from a request to a healthy workload; and collectors that are away."""

import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from events import CATALOGUE
from functions.api.session import Services
from functions.event_relay import function as event_relay
from shared import tracing
from shared.clusters.kubeconfig import Connection
from shared.clusters.transport import Transport
from shared.errors import ClusterAway, ConfigurationError
from shared.eventing.function import GroupCommit
from shared.eventing.processing import Processor
from shared.eventing.publishing import HttpPublisher
from shared.models.lifecycle import Phase
from shared.store.database import connect
from shared.store.unit_of_work import Store, UnitOfWork
from shared.tracing import SpanKind
from tests.support.brokers import serving as serving_broker
from tests.support.builders import INTAKE, POLICY, PROPOSED, SUBMITTED, Deliver, connection_of, request, submission
from tests.support.chain import TICK, Chain
from tests.support.cluster import Site
from tests.support.collector import Collector, ReceivedSpan, collecting
from tests.support.emitters import PLAN, tells
from tests.support.rest import Rest, serving
from tests.support.serving import environment, served

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
def traced(collector: Collector, monkeypatch: pytest.MonkeyPatch, store: Store, database_url: str) -> Iterator[Store]:
    """A store whose transactions are recorded, in a process that records; `tracing.stop` sends what it has."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    tracing.start("tests")
    engine = connect(database_url)
    yield Store(engine)
    engine.dispose()
    tracing.stop()


def by_id(spans: list[ReceivedSpan]) -> dict[str, ReceivedSpan]:
    return {span.span_id: span for span in spans}


def test_a_request_is_one_trace_until_its_workload_is_healthy(traced: Store, site: Site, collector: Collector) -> None:
    chain = Chain(traced, site)
    spec = {"name": "web", "type": "inference", "image": "fate.test/ready", "team": "search", "bake": "PT0S"}
    with serving() as (app, port):
        rest = Rest(port)
        app.state.services = Services(traced, rest.authenticate)
        assert rest("POST", "/workloads", {**spec, "namespace": site.namespace}, traceparent=PARENT).status == 202
        chain.run(chain.relayed())
        chain.settle()
    tracing.stop()
    assert chain.workload().phase is Phase.HEALTHY
    spans = [span for span in collector.spans if span.trace_id == PARENT[3:35]]
    known = by_id(spans)
    [server] = [span for span in spans if span.kind == "SERVER"]
    assert (server.name, server.parent_id) == ("POST /api/v1/workloads", PARENT[36:52])
    assert (server.attributes["http.route"], server.attributes["http.response.status_code"]) == (
        "/api/v1/workloads",
        202,
    )
    assert all(span.parent_id in known for span in spans if span is not server)

    received = [span for span in spans if span.name == "receive"]
    types = [str(span.attributes["cloudevents.event_type"]).split(".")[2:4] for span in received]
    assert types == [["plan", "proposed"], ["plan", "approved"], ["deployment", "applied"]]
    assert all(span.kind == "CONSUMER" and not span.failed for span in received)
    assert [known[span.parent_id] for span in received] == [server, *received[:2]]
    [decided] = collector.named("decide")
    assert known[decided.parent_id] is received[0]
    assert decided.attributes["sentinel.verdict"] == "approved"
    patched = collector.named("patch deployments")[0]
    assert (patched.kind, patched.attributes["k8s.cluster.name"]) == ("CLIENT", "local")
    assert known[patched.parent_id] is received[1]
    for cause in (server, *received):
        stored = [span for span in spans if span.parent_id == cause.span_id and "db.system.name" in span.attributes]
        assert {span.attributes["db.system.name"] for span in stored} == {"postgresql"}
        assert {(span.name, span.kind) for span in stored} == {("transaction", "CLIENT")}
    assert collector.resources[0]["service.name"] == "tests"
    assert collector.resources[0]["deployment.environment.name"] == "test"
    assert "service.version" in collector.resources[0]


def test_a_tick_links_to_the_traces_that_it_continues(traced: Store, site: Site, collector: Collector) -> None:
    chain = Chain(traced, site)
    headers, body = chain.submitted(bake="PT1S")
    chain.run([({**headers, "ce-traceparent": PARENT}, body)])
    chain.settle()
    tracing.stop()
    ticks = [span for span in collector.named("receive") if span.attributes["cloudevents.event_type"] == TICK]
    assert (PARENT[3:35],) in [span.links for span in ticks]
    assert PARENT[3:35] not in {span.trace_id for span in ticks}


def test_what_the_relay_sends_links_to_the_trace_that_wrote_it(traced: Store, collector: Collector) -> None:
    deliver = Deliver(traced)
    headers, body = request(SUBMITTED, submission(), subject=None, reply=False, traceparent=PARENT)
    assert deliver.raw(INTAKE, headers, body).status == 200
    with serving_broker() as broker:
        publisher = HttpPublisher(broker.url)
        assert deliver(event_relay.build(traced, publisher), TICK, {}, subject=None).status == 202
        publisher.close()
    tracing.stop()
    [published] = collector.named("publish")
    assert (published.kind, published.links) == ("PRODUCER", (PARENT[3:35],))
    assert published.attributes["cloudevents.event_type"] == PROPOSED
    [event] = broker.events
    assert event.attributes["traceparent"][3:35] == PARENT[3:35]
    [wrote] = [span for span in collector.named("receive") if span.trace_id == PARENT[3:35]]
    assert event.attributes["traceparent"][36:52] == wrote.span_id


def test_the_answer_and_its_events_name_the_span_that_a_collector_gets(traced: Store, collector: Collector) -> None:
    answer = Deliver(traced).submit()
    tracing.stop()
    [received] = collector.named("receive")
    assert received.parent_id == ""
    assert answer.trace_id == received.trace_id
    assert answer.headers["ce-traceparent"] == f"00-{received.trace_id}-{received.span_id}-03"  # sampled, random id


def test_a_group_of_events_is_one_span_with_links_to_their_traces(traced: Store, collector: Collector) -> None:
    commit: GroupCommit[UnitOfWork, int] = GroupCommit(
        (PROPOSED,), lambda event: 1, lambda items, work: None, lambda attributes, body: None
    )
    other = PARENT.replace("0af7", "1bf8")
    requests = [request(PROPOSED, PLAN, traceparent=parent) for parent in (PARENT, other)]
    requests.append(request(PROPOSED, PLAN))
    answers = Processor(tells(), traced, CATALOGUE, "/tests").process_together(requests, commit)
    tracing.stop()
    assert [answer.trace_id for answer in answers] == [PARENT[3:35], other[3:35], ""]
    [received] = collector.named("receive")
    assert received.attributes["messaging.batch.message_count"] == 3
    assert (received.parent_id, received.links) == ("", (PARENT[3:35], other[3:35]))


@pytest.mark.parametrize("parent", ["00-1-1-01", PARENT.upper(), "ff" + PARENT[2:], PARENT + "-more", "x" * 9000])
def test_a_malformed_parent_begins_a_trace(traced: Store, collector: Collector, parent: str) -> None:
    answer = Deliver(traced)(INTAKE, SUBMITTED, submission(), subject=None, traceparent=parent, tracestate="a=b")
    tracing.stop()
    assert answer.status == 200
    assert "ce-tracestate" not in answer.headers
    [received] = collector.named("receive")
    assert (received.parent_id, received.trace_id) == ("", answer.trace_id)


def test_the_state_of_other_vendors_goes_through(traced: Store) -> None:
    answer = Deliver(traced)(INTAKE, SUBMITTED, submission(), subject=None, traceparent=PARENT, tracestate="a=b,c=d")
    assert answer.headers["ce-tracestate"] == "a=b,c=d"


def test_what_is_not_sampled_is_not_recorded_and_keeps_its_trace(traced: Store, collector: Collector) -> None:
    answer = Deliver(traced)(INTAKE, SUBMITTED, submission(), subject=None, traceparent=PARENT[:-2] + "00")
    tracing.stop()
    assert (answer.headers["ce-traceparent"][:36], answer.headers["ce-traceparent"][-2:]) == (PARENT[:36], "00")
    assert collector.spans == []


def test_a_failure_is_told_by_its_kind_alone(traced: Store, collector: Collector) -> None:
    secret = "hunter2-very-secret"
    with pytest.raises(DBAPIError), tracing.within(None, "test", SpanKind.INTERNAL, {}), traced.begin() as work:
        connection_of(work).execute(sa.text("SELECT CAST(:said AS int)"), {"said": secret})
    assert Deliver(traced)(POLICY, PROPOSED, {"name": secret}, event_id="1").status == 422
    tracing.stop()
    failed = {span.name: span.attributes["error.type"] for span in collector.spans if span.failed}
    assert failed == {"transaction": "22P02", "test": "ProgrammingError", "receive": "422"}
    assert secret not in repr(collector.spans)


def test_a_cluster_that_does_not_answer_fails_its_span(traced: Store, collector: Collector, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        gone = f"https://127.0.0.1:{free.getsockname()[1]}"
    transport = Transport("eu", Connection(gone, verify=False), loopback=True)
    with tracing.within(None, "test", SpanKind.INTERNAL, {}), pytest.raises(ClusterAway):
        transport.get("/api/v1/namespaces/team/pods", limit="1")
    tracing.stop()
    [asked] = collector.named("list pods")
    assert asked.failed
    assert asked.attributes["error.type"] == "ClusterAway"
    assert (asked.attributes["k8s.cluster.name"], asked.attributes["http.request.method"]) == ("eu", "GET")


def test_a_collector_that_hangs_holds_up_nothing(
    traced: Store, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a batch and does not answer; requests go on, and the process ends all the same."""
    monkeypatch.setattr("shared.spans.FLUSH_SECONDS", 0.1)
    collector.open.clear()
    deliver, recorder = Deliver(traced), tracing.recorder()
    assert recorder is not None
    for number in range(600):  # more than a batch
        with tracing.within(None, f"test {number}", SpanKind.INTERNAL, {}):
            pass
    until(lambda: collector.requests == 1)
    assert [deliver.submit(f"w{number}").status for number in range(5)] == [200] * 5
    tracing.stop()
    assert collector.spans == []


def test_a_collector_that_is_away_is_one_line_of_the_log(
    traced: Store, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 400
    for _ in range(3):
        assert Deliver(traced).submit().status == 200
        provider = logging.getLogger("opentelemetry.exporter")
        provider.error("Failed to export spans batch code: 400, reason: Bad Request")
    tracing.stop()
    lines = [record.getMessage() for record in caplog.records if "spans are lost" in record.getMessage()]
    assert lines == ["spans are lost, or late: Failed to export spans batch code: 400, reason: Bad Request"]
    assert not logging.getLogger("opentelemetry").propagate


@pytest.mark.slow
def test_a_process_that_is_ended_sends_its_last_spans(collector: Collector, tmp_path: Path, database_url: str) -> None:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "K_SERVICE": "workload-intake", "LOG_FORMAT": "json"}
    with served(["workload_intake"], tmp_path, DATABASE_URL=database_url, **settings) as function:
        headers, body = request(SUBMITTED, submission(), subject=None, traceparent=PARENT)
        assert function.request("POST", "/", headers, body)[0] == 200
        assert function.request("POST", "/", {**headers, "ce-id": "other"}, b"{}")[0] == 200
        assert function.terminate() == -15
    received = collector.named("receive")
    assert {(span.service, span.trace_id, span.parent_id) for span in received} == {
        ("workload-intake", PARENT[3:35], PARENT[36:52])
    }
    assert len(received) == 2
    lines = [json.loads(line) for line in function.output.read_text().splitlines()]
    assert [line["trace_id"] for line in lines if line["logger"] == "sentinel.endpoint"] == [PARENT[3:35]] * 2


@pytest.mark.slow
def test_nothing_of_opentelemetry_is_imported_unless_it_is_asked_for() -> None:
    code = """
import sys
from functions.{name} import main
from shared.store.unit_of_work import Store
assert not [name for name in sys.modules if name.split(".")[0] == "opentelemetry" or name == "shared.spans"]
"""
    disabled = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}
    settings = environment(DATABASE_URL="postgresql://h/d", CLUSTERS_DIR="/nowhere", **disabled)
    command = [sys.executable, "-c", code.format(name="health_verification")]
    assert subprocess.run(command, env=settings, check=False, timeout=60).returncode == 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ConfigurationError, match=r"opentelemetry.* is not installed: pip install 'sentinel\[tracing\]'"
    ):
        tracing.start("tests")
    assert tracing.recorder() is None


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)
