"""Tells somebody who gives Sentinel a Kubernetes object what to write instead.

Sentinel takes workloads and policies in a form of its own and makes the Kubernetes objects itself. Without this check
the answer to a manifest is one message for each field that a workload does not have.
"""

import json
from collections.abc import Mapping
from typing import Any

_WORKLOAD_TYPES = {
    ("apps/v1", "Deployment"): "service",
    ("apps/v1", "ReplicaSet"): "service",
    ("apps/v1", "StatefulSet"): "stateful",
    ("batch/v1", "Job"): "batch",
    ("v1", "Pod"): "service",
}
_LONGEST = 200


def refuse_as_workload(data: Any) -> Any:
    """The data, if it is no Kubernetes object. Raises ValueError with the workload to write instead."""
    if is_kubernetes_object(data):
        kind = _text(data.get("kind"), "object")
        known = _WORKLOAD_TYPES.get((str(data.get("apiVersion")), str(data.get("kind"))))
        name = _text(_at(data, "metadata", "name"), "my-workload")
        image = _text(_image(data), "nginx:1.29")
        wanted = json.dumps({"name": name, "type": known or "service", "image": image})
        made = f"makes the {kind} of it" if known else f"makes Deployments, Jobs and StatefulSets alone, no {kind}"
        raise ValueError(f"is a Kubernetes {kind}; Sentinel takes a workload and {made}: write for instance {wanted}")
    return data


def refuse_as_policy(data: Any) -> Any:
    """The data, if it is no Kubernetes object. Raises ValueError with the policy to write instead."""
    if is_kubernetes_object(data):
        kind = _text(data.get("kind"), "object")
        wanted = json.dumps(
            {"name": _text(_at(data, "metadata", "name"), "my-policy"), "rules": [{"type": "security"}]}
        )
        raise ValueError(f"is a Kubernetes {kind}; a policy of Sentinel has no apiVersion: write for instance {wanted}")
    return data


def is_kubernetes_object(data: Any) -> bool:
    """Whether it says of itself that it is one: every object has both fields, and nothing of Sentinel has either."""
    return isinstance(data, Mapping) and "apiVersion" in data and "kind" in data


def _image(data: Mapping[str, Any]) -> object:
    for path in (("spec", "template", "spec", "containers"), ("spec", "containers")):
        containers = _at(data, *path)
        if isinstance(containers, list) and containers:
            return _at(containers[0], "image")
    return None


def _at(data: Any, *path: str) -> Any:
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _text(value: object, otherwise: str) -> str:
    """A value of the caller's own, unless it is none or would not fit into one line."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST else otherwise
