"""From manifests to running parts: the process of a Service or DaemonSet, the Triggers of a Broker, the URL of a sink.

The counterpart of Knative's controllers, as pure construction: nothing starts here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from knative.local.broker.addressables import Addressable, HttpAddressable
from knative.local.broker.dispatcher import Subscription
from knative.local.resources.loader import Manifests, Name
from knative.local.resources.manifests import ContainerBase, DaemonSet, Destination, Service, Trigger
from knative.local.runtime.secrets import Secrets, environment, mounted
from knative.local.serving.daemon import DaemonSpec
from knative.local.serving.services import LocalService, LocalServiceSpec

# What a process needs of the machine. Nothing else of the shell's environment reaches a function, as in a container.
_INHERITED = ("PATH", "HOME", "USER", "LANG", "TMPDIR", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_INHERITED_PREFIXES = ("LC_", "PYTHON", "COVERAGE", "CLUSTERS_ALLOW_INSECURE", "OTEL_")

_CHOSEN = ("PROMETHEUS_URL", "PROMETHEUS_TOKEN_FILE", "PROMETHEUS_CA")
"""What of the shell's environment goes before a manifest that names the first of these."""


def service_spec(
    service: Service, manifests: Manifests, secrets: Secrets, base_url: str, overriding: Mapping[str, str]
) -> LocalServiceSpec:
    """The process of one Service.

    `base_url` is where the platform's own port is. `overriding` is the environment that whoever starts the platform
    chooses, not the manifest.
    """
    spec, metadata = service.spec.template.spec, service.metadata
    named = environment(spec, secrets)
    env = {
        **_inherited(),
        "K_SERVICE": metadata.name,
        "CLUSTERS_ALLOW_LOOPBACK": "true",  # a laptop's clusters are there
        **_bound_sink("Service", Name(metadata.namespace, metadata.name), manifests, base_url),
        **named,
        **{name: os.environ[name] for name in _CHOSEN if name in os.environ and _CHOSEN[0] in named},
        **overriding,
    }
    return LocalServiceSpec(
        name=metadata.name,
        namespace=metadata.namespace,
        command=_command(spec.containers[0]),
        env=env,
        concurrency=spec.container_concurrency,
        timeout=spec.timeout_seconds,
        window=service.window,
    )


def daemon_spec(
    daemon_set: DaemonSet,
    manifests: Manifests,
    base_url: str,
    node: str,
    file_system: Path,
    overriding: Mapping[str, str],
) -> DaemonSpec:
    """The process of one DaemonSet on one simulated node, whose file system is the directory `file_system`."""
    spec, metadata = daemon_set.spec.template.spec, daemon_set.metadata
    container, volumes = spec.containers[0], {volume.name: volume.host_path.path for volume in spec.volumes}
    mounts = {mount.mount_path: file_system / volumes[mount.name].lstrip("/") for mount in container.volume_mounts}
    env = {
        **_inherited(),
        **_bound_sink("DaemonSet", Name(metadata.namespace, metadata.name), manifests, base_url),
        **{
            variable.name: node if variable.value_from is not None else mounted(variable.value or "", mounts)
            for variable in container.env
        },
        **overriding,
    }
    name, grace = f"{metadata.name} {node}", spec.termination_grace_period_seconds
    return DaemonSpec(name, _command(container), env, grace, tuple(mounts.values()))


def subscriptions(
    broker: Name, manifests: Manifests, services: Mapping[Name, LocalService], session: aiohttp.ClientSession
) -> list[Subscription]:
    """The Triggers of one Broker, resolved."""
    default = manifests.brokers[broker].spec.delivery
    found = []
    for name, trigger in manifests.triggers.items():
        if Name(name.namespace, trigger.spec.broker) == broker:
            delivery = trigger.spec.delivery or default
            # The reference of the Broker's own sink is relative to the Broker; both are in one namespace.
            sink = _target(delivery.dead_letter_sink, trigger, services, session) if delivery.dead_letter_sink else None
            subscriber = _target(trigger.spec.subscriber, trigger, services, session)
            found.append(Subscription(str(name), name.namespace, trigger.spec, delivery, subscriber, sink))
    return found


def broker_url(base_url: str, broker: Name) -> str:
    """The ingress of a broker."""
    return f"{base_url}/{broker.namespace}/{broker.name}"


def _target(
    destination: Destination, trigger: Trigger, services: Mapping[Name, LocalService], session: aiohttp.ClientSession
) -> Addressable:
    if destination.ref is not None:
        return services[Name(destination.ref.namespace or trigger.metadata.namespace, destination.ref.name)]
    assert destination.uri is not None  # the model holds exactly one of both
    return HttpAddressable(destination.uri, session)


def _command(container: ContainerBase) -> list[str]:
    command = [*container.command, *container.args]
    return [sys.executable, *command[1:]] if command[0] in ("python", "python3") else command


def _inherited() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k in _INHERITED or k.startswith(_INHERITED_PREFIXES)}


def _bound_sink(kind: str, name: Name, manifests: Manifests, base_url: str) -> dict[str, str]:
    for binding in manifests.sink_bindings.values():
        subject = binding.spec.subject
        if (subject.kind, Name(subject.namespace or binding.metadata.namespace, subject.name)) == (kind, name):
            return {"K_SINK": broker_url(base_url, sink_broker(binding.spec.sink, binding.metadata.namespace))}
    return {}


def sink_broker(sink: Destination, namespace: str) -> Name:
    """The Broker that a source of `namespace` sends to."""
    assert sink.ref is not None  # the loader lets only references to Brokers pass
    return Name(sink.ref.namespace or namespace, sink.ref.name)
