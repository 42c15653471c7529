"""What clients ask before anything else: versions, groups and resources, in the plain and in the aggregated form."""

from typing import Any

from knative.local.kubernetes.kinds import GROUPS, NAMESPACE, Kind, of_group
from knative.local.kubernetes.routes import NO_CONTAINERS, subresources

Json = dict[str, Any]

MINOR = "37"
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
# Refused when they are used; not worth showing.
_HIDDEN = (*(name for name in NO_CONTAINERS if name != "log"), "finalize")


def version() -> Json:
    return {
        "major": "1",
        "minor": MINOR,
        "gitVersion": f"v1.{MINOR}.2+sentinel",
        "gitCommit": "stand-in",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "none",
        "platform": "linux/amd64",
    }


def document(path: str, accept: str) -> tuple[Json, str] | None:
    """The discovery document at `path` and its content type, or None when the path is no such document."""
    parts = path.strip("/").split("/")
    plain = "application/json"
    if path.rstrip("/") == "/version":
        return version(), plain
    if path.rstrip("/") in ("/api", "/apis"):
        groups = [group for group in GROUPS if bool(group) == (parts[0] == "apis")]
        if "APIGroupDiscoveryList" in accept and "v=v2;" in accept.replace("v=v2,", "v=v2;"):
            return _aggregated(groups), _AGGREGATED
        if parts[0] == "api":
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}, plain
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in groups]}, plain
    if parts == ["api", "v1"]:
        return _resources(""), plain
    if len(parts) == 2 and parts[0] == "apis" and parts[1] in GROUPS:
        return {"kind": "APIGroup", "apiVersion": "v1"} | _group(parts[1]), plain
    if len(parts) == 3 and parts[0] == "apis" and parts[1] in GROUPS and parts[2] == "v1":
        return _resources(parts[1]), plain
    return None


def _group(group: str) -> Json:
    edition = {"groupVersion": f"{group}/v1", "version": "v1"}
    return {"name": group, "versions": [edition], "preferredVersion": edition}


def verbs(kind: Kind) -> list[str]:
    return [verb for verb in VERBS if kind is not NAMESPACE or verb != "deletecollection"]


def _subresource(kind: Kind, name: str) -> tuple[Json, list[str]]:
    """The type that a subresource speaks, and its verbs."""
    if name == "scale":
        return {"group": "autoscaling", "version": "v1", "kind": "Scale"}, ["get", "patch", "update"]
    if name == "eviction":
        return {"group": "policy", "version": "v1", "kind": "Eviction"}, ["create"]
    return {"kind": kind.name}, ["get"] if name == "log" else ["get", "patch", "update"]


def _shown(kind: Kind) -> list[str]:
    return [name for name in subresources(kind) if name not in _HIDDEN]


def _resources(group: str) -> Json:
    resources: list[Json] = []
    for kind in of_group(group):
        entry: Json = {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.name,
            "verbs": verbs(kind),
        }
        if kind.short_names:
            entry["shortNames"] = list(kind.short_names)
        if kind.categories:
            entry["categories"] = list(kind.categories)
        resources.append(entry)
        for name in _shown(kind):
            speaks, allowed = _subresource(kind, name)
            head = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
            resources.append(head | speaks | {"verbs": allowed})
    api_version = f"{group}/v1" if group else "v1"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources}


def _aggregated(groups: list[str]) -> Json:
    items: list[Json] = []
    for group in groups:
        resources = [_aggregated_resource(kind) for kind in of_group(group)]
        items.append(
            {
                "metadata": {"name": group} if group else {},
                "versions": [{"version": "v1", "resources": resources, "freshness": "Current"}],
            }
        )
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _aggregated_resource(kind: Kind) -> Json:
    entry: Json = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.name},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": verbs(kind),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    parts: list[Json] = []
    for name in _shown(kind):
        speaks, allowed = _subresource(kind, name)
        response = {"group": kind.group, "version": kind.version} | speaks
        parts.append({"subresource": name, "responseKind": response, "verbs": allowed})
    if parts:
        entry["subresources"] = parts
    return entry
