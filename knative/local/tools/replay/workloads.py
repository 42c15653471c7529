"""From pods and nodes of a trace to what Sentinel and Kubernetes understand. Pure.

A pod becomes a workload of one replica: an inference workload if it has GPUs, a service if not, of the team that its
QoS class stands for. A workload names one GPU model at most; of several that a pod would take, it gets the one of
which the cluster has most (then by name), and none if the pod would take any.
"""

from __future__ import annotations

import csv
import uuid
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from importlib.resources import files
from typing import Any

from knative.local.tools.replay.trace import Node, Pod, TraceError
from shared.models.gpu import GPU_RESOURCE, PRODUCT_LABEL, normalise_sku, product_of
from shared.models.resources import MIN_CPU, MIN_MEMORY
from shared.models.workload import workload_id
from shared.rollout.pricing import Price, PriceKind

NAMESPACE = "replay"
DEADLINE_SECONDS = 20
"""How long a workload may wait for a free node. Pods are ready as soon as they have one, so this is plenty."""

_IMAGE = "fate.test/ready"
_PODS_A_NODE = 110  # the kubelet's default


def workload_of(pod: Pod, capacity: Mapping[str, int]) -> dict[str, Any]:
    """The workload document of a pod. capacity: GPUs by SKU."""
    gpu: dict[str, Any] = {"count": pod.gpus}
    if pod.gpus and pod.models:
        gpu["sku"] = min((normalise_sku(m) for m in pod.models), key=lambda sku: (-capacity.get(sku, 0), sku))
    return {
        **withdrawal_of(pod),
        "type": "inference" if pod.gpus else "service",
        "image": _IMAGE,
        "resources": {
            "cpu": f"{max(pod.cpu, MIN_CPU)}m",
            "memory": f"{max(pod.memory_mib, MIN_MEMORY >> 20)}Mi",
            "gpu": gpu,
        },
        "labels": {"qos": pod.qos},
        "deadline": f"PT{DEADLINE_SECONDS}S",
        "bake": "PT0S",
    }


def withdrawal_of(pod: Pod) -> dict[str, str]:
    """What names the workload of a pod."""
    return {"name": pod.name, "team": _team(pod), "namespace": NAMESPACE}


def id_of(pod: Pod) -> uuid.UUID:
    """The id that Sentinel gives the workload of a pod."""
    return workload_id(_team(pod), NAMESPACE, pod.name)


def node_object(node: Node) -> dict[str, Any]:
    """The Kubernetes Node, as a client creates it."""
    labels = {"kubernetes.io/hostname": node.name}
    if node.gpus:
        labels |= {PRODUCT_LABEL: product_of(normalise_sku(node.model)), "nvidia.com/gpu.count": str(node.gpus)}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": labels}}


def node_status(node: Node) -> dict[str, Any]:
    """The patch of the Node's status that a kubelet would make: what it has, and that it is ready."""
    resources = {"cpu": f"{node.cpu}m", "memory": f"{node.memory_mib}Mi", "pods": str(_PODS_A_NODE)}
    if node.gpus:
        resources[GPU_RESOURCE] = str(node.gpus)
    ready = {"type": "Ready", "status": "True", "reason": "Replayed", "message": "a node of the trace"}
    return {"status": {"capacity": resources, "allocatable": resources, "conditions": [ready]}}


def invented_prices() -> list[Price]:
    """Prices for the models of the published trace that no public list has; each says that it is invented."""
    with files("knative.local.tools.replay").joinpath("prices.csv").open(encoding="utf-8") as source:
        return [
            Price(
                PriceKind(row["kind"]),
                Decimal(row["usd_per_hour"]),
                row["source"],
                date.fromisoformat(row["priced_on"]),
                sku=row["sku"],
            )
            for row in csv.DictReader(source)
        ]


def require_prices(skus: Iterable[str], prices: Iterable[Price]) -> None:
    """Raises TraceError for GPUs without a price: every workload that could land on one would be rejected."""
    priced = {price.sku for price in prices if price.kind is PriceKind.GPU}
    if missing := sorted(set(skus) - priced):
        raise TraceError(
            f"no price for the GPU models {', '.join(missing)}; add them to knative/local/tools/replay/prices.csv"
        )


def _team(pod: Pod) -> str:
    return pod.qos.lower().replace("_", "-").replace(".", "-")
