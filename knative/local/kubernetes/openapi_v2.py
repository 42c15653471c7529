"""OpenAPI v2 in its protobuf form: the one question that kubectl asks it for a file of `kind: List`.

kubectl looks for the query parameter `fieldValidation` of a PATCH, and sends no fields to validate by itself when it
is there. So the document says, for each kind, that its PATCH has that parameter, and nothing else.
"""

import json

from knative.local.kubernetes.kinds import KINDS, Kind
from knative.local.kubernetes.routes import path

MEDIA = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def _field(number: int, content: bytes | str) -> bytes:
    """A length-delimited field."""
    data = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _parameter(name: str) -> bytes:
    """A ParametersItem that is a query parameter."""
    query = _field(2, "query") + _field(4, name)
    return _field(1, _field(2, _field(3, query)))


def _path(kind: Kind) -> bytes:
    """A NamedPathItem with a PATCH operation."""
    type_ = json.dumps({"group": kind.group, "version": kind.version, "kind": kind.name})
    extension = _field(1, "x-kubernetes-group-version-kind") + _field(2, _field(2, type_))
    patch = _field(8, _parameter("fieldValidation")) + _field(8, _parameter("dryRun")) + _field(13, extension)
    address = path(kind, "{namespace}" if kind.namespaced else "", "{name}")
    return _field(1, address) + _field(2, _field(8, patch))


def document() -> bytes:
    info = _field(1, "Kubernetes") + _field(2, "v1")
    paths = b"".join(_field(2, _path(kind)) for kind in KINDS)
    return _field(1, "2.0") + _field(2, info) + _field(8, paths)
