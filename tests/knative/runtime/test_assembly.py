"""From manifests to processes: environments, sinks, subscriptions."""

from __future__ import annotations

import sys
from pathlib import Path

import aiohttp
import pytest

from knative.local.resources import loader
from knative.local.resources.loader import Manifests, Name
from knative.local.runtime import assembly, secrets
from knative.local.runtime.platform import BASE
from knative.local.runtime.secrets import Secrets
from knative.local.serving.services import LocalService, LocalServiceSpec

SUPPLIED = Secrets(
    {secrets.DATABASE: "postgresql://secret"},
    {secrets.CLUSTERS: Path("/state/clusters"), secrets.SIGNING_KEYS: Path("/state/keys")},
)


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    return loader.load(BASE, secrets.SUPPLIED)


def spec(manifests: Manifests, name: str, **overriding: str) -> LocalServiceSpec:
    service = manifests.services[Name("sentinel", name)]
    return assembly.service_spec(service, manifests, SUPPLIED, "http://127.0.0.1:9", overriding)


def test_the_process_of_a_service(manifests: Manifests) -> None:
    found = spec(manifests, "deployment-execution")
    assert found.command == [sys.executable, "-m", "functions.serve", "deployment_execution"]
    assert (found.name, found.namespace) == ("deployment-execution", "sentinel")
    assert (found.concurrency, found.timeout, found.window) == (16, 60, 30)
    assert found.env["DATABASE_URL"] == "postgresql://secret"
    assert found.env["CLUSTERS_DIR"] == "/state/clusters"
    assert found.env["K_SERVICE"] == "deployment-execution"


def test_an_optional_secret_that_is_not_there_is_not_mounted(manifests: Manifests) -> None:
    found = spec(manifests, "api")
    assert found.env["SIGNING_KEYS_DIR"] == "/state/keys"
    assert found.env["FIRST_ADMIN_PASSWORD_FILE"] == "/etc/sentinel/first-admin/password"


def test_only_the_bound_service_has_a_sink(manifests: Manifests) -> None:
    assert spec(manifests, "event-relay").env["K_SINK"] == "http://127.0.0.1:9/sentinel/default"
    assert "K_SINK" not in spec(manifests, "dead-letter").env


def test_what_the_platform_chooses_overrides_the_manifest(manifests: Manifests) -> None:
    assert spec(manifests, "event-relay").env["LOG_FORMAT"] == "json"
    assert spec(manifests, "event-relay", LOG_FORMAT="text").env["LOG_FORMAT"] == "text"


def test_the_shell_names_the_prometheus_of_the_function_that_asks_one(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spec(manifests, "telemetry-ingestion").env["PROMETHEUS_URL"] == ""
    monkeypatch.setenv("PROMETHEUS_URL", "http://127.0.0.1:9090")
    assert spec(manifests, "telemetry-ingestion").env["PROMETHEUS_URL"] == "http://127.0.0.1:9090"
    assert "PROMETHEUS_URL" not in spec(manifests, "policy-evaluation").env


def test_nothing_else_of_the_shell_reaches_a_function(manifests: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/mine")
    monkeypatch.setenv("DATABASE_URL", "postgresql://mine")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    env = spec(manifests, "workload-intake").env
    assert "KUBECONFIG" not in env
    assert env["DATABASE_URL"] == "postgresql://secret"
    assert env["LC_ALL"] == "C.UTF-8"


def test_secret_values_stay_out_of_repr() -> None:
    assert "secret" not in repr(SUPPLIED).replace("sentinel-clusters", "")


async def test_every_trigger_is_a_subscription_of_its_broker(
    manifests: Manifests, session: aiohttp.ClientSession
) -> None:
    services = {name: LocalService(spec(manifests, name.name)) for name in manifests.services}
    found = assembly.subscriptions(Name("sentinel", "default"), manifests, services, session)
    assert [each.trigger for each in found] == [str(name) for name in manifests.triggers]
    by_name = {each.trigger: each for each in found}
    execution = by_name["sentinel/deployment-execution-on-plan-approved"]
    assert execution.subscriber is services[Name("sentinel", "deployment-execution")]
    assert execution.sink is services[Name("sentinel", "dead-letter")]
    for service in services.values():
        await service.stop()
