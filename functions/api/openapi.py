"""/openapi.json: what FastAPI makes of the routes, and what it does not know.

Every problem is a problem document with an example of its kind. Bodies may be too large.
Every route but a few needs a token.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from functions.api.problems import KINDS, MAX_BODY, MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

_WITHOUT_TOKEN = frozenset(
    {
        *(f"/api/v1/auth/{name}" for name in ("login", "exchange", "refresh", "logout")),
        *("/.well-known/jwks.json", "/healthz", "/readyz"),
    }
)
_METHODS = ("get", "put", "post", "patch", "delete")
_SCHEME = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
_INSTANCE = "5f0c3f6e-7a53-4c5a-9d57-0e6f6f1b6a11"
_BY_STATUS = {str(int(kind.status)): name for name, kind in KINDS.items()}
_DETAILS = {
    "too-large": f"the body may have at most {MAX_BODY} bytes",
    "invalid": "replicas: Input should be greater than or equal to 0",
}
_ERRORS = {"invalid": [{"field": "replicas", "message": "Input should be greater than or equal to 0"}]}


_FORMATS = {"uuid": _INSTANCE, "date-time": "2026-11-29T09:00:00.000Z"}


def install(app: FastAPI) -> None:
    """Has /openapi.json say all that there is to say. The document is made once, when it is first asked for."""
    usual: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        made = app.openapi_schema is not None
        document = usual()
        if not made:
            _complete(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's way to extend the document


def _complete(document: dict[str, Any]) -> None:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    document["components"]["securitySchemes"] = _SCHEME
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, operation in _operations(document):
        if path not in _WITHOUT_TOKEN:
            operation["security"] = [{"bearer": []}]
        responses = operation.setdefault("responses", {})
        if "requestBody" in operation:
            responses[str(int(KINDS["too-large"].status))] = {}
        for status, response in responses.items():
            if (kind := _BY_STATUS.get(status)) is not None:
                responses[status] = {**response, **_problem(kind)}
        for part in (operation.get("requestBody", {}), *responses.values()):
            for content in part.get("content", {}).values():
                if not {"example", "examples"} & content.keys():
                    content["example"] = _sample(content.get("schema", {}), schemas)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in _METHODS:
                yield path, operation


def _problem(kind: str) -> dict[str, Any]:
    status, title = KINDS[kind].status, KINDS[kind].title
    example = {
        "type": f"/problems/{kind}",
        "title": title,
        "status": int(status),
        "detail": _DETAILS.get(kind, title),
        "instance": _INSTANCE,
        "errors": _ERRORS.get(kind, []),
    }
    described: dict[str, Any] = {"description": title}
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        described |= {"headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}}
    return {
        **described,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }


def _sample(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """A value that fits a schema: its own example where it has one, otherwise made of its parts."""
    if "$ref" in schema:
        return _sample(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("example", "const", "default"):
        if key in schema:
            return schema[key]
    for key in ("anyOf", "allOf", "oneOf"):
        if schema.get(key):
            return _sample(schema[key][0], schemas)
    match schema.get("type"):
        case "object":
            required = schema.get("required", ())
            properties = {name: part for name, part in schema.get("properties", {}).items() if name in required}
            return {name: _sample(part, schemas) for name, part in properties.items()}
        case "array":
            return [_sample(schema.get("items", {}), schemas)]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "string":
            return _FORMATS.get(schema.get("format", ""), "text")
        case _:
            return {}
