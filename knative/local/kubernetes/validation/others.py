"""Services, ConfigMaps, Secrets and Nodes."""

import base64
import binascii
import re
from typing import Any

from knative.local.kubernetes.errors import Cause
from knative.local.kubernetes.validation import metadata

Object = dict[str, Any]

_DATA_KEY = re.compile(r"^[-._a-zA-Z0-9]{1,253}$")
_DATA_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
    "(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_DATA_LIMIT = 1024 * 1024
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def service(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    ports = spec.get("ports") or []
    causes = []
    if not ports and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
        causes.append(Cause.required("spec.ports"))
    for index, port in enumerate(ports):
        number = port.get("port")
        if number is None or not 1 <= number <= 65535:
            causes.append(
                Cause.invalid(f"spec.ports[{index}].port", number or 0, "must be between 1 and 65535, inclusive")
            )
        if len(ports) > 1 and not port.get("name"):
            causes.append(Cause.required(f"spec.ports[{index}].name"))
    return causes


def _data(obj: Object, fields: tuple[str, ...]) -> list[Cause]:
    causes = []
    size = 0
    for field in fields:
        for key, value in (obj.get(field) or {}).items():
            size += len(value)
            if not _DATA_KEY.match(key):
                causes.append(Cause.invalid(f"{field}[{key}]", key, _DATA_KEY_RULE))
    if size > _DATA_LIMIT:
        causes.append(Cause("FieldValueTooLong", f"Too long: may not be more than {_DATA_LIMIT} bytes", ""))
    return causes


def config_map(obj: Object) -> list[Cause]:
    return _data(obj, ("data", "binaryData"))


def secret(obj: Object) -> list[Cause]:
    causes = _data(obj, ("data",))
    for key, value in (obj.get("data") or {}).items():
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error:
            causes.append(Cause.invalid(f"data[{key}]", "", "illegal base64 data"))
    return causes


def node(obj: Object) -> list[Cause]:
    causes = []
    for index, taint in enumerate((obj.get("spec") or {}).get("taints") or ()):
        causes += metadata.qualified_name(taint.get("key", ""), f"spec.taints[{index}].key")
        if taint.get("effect") not in _EFFECTS:
            causes.append(Cause.unsupported(f"spec.taints[{index}].effect", taint.get("effect"), _EFFECTS))
    return causes
