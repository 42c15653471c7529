"""The manifests of the null chain: the production broker, and a copy of a production Service and Trigger a hop."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from knative.local.runtime.platform import BASE
from tests.bench.null import HOPS, kind
from tests.support.manifests import read

_FUNCTION, _SINK = "workload-intake", "dead-letter"


def write_null_chain(directory: Path) -> Path:
    """A kustomization in `directory`; its path."""
    services = {document["metadata"]["name"]: document for document in _documents("services.yaml")}
    trigger = next(d for d in _documents("triggers.yaml") if d["spec"]["subscriber"]["ref"]["name"] == _FUNCTION)
    documents = [*_documents("namespace.yaml"), *_documents("broker.yaml"), services[_SINK]]
    for hop in range(1, HOPS + 1):
        documents += [_service(services[_FUNCTION], hop), _trigger(trigger, hop)]
    directory.mkdir()
    (directory / "chain.yaml").write_text(yaml.safe_dump_all(documents))
    (directory / "kustomization.yaml").write_text("resources: [chain.yaml]\n")
    return directory


def _documents(name: str) -> list[dict[str, Any]]:
    return copy.deepcopy(read(BASE / name))


def _service(template: dict[str, Any], hop: int) -> dict[str, Any]:
    service = copy.deepcopy(template)
    service["metadata"]["name"] = f"null-{hop}"
    container = service["spec"]["template"]["spec"]["containers"][0]
    container["command"] = ["python", "-m", "tests.bench.null"]
    container["env"].append({"name": "BENCH_HOP", "value": str(hop)})
    return service


def _trigger(template: dict[str, Any], hop: int) -> dict[str, Any]:
    trigger = copy.deepcopy(template)
    trigger["metadata"]["name"] = f"null-{hop}"
    trigger["spec"]["filters"] = [{"exact": {"type": kind(hop)}}]
    trigger["spec"]["subscriber"]["ref"]["name"] = f"null-{hop}"
    return trigger
