"""What clients ask before anything else: the version, the groups, and the resources of each group."""

from typing import Any

from knative.local.kubernetes.kinds import GROUPS, Kind, of_group
from knative.local.kubernetes.routes import subresources

Json = dict[str, Any]

MINOR = "37"
_VERBS = ("create", "delete", "get", "list", "patch", "watch")
_SHOWN = {"status": ["get", "patch"], "scale": ["get", "patch"], "log": ["get"]}
_SCALE = {"group": "autoscaling", "version": "v1", "kind": "Scale"}


def document(path: str) -> Json | None:
    """The discovery document at `path`, or None when the path is no such document."""
    parts = path.strip("/").split("/")
    if parts == ["version"]:
        version = {"major": "1", "minor": MINOR, "gitVersion": f"v1.{MINOR}.2+sentinel", "gitCommit": "stand-in"}
        return version | {"gitTreeState": "clean", "goVersion": "none", "compiler": "none", "platform": "linux/amd64"}
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if parts == ["apis"]:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in GROUPS if group]}
    if parts == ["api", "v1"]:
        return _resources("")
    if parts[0] == "apis" and parts[1] and parts[1] in GROUPS:
        if len(parts) == 2:
            return {"kind": "APIGroup", "apiVersion": "v1"} | _group(parts[1])
        return _resources(parts[1]) if parts[2:] == ["v1"] else None
    return None


def _group(group: str) -> Json:
    edition = {"groupVersion": f"{group}/v1", "version": "v1"}
    return {"name": group, "versions": [edition], "preferredVersion": edition}


def _resources(group: str) -> Json:
    resources = [entry for kind in of_group(group) for entry in (_resource(kind), *_subresources(kind))]
    api_version = f"{group}/v1" if group else "v1"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources}


def _resource(kind: Kind) -> Json:
    entry = {"name": kind.plural, "singularName": kind.name.lower(), "namespaced": kind.namespaced, "kind": kind.name}
    lists = {"verbs": _VERBS, "shortNames": kind.short_names, "categories": kind.categories}
    return entry | {name: list(words) for name, words in lists.items() if words}


def _subresources(kind: Kind) -> list[Json]:
    head = {"singularName": "", "namespaced": kind.namespaced}
    return [
        {"name": f"{kind.plural}/{name}", **head, "verbs": _SHOWN[name]}
        | (_SCALE if name == "scale" else {"kind": kind.name})
        for name in subresources(kind)
        if name in _SHOWN
    ]
