"""Every refusal of the API as a `Status` object, in one place.

A Kubernetes client decides by `code`, `reason` and `details.causes`; people read `message`. All three follow the
wording of the real API server, because users search for it, and because Sentinel's own error table keys on it.
"""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """One entry of `details.causes`: `reason` is a FieldValue* or FieldManagerConflict word, `field` a path without
    leading dot.
    """

    reason: str
    message: str
    field: str

    @classmethod
    def required(cls, field: str, detail: str = "") -> "Cause":
        return cls("FieldValueRequired", "Required value" + (f": {detail}" if detail else ""), field)

    @classmethod
    def invalid(cls, field: str, value: object, detail: str) -> "Cause":
        return cls("FieldValueInvalid", f"Invalid value: {_shown(value)}: {detail}", field)

    @classmethod
    def duplicate(cls, field: str, value: object) -> "Cause":
        return cls("FieldValueDuplicate", f"Duplicate value: {_shown(value)}", field)

    @classmethod
    def not_found(cls, field: str, value: object) -> "Cause":
        return cls("FieldValueNotFound", f"Not found: {_shown(value)}", field)

    @classmethod
    def forbidden(cls, field: str, detail: str) -> "Cause":
        return cls("FieldValueForbidden", f"Forbidden: {detail}", field)

    @classmethod
    def unsupported(cls, field: str, value: object, supported: tuple[str, ...]) -> "Cause":
        words = ", ".join(json.dumps(word) for word in supported)
        return cls("FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {words}", field)


def _shown(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


class ApiError(Exception):
    """A request that is refused: rendered as a `Status` with `code` as the HTTP status."""

    def __init__(self, code: int, reason: str, message: str, *, causes: tuple[Cause, ...] = (), **details: str) -> None:
        """`details` are name, group and kind of what was asked for."""
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details: dict[str, object] = {key: value for key, value in details.items() if value}
        if causes:
            self.details["causes"] = [
                {"reason": c.reason, "message": c.message} | ({"field": c.field} if c.field else {}) for c in causes
            ]

    def status(self) -> dict[str, object]:
        body: dict[str, object] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        body["message"] = self.message
        if self.reason:
            body["reason"] = self.reason
        if self.details:
            body["details"] = self.details
        return body | {"code": self.code}


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> ApiError:
    message = f'{_qualified(plural, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, name=name, group=group, kind=plural)


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(plural: str, group: str, name: str) -> ApiError:
    message = f'{_qualified(plural, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, name=name, group=group, kind=plural)


def conflict(plural: str, group: str, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, name=name, group=group, kind=plural)


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def invalid(kind: str, group: str, name: str, causes: list[Cause]) -> ApiError:
    """422, as the real server words it: one cause alone, several in brackets."""
    parts = [f"{c.field}: {c.message}" for c in causes]
    text = parts[0] if len(parts) == 1 else "[" + ", ".join(parts) + "]"
    qualified = f"{kind}.{group}" if group else kind
    message = f'{qualified} "{name}" is invalid: {text}'
    return ApiError(422, "Invalid", message, name=name, group=group, kind=kind, causes=tuple(causes))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def forbidden(plural: str, group: str, name: str, why: str, causes: tuple[Cause, ...] = ()) -> ApiError:
    message = f'{_qualified(plural, group)} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, name=name, group=group, kind=plural, causes=causes)


def gone(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def unsupported_patch_type() -> ApiError:
    return ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type")


def unsupported_media_type() -> ApiError:
    message = (
        "the body of the request was in an unknown format - accepted media types include: application/json; "
        "what `kubectl create` would send as protobuf can be sent with --dry-run=client -o yaml | kubectl apply -f -"
    )
    return ApiError(415, "UnsupportedMediaType", message)


def unfit_patch(obj: object, why: str) -> ApiError:
    """422 for a patch whose outcome is no object of the kind."""
    cause = Cause.invalid("patch", json.dumps(obj, separators=(",", ":")), why)
    return ApiError(422, "Invalid", f' "" is invalid: patch: {cause.message}', causes=(cause,))
