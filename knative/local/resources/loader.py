"""Reads a kustomization into typed resources, and refuses what the laptop would not run as production does.

Of a kustomization only `resources:` is read: patches, images and generators would make another system than the one that
`kubectl kustomize` renders. Every refusal names the file, the object and the field. What is checked here beyond the
CRDs: the models' rules (see `manifests`), and every reference: broker, subscriber, sink, dead-letter sink, Secret.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from knative.local.resources.manifests import (
    INERT,
    KINDS,
    UNENFORCEABLE,
    ApiServerSource,
    BrokerResource,
    DaemonSet,
    Destination,
    Model,
    PingSource,
    Service,
    SinkBinding,
    Trigger,
    VolumeMount,
)

KUSTOMIZATION = "kustomization.yaml"
_KUSTOMIZATION_FIELDS = {"apiVersion", "kind", "resources"}
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # nine times as fast where PyYAML has libyaml
M = TypeVar("M", bound=Model)


class ManifestError(Exception):
    """A manifest that the laptop does not run; the message names file, object and field."""


@dataclass(frozen=True)
class Name:
    """What identifies an object of one kind."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Manifests:
    """Everything that runs, by name, in the order of the files."""

    brokers: dict[Name, BrokerResource]
    triggers: dict[Name, Trigger]
    services: dict[Name, Service]
    daemon_sets: dict[Name, DaemonSet]
    pings: dict[Name, PingSource]
    api_servers: dict[Name, ApiServerSource]
    sink_bindings: dict[Name, SinkBinding]


@dataclass(frozen=True)
class _Object:
    where: str
    resource: Model


def load(directory: Path, secrets: Collection[tuple[str, str | None]] = ()) -> Manifests:
    """The resources of the kustomization in `directory`.

    `secrets` are the Secrets that the platform supplies: (name, key), or (name, None) for one that is mounted whole.
    Raises ManifestError.
    """
    objects = [_parse(file, document) for file, document in _documents(directory)]
    found = [each for each in objects if each is not None]
    manifests = Manifests(
        brokers=_by_name(found, BrokerResource),
        triggers=_by_name(found, Trigger),
        services=_by_name(found, Service),
        daemon_sets=_by_name(found, DaemonSet),
        pings=_by_name(found, PingSource),
        api_servers=_by_name(found, ApiServerSource),
        sink_bindings=_by_name(found, SinkBinding),
    )
    for each in found:
        _check_references(each, manifests, frozenset(secrets))
    return manifests


def _documents(directory: Path, above: frozenset[Path] = frozenset()) -> Iterator[tuple[Path, Any]]:
    kustomization = directory / KUSTOMIZATION
    within = above | {directory.resolve()}
    listed = _yaml(kustomization)
    if len(listed) != 1 or not isinstance(listed[0], dict):
        raise ManifestError(f"{kustomization}: must hold one object with the field resources")
    for field in listed[0]:
        if field not in _KUSTOMIZATION_FIELDS:
            raise ManifestError(
                f"{kustomization}: {field}: only resources is supported on a laptop; "
                "render overlays with kubectl kustomize"
            )
    resources = listed[0].get("resources")
    if not isinstance(resources, list) or not all(isinstance(each, str) for each in resources):
        raise ManifestError(f"{kustomization}: resources: must be a list of file names")
    for entry in resources:
        path = directory / entry
        if path.is_dir():
            if path.resolve() in within:
                raise ManifestError(f"{kustomization}: resources: {entry} leads back to {path.resolve()}")
            yield from _documents(path, within)
        else:
            yield from ((path, document) for document in _yaml(path) if document is not None)


def _yaml(path: Path) -> list[Any]:
    try:
        return list(yaml.load_all(path.read_text(encoding="utf-8"), _YAML_LOADER))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    # ValueError: bytes that are not UTF-8, a date that does not exist.
    except (yaml.YAMLError, ValueError) as error:
        raise ManifestError(f"{path}: is not YAML: {error}") from error


def _parse(path: Path, document: Any) -> _Object | None:
    if not isinstance(document, dict):
        raise ManifestError(f"{path}: holds a document that is not an object")
    version, kind = str(document.get("apiVersion")), str(document.get("kind"))
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    where = f"{path}: {kind} {name}"
    if (version, kind) in INERT:
        return None
    model = KINDS.get((version, kind))
    if model is None:
        why = UNENFORCEABLE.get(kind, "")
        raise ManifestError(f"{where}: kind: {version} {kind} does not run on a laptop{why and f': {why}'}")
    try:
        return _Object(
            where, model.model_validate({k: v for k, v in document.items() if k not in ("apiVersion", "kind")})
        )
    except ValidationError as error:
        raise ManifestError(_describe(where, error)) from error


def _describe(where: str, error: ValidationError) -> str:
    """One line a problem: file, object, field, what is wrong."""
    lines = []
    for problem in error.errors():
        field = ""
        for part in problem["loc"]:
            field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else part
        lines.append(f"{where}: {field}: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def _by_name(objects: list[_Object], kind: type[M]) -> dict[Name, M]:
    found: dict[Name, M] = {}
    for each in objects:
        if isinstance(each.resource, kind):
            name = _name(each.resource)
            if name in found:
                raise ManifestError(f"{each.where}: metadata.name: another object of this kind has the name {name}")
            found[name] = each.resource
    return found


def _name(resource: Any) -> Name:
    return Name(resource.metadata.namespace, resource.metadata.name)


def _check_references(each: _Object, known: Manifests, secrets: frozenset[tuple[str, str | None]]) -> None:
    match each.resource:
        case BrokerResource() as broker:
            _check_sink(
                each.where, "spec.delivery.deadLetterSink", broker.spec.delivery.dead_letter_sink, broker, known
            )
        case Trigger() as trigger:
            named = Name(trigger.metadata.namespace, trigger.spec.broker)
            if named not in known.brokers:
                raise ManifestError(f"{each.where}: spec.broker: there is no Broker {named}")
            _check_sink(each.where, "spec.subscriber", trigger.spec.subscriber, trigger, known)
            delivery = trigger.spec.delivery
            if delivery is not None:
                _check_sink(each.where, "spec.delivery.deadLetterSink", delivery.dead_letter_sink, trigger, known)
        case PingSource() | ApiServerSource() as source:
            _check_source_sink(each.where, source.spec.sink, source, known)
        case SinkBinding() as binding:
            _check_source_sink(each.where, binding.spec.sink, binding, known)
            _check_subject(each.where, binding, known)
        case Service() as service:
            _check_service(each.where, service, secrets)
        case DaemonSet() as daemon_set:
            spec = daemon_set.spec.template.spec
            _check_mounts(each.where, spec.containers[0].volume_mounts, {volume.name for volume in spec.volumes})


def _check_subject(where: str, binding: SinkBinding, known: Manifests) -> None:
    subject = binding.spec.subject
    target = Name(subject.namespace or binding.metadata.namespace, subject.name)
    match subject.api_version, subject.kind:
        case "serving.knative.dev/v1", "Service":
            found = target in known.services
        case "apps/v1", "DaemonSet":
            found = target in known.daemon_sets
        case version, kind:
            raise ManifestError(f"{where}: spec.subject: {version} {kind} does not run on a laptop")
    if not found:
        raise ManifestError(f"{where}: spec.subject: there is no {subject.kind} {target}")


def _check_sink(where: str, field: str, sink: Destination | None, owner: Any, known: Manifests) -> None:
    if sink is None or sink.ref is None:
        return
    target = Name(sink.ref.namespace or owner.metadata.namespace, sink.ref.name)
    if (sink.ref.api_version, sink.ref.kind) != ("serving.knative.dev/v1", "Service"):
        raise ManifestError(f"{where}: {field}.ref: must be a serving.knative.dev/v1 Service, not {sink.ref.kind}")
    if target not in known.services:
        raise ManifestError(f"{where}: {field}.ref.name: there is no Service {target}")


def _check_source_sink(where: str, sink: Destination, owner: Any, known: Manifests) -> None:
    ref = sink.ref
    if ref is None or (ref.api_version, ref.kind) != ("eventing.knative.dev/v1", "Broker"):
        raise ManifestError(f"{where}: spec.sink: must refer to an eventing.knative.dev/v1 Broker")
    target = Name(ref.namespace or owner.metadata.namespace, ref.name)
    if target not in known.brokers:
        raise ManifestError(f"{where}: spec.sink.ref.name: there is no Broker {target}")


def _check_service(where: str, service: Service, secrets: frozenset[tuple[str, str | None]]) -> None:
    spec = service.spec.template.spec
    container, volumes = spec.containers[0], {volume.name: volume for volume in spec.volumes}
    at = "spec.template.spec"
    for index, env in enumerate(container.env):
        if env.value_from is not None:
            ref = env.value_from.secret_key_ref
            if (ref.name, ref.key) not in secrets:
                raise ManifestError(
                    f"{where}: {at}.containers[0].env[{index}].valueFrom: "
                    f"the platform has no Secret {ref.name} with the key {ref.key}"
                )
    _check_mounts(where, container.volume_mounts, volumes)
    for mount in container.volume_mounts:
        secret = volumes[mount.name].secret
        if (secret.secret_name, None) not in secrets and not secret.optional:
            raise ManifestError(f"{where}: {at}.volumes: the platform has no Secret {secret.secret_name} to mount")


def _check_mounts(where: str, mounts: Iterable[VolumeMount], volumes: Collection[str]) -> None:
    for index, mount in enumerate(mounts):
        if mount.name not in volumes:
            at = f"spec.template.spec.containers[0].volumeMounts[{index}].name"
            raise ManifestError(f"{where}: {at}: there is no volume {mount.name}")
