"""The verbs of the API on a resource, apart from HTTP: get, list, create, patch and delete."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from knative.local.kubernetes import deletion, discovery, errors, openapi, query, scale, tables
from knative.local.kubernetes.cluster import Cluster
from knative.local.kubernetes.kinds import JOB, NAMESPACE, POD, Kind
from knative.local.kubernetes.lister import ListPage
from knative.local.kubernetes.objects import Stored, encode, type_prefix
from knative.local.kubernetes.routes import NO_CONTAINERS, Resource
from knative.local.kubernetes.writes import MERGE, PATCH_TYPES

JSON = "application/json"
HEALTH_PATHS = ("/healthz", "/readyz", "/livez")


@dataclass(frozen=True)
class ApiRequest:
    """`media` is the content type without parameters, `agent` the User-Agent."""

    method: str
    path: str
    query: Mapping[str, str]
    accept: str = ""
    media: str = ""
    agent: str = ""
    body: bytes = b""

    @property
    def wants_table(self) -> bool:
        return "as=Table" in self.accept


@dataclass(frozen=True)
class ApiResponse:
    code: int
    body: bytes
    media: str = JSON
    warnings: list[str] = field(default_factory=list)


def document(request: ApiRequest) -> ApiResponse:
    """Health, version, discovery and OpenAPI. Raises 404 when the path is none of these, 405."""
    found: Any
    if request.path.startswith("/openapi/v3"):
        found = openapi.document(request.path.removeprefix("/openapi/v3"))
    else:
        found = discovery.document(request.path)
    if found is None and request.path not in HEALTH_PATHS:
        raise errors.no_such_path()
    if request.method not in ("GET", "HEAD"):
        raise errors.method_not_allowed()
    return ApiResponse(200, b"ok", "text/plain") if found is None else ApiResponse(200, encode(found))


def respond(cluster: Cluster, request: ApiRequest, resource: Resource) -> ApiResponse:
    """Raises ApiError. Watches are not answered here."""
    method, is_object = request.method, bool(resource.name)
    if resource.subresource in NO_CONTAINERS:
        raise _no_containers(cluster, resource)
    if method == "GET":
        return _get(cluster, request, resource) if is_object else _list(cluster, request, resource)
    if method == "POST" and not is_object and (resource.namespace or not resource.kind.namespaced):
        return _create(cluster, request, resource)
    if method == "PATCH" and is_object:
        return _patch(cluster, request, resource)
    if method == "DELETE" and is_object and not resource.subresource:
        return _delete(cluster, request, resource)
    raise errors.method_not_allowed()


def _no_containers(cluster: Cluster, resource: Resource) -> errors.ApiError:
    _existing(cluster, resource)
    words = "logs" if resource.subresource == "log" else resource.subresource
    message = f'pod "{resource.name}" has no {words}: the pods of the laptop platform run no containers'
    return errors.ApiError(501, "NotImplemented", message, name=resource.name, kind="pods")


def _existing(cluster: Cluster, resource: Resource) -> Stored:
    stored = cluster.objects.get(resource.kind, resource.key)
    if stored is None:
        raise errors.not_found(resource.kind.plural, resource.kind.group, resource.name)
    return stored


def _get(cluster: Cluster, request: ApiRequest, resource: Resource) -> ApiResponse:
    stored = _existing(cluster, resource)
    if resource.subresource == "scale":
        return ApiResponse(200, encode(scale.of(stored)))
    if request.wants_table:
        metadata = {"resourceVersion": str(stored.revision)}
        return ApiResponse(200, tables.render(resource.kind, [stored], metadata, request.query))
    return ApiResponse(200, stored.body)


def _list(cluster: Cluster, request: ApiRequest, resource: Resource) -> ApiResponse:
    kind = resource.kind
    page = cluster.lister.page(kind, query.list_options(resource, request.query))
    metadata = _list_metadata(page)
    if request.wants_table:
        return ApiResponse(200, tables.render(kind, page.items, metadata, request.query))
    head = json.dumps({"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": metadata})
    items = b",".join(_untyped(kind, stored) for stored in page.items)
    return ApiResponse(200, head[:-1].encode() + b',"items":[' + items + b"]}")


def _untyped(kind: Kind, stored: Stored) -> bytes:
    """An object as an item of its list, which states the type once for all items."""
    return b"{" + stored.body[len(type_prefix(kind)) :]


def _list_metadata(page: ListPage) -> dict[str, Any]:
    metadata: dict[str, Any] = {"resourceVersion": str(page.revision)}
    if page.token:
        metadata["continue"] = page.token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
    return metadata


def _create(cluster: Cluster, request: ApiRequest, resource: Resource) -> ApiResponse:
    if request.media not in (JSON, ""):
        raise errors.unsupported_media_type()
    options = query.write_options(request.query, request.agent, "CreateOptions")
    stored = cluster.writes.create(resource.kind, resource.namespace, request.body, options)
    return ApiResponse(201, stored.body, warnings=options.warnings)


def _patch(cluster: Cluster, request: ApiRequest, resource: Resource) -> ApiResponse:
    scales = resource.subresource == "scale"
    if request.media not in ((MERGE,) if scales else PATCH_TYPES):
        raise errors.unsupported_patch_type()
    options = query.write_options(request.query, request.agent, "PatchOptions", request.media)
    if scales:
        stored = cluster.writes.scale(resource.kind, resource.key, request.body, options)
        return ApiResponse(200, encode(scale.of(stored)), warnings=options.warnings)
    stored, created = cluster.writes.patch(
        resource.kind, resource.key, request.body, request.media, resource.subresource == "status", options
    )
    return ApiResponse(201 if created else 200, stored.body, warnings=options.warnings)


def _delete(cluster: Cluster, request: ApiRequest, resource: Resource) -> ApiResponse:
    kind = resource.kind
    options = deletion.parse(request.body, request.query)
    stored, gone = cluster.deletions.delete(kind, resource.key, options)
    warnings = [deletion.JOB_WARNING] if kind is JOB and not options.propagation else []
    if not gone or kind in (POD, NAMESPACE):
        return ApiResponse(200, stored.body, warnings=warnings)
    details = {"name": resource.name, "kind": kind.plural, "uid": stored.obj["metadata"]["uid"]}
    if kind.group:
        details["group"] = kind.group
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return ApiResponse(200, encode(status), warnings=warnings)
