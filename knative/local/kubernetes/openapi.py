"""OpenAPI v3 of the served kinds: as much as `kubectl apply` and `kubectl explain` read.

`kubectl` asks it whether the server validates fields by itself (the query parameter `fieldValidation` of a PATCH);
the schemas are generated from the structural schema, without descriptions.
"""

from typing import Any

from knative.local.kubernetes.kinds import GROUPS, Kind, of_group
from knative.local.kubernetes.routes import path
from knative.local.kubernetes.schema import ListOf, MapOf, Scalar, Schema, Struct, Type

Json = dict[str, Any]

_SCALARS: dict[str, Json] = {
    "string": {"type": "string"},
    "integer": {"type": "integer", "format": "int32"},
    "number": {"type": "number", "format": "double"},
    "boolean": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "int-or-string": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    "any": {"type": "object"},
}
_QUERY = [
    {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}
    for name, kind in (
        ("dryRun", "string"),
        ("fieldManager", "string"),
        ("fieldValidation", "string"),
        ("force", "boolean"),
    )
]
_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


def _address(group: str) -> str:
    return f"apis/{group}/v1" if group else "api/v1"


def index() -> Json:
    return {"paths": {_address(g): {"serverRelativeURL": f"/openapi/v3/{_address(g)}"} for g in GROUPS}}


def document(address: str, schema: Schema) -> Json | None:
    """The document at `/openapi/v3/<address>`, or None."""
    group = next((g for g in GROUPS if _address(g) == address), None)
    if group is None:
        return None
    schemas: Json = {}
    paths: Json = {}
    for kind in of_group(group):
        _declare(schema.roots[kind.key], schemas)
        schemas[_name(kind.model)]["x-kubernetes-group-version-kind"] = [_gvk(kind)]
        home = "{namespace}" if kind.namespaced else ""
        paths[path(kind, home)] = {"get": _operation(kind, "list"), "post": _operation(kind, "post")}
        paths[path(kind, home, "{name}")] = {
            "get": _operation(kind, "get"),
            "put": _operation(kind, "put"),
            "patch": _operation(kind, "patch"),
            "delete": _operation(kind, "delete"),
        }
    info = {"title": "Kubernetes", "version": "v1"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _gvk(kind: Kind) -> Json:
    return {"group": kind.group, "version": kind.version, "kind": kind.name}


def _name(model: str) -> str:
    return f"io.k8s.{model}"


def _operation(kind: Kind, action: str) -> Json:
    reference = {"$ref": f"#/components/schemas/{_name(kind.model)}"}
    operation: Json = {
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(kind),
    }
    if action in ("post", "put", "patch"):
        operation["parameters"] = _QUERY
        accepted = _PATCHES if action == "patch" else ("application/json",)
        operation["requestBody"] = {"content": {media: {"schema": reference} for media in accepted}}
    return operation


def _declare(struct: Struct, schemas: Json) -> None:
    name = _name(struct.name)
    if name in schemas:
        return
    properties: Json = {}
    schemas[name] = {"type": "object", "properties": properties}
    for field, type_ in struct.fields.items():
        properties[field] = _render(type_, schemas)


def _render(type_: Type, schemas: Json) -> Json:
    if isinstance(type_, Scalar):
        return _SCALARS[type_.name]
    if isinstance(type_, Struct):
        _declare(type_, schemas)
        return {"allOf": [{"$ref": f"#/components/schemas/{_name(type_.name)}"}]}
    inner = _render(type_.element, schemas)
    if isinstance(type_, MapOf):
        return {"type": "object", "additionalProperties": inner}
    assert isinstance(type_, ListOf)
    rendered: Json = {"type": "array", "items": inner, "x-kubernetes-list-type": type_.relation}
    if type_.keys:
        rendered["x-kubernetes-list-map-keys"] = list(type_.keys)
    if type_.patch_key:
        rendered |= {"x-kubernetes-patch-merge-key": type_.patch_key, "x-kubernetes-patch-strategy": "merge"}
    return rendered
