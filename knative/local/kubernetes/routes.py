"""From a URL path to the resource that it names. Pure; the grammar is that of the Kubernetes API.

`/api/v1/...` is the core group and `/apis/<group>/<version>/...` are the others. Then come `namespaces/<namespace>`
for a namespaced kind, the plural, a name, and a subresource.
"""

from dataclasses import dataclass
from urllib.parse import unquote

from knative.local.kubernetes.kinds import BY_PATH, POD, Kind

NO_CONTAINERS = ("log", "exec", "attach", "portforward")
"""Subresources of a pod that need a running container."""


@dataclass(frozen=True)
class Resource:
    """`name` is "" for a collection; `namespace` is "" for all namespaces or a cluster-scoped kind."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)


def resource(path: str) -> Resource | None:
    """The resource that a path names, or None when there is none."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and (group, version, rest[2]) in BY_PATH:
        namespace, rest = rest[1], rest[2:]
    kind = BY_PATH.get((group, version, rest[0]))
    if kind is None or len(rest) > 3 or not all(rest[1:]) or (namespace and not kind.namespaced):
        return None
    name, subresource = [*rest[1:], "", ""][:2]
    if kind.namespaced and name and not namespace:
        return None
    return Resource(kind, namespace, name, subresource) if subresource in ("", *subresources(kind)) else None


def subresources(kind: Kind) -> tuple[str, ...]:
    names = (("status",) if kind.status else ()) + (("scale",) if kind.scale else ())
    return names + (NO_CONTAINERS if kind is POD else ())


def path(kind: Kind, namespace: str, name: str = "") -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    home = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{home}/{kind.plural}" + (f"/{name}" if name else "")
