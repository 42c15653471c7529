"""What the production manifests promise, read as the laptop reads them."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from events import CATALOGUE
from knative.local.broker import delivery as rules
from knative.local.resources import loader
from knative.local.resources.loader import Manifests, Name
from knative.local.resources.manifests import ApiServerSource, DeliverySpec, Service, Trigger
from knative.local.runtime import secrets
from knative.local.runtime.platform import BASE
from shared.eventing.function import MAX_ATTEMPTS
from tests.support.manifests import base, kustomization

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = {
    "workload-intake",
    "policy-evaluation",
    "deployment-execution",
    "health-verification",
    "telemetry-ingestion",
    "event-relay",
    "dead-letter",
    "api",
}
# PostgreSQL's default max_connections, less those that it keeps for superusers.
CONNECTIONS = 100 - 3


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    return loader.load(BASE, secrets.SUPPLIED)


def containers() -> list[Any]:
    found = [document for document in base() if document["apiVersion"] == "serving.knative.dev/v1"]
    return [pytest.param(document["spec"]["template"], id=document["metadata"]["name"]) for document in found]


def taken(trigger: Trigger) -> str:
    """The one type that a trigger takes."""
    (entry,) = trigger.spec.filters
    assert entry.exact is not None
    assert list(entry.exact) == ["type"]
    return entry.exact["type"]


def test_the_laptop_reads_them(manifests: Manifests) -> None:
    assert {name.name for name in manifests.services} == FUNCTIONS
    assert list(manifests.brokers) == [Name("sentinel", "default")]
    assert len(manifests.pings) == len(manifests.api_servers) == 1


def test_the_kustomization_has_nothing_but_resources() -> None:
    assert set(kustomization()) == {"apiVersion", "kind", "resources"}
    assert {file.name for file in BASE.glob("*.yaml")} == {*kustomization()["resources"], "kustomization.yaml"}


def test_every_event_type_has_a_trigger_or_is_terminal(manifests: Manifests) -> None:
    routed = {taken(trigger) for trigger in manifests.triggers.values()}
    assert routed == {declared.name for declared in CATALOGUE if not declared.terminal}


def test_one_trigger_a_subscription(manifests: Manifests) -> None:
    pairs = [(trigger.spec.subscriber, taken(trigger)) for trigger in manifests.triggers.values()]
    assert len({(str(subscriber), kind) for subscriber, kind in pairs}) == len(pairs)


def test_every_trigger_states_every_delivery_field() -> None:
    triggers = [document for document in base() if document["kind"] == "Trigger"]
    fields = {"deadLetterSink", "retry", "backoffPolicy", "backoffDelay", "timeout"}
    assert all(set(document["spec"]["delivery"]) == fields for document in triggers)


def waits(delivery: DeliverySpec) -> list[float]:
    """The waits between the attempts of one delivery, in seconds."""
    found = (rules.wait(delivery, failed) for failed in range(1, delivery.retry + 1))
    return [seconds for seconds in found if seconds is not None]


def test_no_event_and_no_dead_letter_is_given_up_within_two_days(manifests: Manifests) -> None:
    """A dead letter has the retries of its Trigger. Kafka keeps a record for seven days."""
    deliveries = [broker.spec.delivery for broker in manifests.brokers.values()]
    deliveries += [
        trigger.spec.delivery
        for trigger in manifests.triggers.values()
        if trigger.spec.delivery is not None and not CATALOGUE[taken(trigger)].repeated
    ]
    for delivery in deliveries:
        found = waits(delivery)
        assert 2 * 86_400 < sum(found) < 7 * 86_400 / 2
        # No wait is longer than 10 s in an outage of a quarter of an hour, and none than 20 s in one of an hour.
        lasted = list(itertools.accumulate(found))
        assert max(wait for wait, before in zip(found, [0.0, *lasted], strict=False) if before < 900) < 10
        assert max(wait for wait, before in zip(found, [0.0, *lasted], strict=False) if before < 3600) < 20
        # Whoever crashes on an event is asked again until long after a short disturbance, and then no more.
        assert 40 < sum(found[:MAX_ATTEMPTS]) < 60


def test_what_the_tick_repeats_is_given_up_before_the_next_tick(manifests: Manifests) -> None:
    repeated = [trigger for trigger in manifests.triggers.values() if CATALOGUE[taken(trigger)].repeated]
    assert len(repeated) == 7
    assert all(trigger.spec.delivery and sum(waits(trigger.spec.delivery)) < 5 for trigger in repeated)


def test_dead_letters_of_every_trigger_go_to_the_function_that_keeps_them(manifests: Manifests) -> None:
    for trigger in manifests.triggers.values():
        delivery = trigger.spec.delivery
        assert delivery is not None
        assert delivery.dead_letter_sink is not None
        assert delivery.dead_letter_sink.ref is not None
        assert delivery.dead_letter_sink.ref.name == "dead-letter"


def test_a_delivery_outlasts_the_request_that_it_makes(manifests: Manifests) -> None:
    events = [service for name, service in manifests.services.items() if name.name != "api"]
    slowest = max(service.spec.template.spec.timeout_seconds for service in events)
    assert all(
        trigger.spec.delivery and trigger.spec.delivery.timeout >= slowest for trigger in manifests.triggers.values()
    )


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_each_function_runs_its_own_directory(manifests: Manifests, name: str) -> None:
    container = manifests.services[Name("sentinel", name)].spec.template.spec.containers[0]
    directory = name.replace("-", "_")
    assert container.command == ["python", "-m", "functions.serve", directory]
    assert (ROOT / "functions" / directory / "main.py").is_file()


@pytest.mark.parametrize(
    ("variable", "path", "functions"),
    [
        ("CLUSTERS_DIR", "/etc/sentinel/clusters", {"deployment-execution", "health-verification"}),
        ("SIGNING_KEYS_DIR", "/etc/sentinel/signing-keys", {"api"}),
        ("FIRST_ADMIN_PASSWORD_FILE", "/etc/sentinel/first-admin", {"api"}),
        ("AUDIT_SIGNING_KEY", "/etc/sentinel/audit", {"api"}),
    ],
)
def test_only_functions_that_need_a_mounted_secret_get_it(
    variable: str, path: str, functions: set[str], manifests: Manifests
) -> None:
    def gets(service: Service) -> bool:
        (container,) = service.spec.template.spec.containers
        mounted = path in {mount.mount_path for mount in container.volume_mounts}
        assert (variable in {one.name for one in container.env}) is mounted
        return mounted

    assert {name.name for name, service in manifests.services.items() if gets(service)} == functions


def test_every_function_that_fills_the_outbox_can_publish_it(manifests: Manifests) -> None:
    subjects = [binding.spec.subject for binding in manifests.sink_bindings.values()]
    assert {subject.name for subject in subjects if subject.kind == "Service"} == FUNCTIONS - {"dead-letter"}
    assert [name.name for name in manifests.sink_bindings] == [subject.name for subject in subjects]


def _name(template: dict[str, Any]) -> str:
    return str(template["metadata"]["labels"]["app.kubernetes.io/name"])


@pytest.mark.parametrize("template", containers())
def test_functions_scale_to_zero_within_bounds(template: dict[str, Any]) -> None:
    annotations = {
        name.removeprefix("autoscaling.knative.dev/"): text
        for name, text in template["metadata"]["annotations"].items()
    }
    assert annotations["min-scale"] == "0"
    assert int(annotations["max-scale"]) >= 1
    assert float(annotations["target"]) <= template["spec"]["containerConcurrency"]
    assert {"window", "scale-to-zero-pod-retention-period"} <= set(annotations)
    assert template["spec"]["timeoutSeconds"] > 0


def test_connections_of_all_functions_at_full_scale_fit_the_database() -> None:
    total = 0
    for template in (each.values[0] for each in containers()):
        container = template["spec"]["containers"][0]
        (pool,) = (int(variable["value"]) for variable in container["env"] if variable["name"] == "DATABASE_POOL_SIZE")
        given = {variable["name"]: variable.get("value") for variable in container["env"]}
        threads = int(given.get("HANDLER_THREADS", pool))
        if _name(template) in ("api", "telemetry-ingestion"):  # what streams or waits there holds no thread
            assert threads <= template["spec"]["containerConcurrency"]
        else:
            assert threads == template["spec"]["containerConcurrency"]
        total += pool * int(template["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"])
    assert total < CONNECTIONS


@pytest.mark.parametrize("template", containers())
def test_containers_are_pinned_bounded_and_unprivileged(template: dict[str, Any]) -> None:
    (container,) = template["spec"]["containers"]
    assert re.fullmatch(r"sentinel/functions:\d+\.\d+\.\d+", container["image"])
    assert set(container["resources"]) == {"requests", "limits"}
    path = "/readyz" if _name(template) == "api" else "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == path
    security = container["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_the_watcher_may_read_what_it_watches_and_nothing_more(manifests: Manifests) -> None:
    (source,) = manifests.api_servers.values()
    assert _watched(source) == {("apps", "deployments"), ("apps", "statefulsets"), ("batch", "jobs")}
    (role,) = (document for document in base() if document["kind"] == "ClusterRole")
    granted = {(group, kind) for rule in role["rules"] for group in rule["apiGroups"] for kind in rule["resources"]}
    assert granted == _watched(source)
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    (binding,) = (document for document in base() if document["kind"] == "ClusterRoleBinding")
    assert [subject["name"] for subject in binding["subjects"]] == [source.spec.service_account_name]


def _watched(source: ApiServerSource) -> set[tuple[str, str]]:
    assert all(
        each.selector.match_labels == {"app.kubernetes.io/managed-by": "sentinel"} for each in source.spec.resources
    )
    return {(each.api_version.split("/")[0], each.kind.lower() + "s") for each in source.spec.resources}


def test_the_tick_is_every_five_seconds(manifests: Manifests) -> None:
    (ping,) = manifests.pings.values()
    assert ping.spec.schedule == "*/5 * * * * *"


def test_no_secret_is_among_them() -> None:
    assert not [document for document in base() if document["kind"] == "Secret"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on the PATH")
def test_kubectl_renders_what_the_files_hold() -> None:
    rendered = subprocess.run(["kubectl", "kustomize", str(BASE)], capture_output=True, text=True, check=True).stdout

    def identities(documents: list[dict[str, Any]]) -> list[tuple[str, str]]:
        return sorted((document["kind"], document["metadata"]["name"]) for document in documents)

    assert identities(list(yaml.load_all(rendered, yaml.CSafeLoader))) == identities(base())
