"""OpenAPI v3 of the served kinds, as much of it as `kubectl apply` and `kubectl create -f` read.

`kubectl` looks for the query parameter `fieldValidation` of a kind's PATCH. Where it is there, the server validates
the fields, and `kubectl` asks for no schema.
"""

from typing import Any

from knative.local.kubernetes.kinds import GROUPS, Kind, of_group
from knative.local.kubernetes.routes import path

Json = dict[str, Any]

_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string"}}
    for name in ("dryRun", "fieldManager", "fieldValidation", "force")
]


def document(address: str) -> Json | None:
    """The document at `/openapi/v3<address>`, or None; the address "" is the index."""
    addresses = {f"/apis/{group}/v1" if group else "/api/v1": group for group in GROUPS}
    if not address:
        return {"paths": {name[1:]: {"serverRelativeURL": f"/openapi/v3{name}"} for name in addresses}}
    if address not in addresses:
        return None
    kinds = of_group(addresses[address])
    paths = {path(kind, "{namespace}" if kind.namespaced else "", "{name}"): {"patch": _patch(kind)} for kind in kinds}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": paths}


def _patch(kind: Kind) -> Json:
    type_ = {"group": kind.group, "version": kind.version, "kind": kind.name}
    return {"parameters": _PARAMETERS, "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": type_}
