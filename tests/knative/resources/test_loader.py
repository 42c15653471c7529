"""What the loader refuses, each time with the file, the object and the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from knative.local.resources.loader import ManifestError, Name, load

CLOSED = Path(__file__).resolve().parents[3] / "knative" / "components" / "closed"
BROKER = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Broker",
    "metadata": {"name": "default", "namespace": "n", "annotations": {"eventing.knative.dev/broker.class": "Kafka"}},
    "spec": {},
}
SERVICE = {
    "apiVersion": "serving.knative.dev/v1",
    "kind": "Service",
    "metadata": {"name": "f", "namespace": "n"},
    "spec": {"template": {"spec": {"containers": [{"image": "i", "command": ["python"]}]}}},
}
TO_SERVICE = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "f"}}
TO_BROKER = {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}}
TRIGGER = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Trigger",
    "metadata": {"name": "t", "namespace": "n"},
    "spec": {"broker": "default", "subscriber": TO_SERVICE},
}
PING = {
    "apiVersion": "sources.knative.dev/v1",
    "kind": "PingSource",
    "metadata": {"name": "p", "namespace": "n"},
    "spec": {"schedule": "*/5 * * * * *", "sink": TO_BROKER},
}
API_SERVER = {
    "apiVersion": "sources.knative.dev/v1",
    "kind": "ApiServerSource",
    "metadata": {"name": "a", "namespace": "n"},
    "spec": {"resources": [{"apiVersion": "apps/v1", "kind": "Deployment"}], "sink": TO_BROKER},
}
BINDING = {
    "apiVersion": "sources.knative.dev/v1",
    "kind": "SinkBinding",
    "metadata": {"name": "b", "namespace": "n"},
    "spec": {"subject": TO_SERVICE["ref"], "sink": TO_BROKER},
}
DAEMON_SET = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "d", "namespace": "n"},
    "spec": {
        "selector": {"matchLabels": {"app": "d"}},
        "template": {
            "metadata": {"labels": {"app": "d"}},
            "spec": {
                "containers": [
                    {
                        "image": "i",
                        "command": ["python"],
                        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                    }
                ],
                "volumes": [{"name": "v", "hostPath": {"path": "/v", "type": "Directory"}}],
            },
        },
    },
}
TO_DAEMON_SET = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d"}


def changed(original: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one field set; `path` in dots, numbers are list positions."""
    copy: Any = yaml.safe_load(yaml.safe_dump(original))
    at, *rest = copy, *path.split(".")
    for part in rest[:-1]:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    at[rest[-1]] = value
    return copy  # type: ignore[no-any-return]  # YAML of a mapping is a mapping


def write(directory: Path, *objects: Any, kustomization: dict[str, Any] | None = None) -> Path:
    (directory / "all.yaml").write_text(yaml.safe_dump_all(objects))
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization or {"resources": ["all.yaml"]}))
    return directory


SECRETS = {("db", "url"), ("dir", None)}


def test_everything_that_is_understood(tmp_path: Path) -> None:
    to_agents = changed(changed(BINDING, "metadata.name", "d"), "spec.subject", TO_DAEMON_SET)
    objects = (BROKER, SERVICE, TRIGGER, PING, API_SERVER, BINDING, DAEMON_SET, to_agents)
    found = load(write(tmp_path, *objects), SECRETS)
    name = Name("n", "t")
    assert list(found.daemon_sets) == [Name("n", "d")]
    assert list(found.sink_bindings) == [Name("n", "b"), Name("n", "d")]
    assert list(found.triggers) == [name]
    assert found.triggers[name].spec.delivery is None
    assert [len(kind) for kind in (found.brokers, found.services, found.pings, found.api_servers)] == [1, 1, 1, 1]
    assert found.services[Name("n", "f")].window == 60


@pytest.mark.parametrize("kind", ["Namespace", "ServiceAccount", "ConfigMap"])
def test_kinds_without_meaning_on_one_machine_are_passed_over(tmp_path: Path, kind: str) -> None:
    inert = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "anything": 1}
    assert load(write(tmp_path, inert)).brokers == {}


def test_a_directory_among_the_resources_is_a_kustomization(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner", BROKER)
    write(tmp_path, SERVICE, kustomization={"resources": ["inner", "all.yaml"]})
    assert len(load(tmp_path).brokers) == 1


TRIGGER_CASES = [
    ("spec.delivery", {"backoffPolicy": "exponental"}, "spec.delivery.backoffPolicy: Input should be 'linear' or"),
    ("spec.delivery", {"backoffDelay": "0.2s"}, "spec.delivery.backoffDelay: '0.2s' is not an ISO 8601 duration"),
    ("spec.delivery", {"backoffDelay": 5}, "spec.delivery.backoffDelay: must be an ISO 8601 duration"),
    ("spec.delivery", {"timeout": "PT0S"}, "spec.delivery.timeout: must be longer than zero"),
    ("spec.delivery", {"timeout": "60"}, "spec.delivery.timeout: '60' is not an ISO 8601 duration"),
    ("spec.delivery", {"retry": -1}, "spec.delivery.retry: "),
    ("spec.delivery", {"retries": 3}, "spec.delivery.retries: Extra inputs"),
    ("spec.delivery", {"deadLetterSink": {"uri": "nowhere"}}, "spec.delivery.deadLetterSink.uri: "),
    (
        "spec.delivery.deadLetterSink.ref",
        {**TO_SERVICE["ref"], "name": "gone"},
        "deadLetterSink.ref.name: there is no Service n/gone",
    ),
    (
        "spec.delivery.deadLetterSink.ref",
        TO_BROKER["ref"],
        "deadLetterSink.ref: must be a serving.knative.dev/v1 Service",
    ),
    ("spec.broker", "other", "spec.broker: there is no Broker n/other"),
    ("metadata.namespace", "m", "spec.broker: there is no Broker m/default"),
    ("spec.subscriber.ref.name", "gone", "spec.subscriber.ref.name: there is no Service n/gone"),
    ("spec.subscriber", {}, "spec.subscriber: needs either ref or uri"),
    ("spec.subscriber", {**TO_SERVICE, "uri": "http://x/"}, "spec.subscriber: needs either ref or uri"),
    ("spec.filters", [{"cesql": "type = 'x'"}], "spec.filters[0]: the cesql dialect is not supported"),
    ("spec.filters", [{"exact": {}}, {"not": {"cesql": "x"}}], "spec.filters[1].not: the cesql dialect"),
    ("spec.filters", [{"exakt": {"type": "x"}}], "spec.filters[0].exakt: Extra inputs"),
    ("spec.filters", [{"exact": {"a": "b"}, "prefix": {"a": "b"}}], "spec.filters[0]: states more than one dialect"),
    ("spec.filters", [{"exact": {"a": 5}}], "spec.filters[0].exact.a: "),
    ("spec.filters", [{"not": {"exact": {"Type": "x"}}}], "spec.filters[0].not.exact: 'Type' is not the name of"),
    ("spec.filter", {"attributes": {"data-type": "x"}}, "spec.filter.attributes: 'data-type' is not the name of"),
    ("spec.filters", [{"any": [{"prefix": {"subject": "x"}}]}], "spec.filters[0].any[0]: prefix and suffix on subject"),
    ("spec.filter", {"atributes": {}}, "spec.filter.atributes: Extra inputs"),
    (
        "metadata.annotations",
        {"kafka.eventing.knative.dev/delivery.order": "ordered"},
        "metadata: annotations.kafka.eventing.knative.dev/delivery.order: ordered delivery is not supported",
    ),
    (
        "metadata.annotations",
        {"kafka.eventing.knative.dev/delivery.order": "sorted"},
        "it must be 'ordered' or 'unordered'",
    ),
]


@pytest.mark.parametrize(("path", "value", "message"), TRIGGER_CASES)
def test_a_trigger_that_is_refused(tmp_path: Path, path: str, value: Any, message: str) -> None:
    write(tmp_path, BROKER, SERVICE, changed(TRIGGER, path, value))
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path)
    assert f"{tmp_path}/all.yaml: Trigger t: " in str(refusal.value)
    assert message in str(refusal.value)


WINDOW = "autoscaling.knative.dev/window"
CONTAINER = "spec.template.spec.containers.0"
CASES = [
    (
        BROKER,
        "metadata.annotations",
        {},
        "Broker default: metadata: annotations.eventing.knative.dev/broker.class is None",
    ),
    (BROKER, "spec.delivery", {"backoffPolicy": "x"}, "Broker default: spec.delivery.backoffPolicy: "),
    (BROKER, "spec.delivery.deadLetterSink", changed(TO_SERVICE, "ref.name", "gone"), "there is no Service n/gone"),
    (PING, "spec.schedule", "*/5 * *", "PingSource p: spec.schedule: '*/5 * *' is not a cron schedule"),
    (PING, "spec.schedule", "61 * * * * *", "spec.schedule: "),
    (PING, "spec.schedule", "0 0 30 2 *", "PingSource p: spec.schedule: '0 0 30 2 *' names a time that never comes"),
    (PING, "spec.timezone", "Mars/Olympus", "spec.timezone: "),
    (PING, "spec.sink", TO_SERVICE, "PingSource p: spec.sink: must refer to an eventing.knative.dev/v1 Broker"),
    (PING, "spec.sink.ref.name", "gone", "spec.sink.ref.name: there is no Broker n/gone"),
    (API_SERVER, "spec.mode", "Resource", "ApiServerSource a: spec.mode: Input should be 'Reference'"),
    (API_SERVER, "spec.resources", [], "spec.resources: "),
    (
        API_SERVER,
        "spec.namespaceSelector",
        {"matchLabels": {"a": "b"}},
        "spec.namespaceSelector: only the empty selector",
    ),
    (BINDING, "spec.subject.name", "gone", "SinkBinding b: spec.subject: there is no Service n/gone"),
    (BINDING, "spec.subject", TO_DAEMON_SET, "SinkBinding b: spec.subject: there is no DaemonSet n/d"),
    (
        BINDING,
        "spec.subject",
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
        "SinkBinding b: spec.subject: apps/v1 Deployment does not run on a laptop",
    ),
    (DAEMON_SET, "spec.selector.matchLabels.app", "e", "DaemonSet d: spec: selector.matchLabels must be among the"),
    (DAEMON_SET, "spec.template.spec.hostNetwork", True, "DaemonSet d: spec.template.spec.hostNetwork: Extra inputs"),
    (DAEMON_SET, "spec.template.spec.volumes", [], "volumeMounts[0].name: there is no volume v"),
    (
        DAEMON_SET,
        f"{CONTAINER}.env.0.valueFrom.fieldRef.fieldPath",
        "status.hostIP",
        "containers[0].env[0].valueFrom.fieldRef.fieldPath: Input should be 'spec.nodeName'",
    ),
    (SERVICE, f"{CONTAINER}.command", [], f"Service f: {CONTAINER.replace('.0', '[0]')}.command: "),
    (SERVICE, f"{CONTAINER}.envv", [], "containers[0].envv: Extra inputs"),
    (
        SERVICE,
        f"{CONTAINER}.env",
        [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
        "containers[0].env[0].valueFrom: the platform has no Secret db with the key password",
    ),
    (SERVICE, f"{CONTAINER}.env", [{"name": "A", "valueFrom": {"fieldRef": {}}}], "env[0].valueFrom.secretKeyRef: "),
    (
        SERVICE,
        f"{CONTAINER}.env",
        [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}}],
        "env[0]: states both value and valueFrom",
    ),
    (
        SERVICE,
        f"{CONTAINER}.volumeMounts",
        [{"name": "v", "mountPath": "/v"}],
        "volumeMounts[0].name: there is no volume v",
    ),
    (SERVICE, "spec.template.spec.volumes", [{"name": "v", "emptyDir": {}}], "volumes[0].secret: Field required"),
    (SERVICE, "spec.template.spec.timeoutSeconds", 0, "spec.template.spec.timeoutSeconds: "),
    (SERVICE, "spec.template.spec.containerConcurrency", -1, "spec.template.spec.containerConcurrency: "),
    (
        SERVICE,
        "spec.template.metadata.annotations",
        {"autoscaling.knative.dev/scale-down-delay": "3Os"},
        "spec.template.metadata.annotations: autoscaling.knative.dev/scale-down-delay: '3Os' is not a duration",
    ),
    (
        SERVICE,
        "spec.template.metadata.annotations",
        {"autoscaling.knative.dev/scale-to-zero-pod-retention-period": "61m"},
        "autoscaling.knative.dev/scale-to-zero-pod-retention-period: must be between 0s and 1h, not 61m",
    ),
    (
        SERVICE,
        "spec.template.metadata.annotations",
        {"autoscaling.knative.dev/window": "30"},
        "autoscaling.knative.dev/window: '30' is not",
    ),
    (
        SERVICE,
        "spec.template.metadata.annotations",
        {"autoscaling.knative.dev/window": "5s"},
        "must be between 6s and 1h",
    ),
]


@pytest.mark.parametrize(("original", "path", "value", "message"), CASES)
def test_an_object_that_is_refused(
    tmp_path: Path, original: dict[str, Any], path: str, value: Any, message: str
) -> None:
    others = [each for each in (BROKER, SERVICE) if each is not original]
    write(tmp_path, *others, changed(original, path, value))
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path, SECRETS)
    assert f"{tmp_path}/all.yaml: {original['kind']} " in str(refusal.value)
    assert message in str(refusal.value)


def test_a_secret_that_cannot_be_mounted_is_refused(tmp_path: Path) -> None:
    service = changed(SERVICE, f"{CONTAINER}.volumeMounts", [{"name": "v", "mountPath": "/v"}])
    service = changed(service, "spec.template.spec.volumes", [{"name": "v", "secret": {"secretName": "other"}}])
    with pytest.raises(ManifestError, match=r"spec\.template\.spec\.volumes: the platform has no Secret other"):
        load(write(tmp_path, service), SECRETS)


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}
    with pytest.raises(ManifestError, match="Deployment d: kind: apps/v1 Deployment does not run on a laptop"):
        load(write(tmp_path, deployment))


def test_what_would_only_seem_to_close_the_laptop_is_refused(tmp_path: Path) -> None:
    policies = list(yaml.safe_load_all((CLOSED / "event-policies.yaml").read_text()))
    with pytest.raises(ManifestError, match=r"EventPolicy tick: kind: .* its broker does not know who sends an event"):
        load(write(tmp_path, *policies))


def test_a_second_object_of_one_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"metadata\.name: another object of this kind has the name n/default"):
        load(write(tmp_path, BROKER, BROKER))


@pytest.mark.parametrize("field", ["patches", "images", "configMapGenerator", "namespace", "components", "bases"])
def test_any_other_field_of_the_kustomization_is_refused(tmp_path: Path, field: str) -> None:
    write(tmp_path, BROKER, kustomization={"resources": ["all.yaml"], field: []})
    with pytest.raises(ManifestError, match=rf"kustomization\.yaml: {field}: only resources is supported"):
        load(tmp_path)


@pytest.mark.parametrize("resources", [None, "all.yaml", [5]])
def test_resources_must_be_a_list_of_names(tmp_path: Path, resources: Any) -> None:
    write(tmp_path, BROKER, kustomization={"resources": resources})
    with pytest.raises(ManifestError, match="resources: must be a list of file names"):
        load(tmp_path)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    write(tmp_path, kustomization={"resources": ["gone.yaml"]})
    with pytest.raises(ManifestError, match=r"gone\.yaml: cannot be read: No such file"):
        load(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("a: [", "is not YAML"), ("- 1", "a document that is not an object")])
def test_a_file_that_is_no_manifest_is_named(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path)
    (tmp_path / "all.yaml").write_text(text)
    with pytest.raises(ManifestError, match=rf"all\.yaml: .*{message}"):
        load(tmp_path)


def test_every_problem_of_an_object_is_told_at_once(tmp_path: Path) -> None:
    trigger = changed(TRIGGER, "spec.delivery", {"backoffPolicy": "x", "timeout": "x"})
    with pytest.raises(ManifestError) as refusal:
        load(write(tmp_path, BROKER, SERVICE, trigger))
    assert len(str(refusal.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: \xff", "all.yaml: is not YAML: 'utf-8' codec"),
        (b"a: 2026-13-01", "all.yaml: is not YAML: month must be in"),
        (b"apiVersion: []\nkind: {}", "all.yaml: {} None: kind: [] {} does not run on a laptop"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    write(tmp_path)
    (tmp_path / "all.yaml").write_bytes(text)
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path)
    assert message in str(refusal.value)


@pytest.mark.parametrize("entry", [".", "inner"])
def test_a_kustomization_that_contains_itself_is_refused(tmp_path: Path, entry: str) -> None:
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner", kustomization={"resources": [".."]})
    write(tmp_path, kustomization={"resources": [entry]})
    with pytest.raises(ManifestError, match=rf"kustomization.yaml: resources: \.+ leads back to {tmp_path}"):
        load(tmp_path)
