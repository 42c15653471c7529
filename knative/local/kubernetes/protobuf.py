"""The protobuf bodies that kubectl's `create` commands insist on sending, as JSON objects.

Most of kubectl speaks JSON; `kubectl create namespace`, `configmap`, `secret`, `serviceaccount`, `deployment` and
`job` send the binary form and do not fall back. Only the fields that those commands set are known here; a body with
any other field is refused, since dropping it silently would store something else than was asked for.

A message is read by its table: field number -> (JSON name, type). A type is a scalar's name, another table, or one of
these in a list (`[...]`) or as the values of a map (`{...}`). Empty strings, zero numbers that are not pointers and
empty messages are what Kubernetes writes for absent fields, and are dropped.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from knative.local.kubernetes.errors import ApiError, unsupported_media_type

MEDIA = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

Table = dict[int, tuple[str, Any]]


@dataclass(frozen=True)
class _Pointer:
    """A scalar whose zero counts: `replicas: 0` is said on purpose."""

    name: str


_INT = _Pointer("int")
_TYPE: Table = {1: ("apiVersion", "string"), 2: ("kind", "string")}
_UNKNOWN: Table = {1: ("type", _TYPE), 2: ("raw", "bytes"), 3: ("encoding", "string"), 4: ("media", "string")}
_META: Table = {
    1: ("name", "string"),
    2: ("generateName", "string"),
    3: ("namespace", "string"),
    4: ("selfLink", "string"),
    5: ("uid", "string"),
    6: ("resourceVersion", "string"),
    7: ("generation", "number"),
    8: ("creationTimestamp", {}),
    11: ("labels", {"": "string"}),
    12: ("annotations", {"": "string"}),
}
_SELECTOR: Table = {1: ("matchLabels", {"": "string"})}
_PORT: Table = {
    1: ("name", "string"),
    2: ("hostPort", "number"),
    3: ("containerPort", "number"),
    4: ("protocol", "string"),
    5: ("hostIP", "string"),
}
_CONTAINER: Table = {
    1: ("name", "string"),
    2: ("image", "string"),
    3: ("command", ["string"]),
    4: ("args", ["string"]),
    5: ("workingDir", "string"),
    6: ("ports", [_PORT]),
    8: ("resources", {}),
    13: ("terminationMessagePath", "string"),
    14: ("imagePullPolicy", "string"),
    16: ("stdin", "boolean"),
    17: ("stdinOnce", "boolean"),
    18: ("tty", "boolean"),
    20: ("terminationMessagePolicy", "string"),
}
_POD: Table = {
    2: ("containers", [_CONTAINER]),
    3: ("restartPolicy", "string"),
    6: ("dnsPolicy", "string"),
    8: ("serviceAccountName", "string"),
    9: ("serviceAccount", "string"),
    10: ("nodeName", "string"),
    11: ("hostNetwork", "boolean"),
    12: ("hostPID", "boolean"),
    13: ("hostIPC", "boolean"),
    16: ("hostname", "string"),
    17: ("subdomain", "string"),
    19: ("schedulerName", "string"),
    24: ("priorityClassName", "string"),
}
_TEMPLATE: Table = {1: ("metadata", _META), 2: ("spec", _POD)}
_DEPLOYMENT: Table = {
    1: ("replicas", _INT),
    2: ("selector", _SELECTOR),
    3: ("template", _TEMPLATE),
    4: ("strategy", {1: ("type", "string")}),
    5: ("minReadySeconds", "number"),
    7: ("paused", "boolean"),
}
_JOB: Table = {1: ("parallelism", _INT), 2: ("completions", _INT), 6: ("template", _TEMPLATE)}
_KINDS: dict[tuple[str, str], Table] = {
    ("v1", "Namespace"): {1: ("metadata", _META), 2: ("spec", {}), 3: ("status", {})},
    ("v1", "ServiceAccount"): {1: ("metadata", _META)},
    ("v1", "ConfigMap"): {
        1: ("metadata", _META),
        2: ("data", {"": "string"}),
        3: ("binaryData", {"": "base64"}),
        4: ("immutable", "boolean"),
    },
    ("v1", "Secret"): {
        1: ("metadata", _META),
        2: ("data", {"": "base64"}),
        3: ("type", "string"),
        4: ("stringData", {"": "string"}),
        5: ("immutable", "boolean"),
    },
    ("apps/v1", "Deployment"): {1: ("metadata", _META), 2: ("spec", _DEPLOYMENT), 3: ("status", {})},
    ("batch/v1", "Job"): {1: ("metadata", _META), 2: ("spec", _JOB), 3: ("status", {})},
}


def to_json(body: bytes) -> dict[str, Any]:
    """The object in a protobuf body. Raises 415, with the advice to send JSON, on anything that is not known here."""
    try:
        if not body.startswith(_MAGIC):
            raise ValueError("not the Kubernetes envelope")
        envelope = _message(body[len(_MAGIC) :], _UNKNOWN)
        head = envelope.get("type", {})
        table = _KINDS.get((head.get("apiVersion", ""), head.get("kind", "")))
        if table is None:
            raise ValueError(f"{head.get('kind') or 'an object without a kind'} is read as JSON only")
        content: dict[str, Any] = head | _message(envelope.get("raw", b""), table)
        return content
    except (ValueError, IndexError) as error:
        raise _refused(str(error)) from error


def _refused(why: str) -> ApiError:
    refusal = unsupported_media_type(("application/json",))
    refusal.message += (
        f"; of {MEDIA} only what kubectl's create commands set is understood ({why}): use `kubectl apply -f`"
    )
    return refusal


def _message(data: bytes, table: Table) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for number, wire, value in _fields(data):
        if number not in table:
            if value in (0, b""):
                continue
            raise ValueError(f"field {number} is not known")
        name, type_ = table[number]
        if isinstance(type_, list):
            result.setdefault(name, []).append(_value(value, wire, type_[0]))
        elif isinstance(type_, dict) and "" in type_:
            entry = _message(value, {1: ("key", "string"), 2: ("value", type_[""])})
            result.setdefault(name, {})[entry.get("key", "")] = entry.get("value", "")
        else:
            read = _value(value, wire, type_)
            if read or isinstance(type_, _Pointer):
                result[name] = read
    return result


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """(field number, wire type, raw value) of each field."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, wire, value
        elif wire == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("the body is cut short")
            yield tag >> 3, wire, data[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {wire} is not known")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            return value, at
        shift += 7


def _value(value: Any, wire: int, type_: Any) -> Any:
    if isinstance(type_, _Pointer) or type_ == "number":
        return value - (1 << 64) if value >= 1 << 63 else value
    if type_ == "boolean":
        return bool(value)
    if wire != 2:
        raise ValueError("a number stands where none is expected")
    if type_ == "string":
        return value.decode()
    if type_ == "bytes":
        return value
    if type_ == "base64":
        return base64.b64encode(value).decode()
    return _message(value, type_)
