"""The verbs of the API over a target, apart from HTTP: what is answered to a GET, POST, PUT, PATCH or DELETE."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from knative.local.kubernetes import deletion, discovery, errors, openapi, openapi_v2, protobuf, query, scale, tables
from knative.local.kubernetes.cluster import Cluster
from knative.local.kubernetes.kinds import JOB, NAMESPACE, POD, Kind
from knative.local.kubernetes.objects import Stored, encode, type_prefix
from knative.local.kubernetes.reading import Page
from knative.local.kubernetes.routes import NO_CONTAINERS, Target
from knative.local.kubernetes.writes import PATCH_TYPES, Request, Subresource

JSON = "application/json"


@dataclass(frozen=True)
class Call:
    """One request: `media` is the content type without parameters, `agent` the User-Agent."""

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
class Answer:
    code: int
    body: bytes
    media: str = JSON
    warnings: list[str] = field(default_factory=list)


def document(cluster: Cluster, call: Call) -> Answer | None:
    """Health, version, discovery and OpenAPI; None when the path is none of these."""
    if call.path in ("/healthz", "/readyz", "/livez"):
        return Answer(200, b"ok", "text/plain")
    found = discovery.document(call.path, call.accept)
    if found is not None:
        return Answer(200, encode(found[0]), found[1])
    if call.path == "/openapi/v2":
        return Answer(200, openapi_v2.document(), openapi_v2.MEDIA)
    if call.path == "/openapi/v3":
        return Answer(200, encode(openapi.index()))
    if call.path.startswith("/openapi/v3/"):
        specification = openapi.document(call.path.removeprefix("/openapi/v3/"), cluster.schema)
        return None if specification is None else Answer(200, encode(specification))
    return None


def answer(cluster: Cluster, call: Call, target: Target) -> Answer:
    """Raises ApiError. Watches are not answered here."""
    if target.subresource in NO_CONTAINERS:
        raise _no_containers(cluster, target)
    if target.subresource == "eviction":
        return _evict(cluster, call, target)
    if target.subresource == "finalize":
        raise errors.method_not_allowed()
    if call.method == "GET":
        return _get(cluster, call, target) if target.name else _list(cluster, call, target)
    if call.method == "POST" and not target.name and (target.namespace or not target.kind.namespaced):
        return _create(cluster, call, target)
    if call.method == "PUT" and target.name:
        return _replace(cluster, call, target)
    if call.method == "PATCH" and target.name:
        return _patch(cluster, call, target)
    if call.method == "DELETE" and not target.subresource:
        return _delete(cluster, call, target) if target.name else _delete_all(cluster, call, target)
    raise errors.method_not_allowed()


def _no_containers(cluster: Cluster, target: Target) -> errors.ApiError:
    _existing(cluster, target)
    words = "logs" if target.subresource == "log" else target.subresource
    message = f'pod "{target.name}" has no {words}: the pods of the laptop platform run no containers'
    return errors.ApiError(501, "NotImplemented", message, name=target.name, kind="pods")


def _existing(cluster: Cluster, target: Target) -> Stored:
    stored = cluster.objects.get(target.kind, target.key)
    if stored is None:
        raise errors.not_found(target.kind.plural, target.kind.group, target.name)
    return stored


def _get(cluster: Cluster, call: Call, target: Target) -> Answer:
    stored = _existing(cluster, target)
    if target.subresource == "scale":
        return Answer(200, encode(scale.of(stored)))
    if call.wants_table:
        metadata = {"resourceVersion": str(stored.revision)}
        return Answer(200, tables.render(target.kind, [stored], metadata, call.query.get("includeObject", "")))
    return Answer(200, stored.body)


def _list(cluster: Cluster, call: Call, target: Target) -> Answer:
    page = cluster.reading.page(target.kind, query.listing(target, call.query))
    metadata = list_metadata(page)
    if call.wants_table:
        return Answer(200, tables.render(target.kind, page.items, metadata, call.query.get("includeObject", "")))
    kind = target.kind
    head = json.dumps({"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": metadata})
    items = b",".join(untyped(kind, stored) for stored in page.items)
    return Answer(200, head[:-1].encode() + b',"items":[' + items + b"]}")


def untyped(kind: Kind, stored: Stored) -> bytes:
    """An object as an item of its list, which says the type for all."""
    return b"{" + stored.body[len(type_prefix(kind)) :]


def list_metadata(page: Page) -> dict[str, Any]:
    metadata: dict[str, Any] = {"resourceVersion": str(page.revision)}
    if page.token:
        metadata["continue"] = page.token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
    return metadata


def _create(cluster: Cluster, call: Call, target: Target) -> Answer:
    _check_media(call, (JSON, protobuf.MEDIA))
    body = encode(protobuf.to_json(call.body)) if call.media == protobuf.MEDIA else call.body
    request = query.writing(call.query, call.agent, "CreateOptions")
    stored = cluster.writes.create(target.kind, target.namespace, body, request)
    return Answer(201, stored.body, warnings=request.warnings)


def _check_media(call: Call, accepted: tuple[str, ...]) -> None:
    if call.media not in accepted and not (call.media == "" and JSON in accepted):
        raise errors.unsupported_media_type(accepted)


def _replace(cluster: Cluster, call: Call, target: Target) -> Answer:
    _check_media(call, (JSON,))
    request = query.writing(call.query, call.agent, "UpdateOptions")
    if target.subresource == "scale":
        return _scale(cluster, call, target, request, "")
    stored = cluster.writes.replace(target.kind, target.key, call.body, _subresource(target), request)
    return Answer(200, stored.body, warnings=request.warnings)


def _subresource(target: Target) -> Subresource:
    return "status" if target.subresource == "status" else ""


def _patch(cluster: Cluster, call: Call, target: Target) -> Answer:
    if call.media not in PATCH_TYPES:
        raise errors.unsupported_patch_type()
    request = query.writing(call.query, call.agent, "PatchOptions", call.media)
    if target.subresource == "scale":
        return _scale(cluster, call, target, request, call.media)
    stored, created = cluster.writes.patch(
        target.kind, target.key, call.body, call.media, _subresource(target), request
    )
    return Answer(201 if created else 200, stored.body, warnings=request.warnings)


def _scale(cluster: Cluster, call: Call, target: Target, request: Request, media: str) -> Answer:
    stored = cluster.writes.scale(target.kind, target.key, call.body, media, request)
    return Answer(200, encode(scale.of(stored)), warnings=request.warnings)


def _delete(cluster: Cluster, call: Call, target: Target) -> Answer:
    options = deletion.parse(call.body, dict(call.query))
    stored, gone = cluster.deletions.delete(target.kind, target.key, options)
    warnings = [deletion.JOB_WARNING] if target.kind is JOB and not options.propagation else []
    if not gone or target.kind in (POD, NAMESPACE):
        return Answer(200, stored.body, warnings=warnings)
    details = {"name": target.name, "kind": target.kind.plural, "uid": stored.obj["metadata"]["uid"]}
    if target.kind.group:
        details["group"] = target.kind.group
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return Answer(200, encode(status), warnings=warnings)


def _delete_all(cluster: Cluster, call: Call, target: Target) -> Answer:
    if target.kind is NAMESPACE or (target.kind.namespaced and not target.namespace):
        raise errors.method_not_allowed()
    options = deletion.parse(call.body, dict(call.query))
    selected = cluster.reading.select(target.kind, query.listing(target, call.query))
    for stored in selected:
        cluster.deletions.delete(target.kind, (target.namespace, stored.obj["metadata"]["name"]), options)
    page = Page(selected, cluster.objects.revision)
    kind = target.kind
    head = {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": list_metadata(page)}
    return Answer(200, encode(head | {"items": [stored.obj for stored in selected]}))


def _evict(cluster: Cluster, call: Call, target: Target) -> Answer:
    if call.method != "POST":
        raise errors.method_not_allowed()
    cluster.deletions.delete(POD, target.key, deletion.Options())
    return Answer(201, encode({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
