"""From manifests to running parts: which process a Service is, which Triggers a Broker has, what a sink's URL is.

The counterpart of Knative's controllers, as pure construction: nothing starts here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import aiohttp

from knative.local.broker.addressables import Addressable, HttpAddressable
from knative.local.broker.dispatcher import Subscription
from knative.local.resources.loader import Manifests, Name
from knative.local.resources.manifests import Destination, Service, Trigger
from knative.local.runtime.secrets import Secrets, environment
from knative.local.serving.services import LocalService, LocalServiceSpec

# What a process needs of the machine. Nothing else of the shell's environment reaches a function, as in a container.
_INHERITED = ("PATH", "HOME", "USER", "LANG", "TMPDIR", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_INHERITED_PREFIXES = ("LC_", "PYTHON", "COVERAGE", "CLUSTERS_ALLOW_INSECURE")


def service_spec(
    service: Service, manifests: Manifests, secrets: Secrets, base_url: str, overriding: Mapping[str, str]
) -> LocalServiceSpec:
    """The process of one Service.

    `base_url` is where the platform's own port is. `overriding` is the environment that whoever starts the platform
    chooses, not the manifest.
    """
    spec, metadata = service.spec.template.spec, service.metadata
    container = spec.containers[0]
    command = [*container.command, *container.args]
    if command[0] in ("python", "python3"):
        command[0] = sys.executable
    inherited = {k: v for k, v in os.environ.items() if k in _INHERITED or k.startswith(_INHERITED_PREFIXES)}
    name = Name(metadata.namespace, metadata.name)
    env = {
        **inherited,
        "K_SERVICE": metadata.name,
        "CLUSTERS_ALLOW_LOOPBACK": "true",  # a laptop's clusters are there
        **_bound_sinks(name, manifests, base_url),
        **environment(spec, secrets),
        **overriding,
    }
    return LocalServiceSpec(
        name=metadata.name,
        namespace=metadata.namespace,
        command=command,
        env=env,
        concurrency=spec.container_concurrency,
        timeout=spec.timeout_seconds,
        window=service.window,
    )


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


def _bound_sinks(service: Name, manifests: Manifests, base_url: str) -> dict[str, str]:
    for binding in manifests.sink_bindings.values():
        subject = binding.spec.subject
        if subject.kind == "Service" and Name(subject.namespace or service.namespace, subject.name) == service:
            return {"K_SINK": broker_url(base_url, sink_broker(binding.spec.sink, binding.metadata.namespace))}
    return {}


def sink_broker(sink: Destination, namespace: str) -> Name:
    """The Broker that a source of `namespace` sends to."""
    assert sink.ref is not None  # the loader lets only references to Brokers pass
    return Name(sink.ref.namespace or namespace, sink.ref.name)
