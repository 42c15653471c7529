"""Names, labels, annotations and owners, the rules that every kind shares; and the rules of ConfigMaps and Nodes."""

import re
from typing import Any

from knative.local.kubernetes.errors import Cause
from knative.local.kubernetes.kinds import NAMESPACE, Kind

Object = dict[str, Any]

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_NAME_PART = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
_LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_DATA_KEY = re.compile(r"^[-._a-zA-Z0-9]{1,253}$")

LABEL_RULE = f"a lowercase RFC 1123 label must match the regular expression {_LABEL.pattern}"
SUBDOMAIN_RULE = f"a lowercase RFC 1123 subdomain must match the regular expression {_SUBDOMAIN.pattern}"
_NAME_PART_RULE = f"name part must match the regular expression {_NAME_PART.pattern}"
_LABEL_VALUE_RULE = f"a valid label must match the regular expression {_LABEL_VALUE.pattern}"
_DATA_KEY_RULE = f"a valid config key must match the regular expression {_DATA_KEY.pattern}"
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
_ANNOTATIONS_LIMIT = 256 * 1024
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def dns_label(value: str, field: str) -> list[Cause]:
    causes = [] if _LABEL.match(value) else [Cause.invalid(field, value, LABEL_RULE)]
    return causes + _at_most(value, field, 63)


def dns_subdomain(value: str, field: str) -> list[Cause]:
    causes = [] if _SUBDOMAIN.match(value) else [Cause.invalid(field, value, SUBDOMAIN_RULE)]
    return causes + _at_most(value, field, 253)


def _at_most(value: str, field: str, limit: int) -> list[Cause]:
    return [Cause.invalid(field, value, f"must be no more than {limit} characters")] if len(value) > limit else []


def check(kind: Kind, obj: Object) -> list[Cause]:
    metadata = obj["metadata"]
    name = metadata.get("name", "")
    causes: list[Cause] = []
    if not name:
        causes.append(Cause.required("metadata.name", "name or generateName is required"))
    elif kind is NAMESPACE:
        if "." in name:
            causes.append(Cause.invalid("metadata.name", name, "must not contain dots"))
        else:
            causes += dns_label(name, "metadata.name")
    else:
        causes += dns_subdomain(name, "metadata.name")
    causes += labels(metadata.get("labels"), "metadata.labels")
    causes += annotations(metadata.get("annotations"), "metadata.annotations")
    for index, finalizer in enumerate(metadata.get("finalizers") or ()):
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(Cause.invalid(f"metadata.finalizers[{index}]", finalizer, detail))
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        at = f"metadata.ownerReferences[{index}]"
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                causes.append(Cause.invalid(f"{at}.{field}", owner.get(field, ""), "must not be empty"))
    return causes


def check_update(obj: Object, old: Object) -> list[Cause]:
    causes = []
    if old["metadata"].get("deletionTimestamp"):
        known = set(old["metadata"].get("finalizers") or ())
        added = [name for name in obj["metadata"].get("finalizers") or () if name not in known]
        if added:
            names = ", ".join(f'"{name}"' for name in added)
            detail = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{names}}}"
            )
            causes.append(Cause.forbidden("metadata.finalizers", detail))
    return causes


def labels(values: dict[str, str] | None, field: str) -> list[Cause]:
    causes = []
    for key, value in (values or {}).items():
        causes += qualified_name(key, field)
        if len(value) > 63:
            causes.append(Cause.invalid(field, value, "must be no more than 63 bytes"))
        if not _LABEL_VALUE.match(value):
            causes.append(Cause.invalid(field, value, _LABEL_VALUE_RULE))
    return causes


def qualified_name(key: str, field: str) -> list[Cause]:
    """A label or annotation key, or a resource name: an optional DNS prefix, a slash and a name of at most 63
    characters.
    """
    prefix, slash, name = key.rpartition("/")
    causes = []
    if slash and not prefix:
        causes.append(Cause.invalid(field, key, "prefix part must be non-empty"))
    elif slash:
        causes += [Cause.invalid(field, key, "prefix part " + SUBDOMAIN_RULE)] if not _SUBDOMAIN.match(prefix) else []
        causes += [Cause.invalid(field, key, "prefix part must be no more than 253 bytes")] if len(prefix) > 253 else []
    if not name:
        causes.append(Cause.invalid(field, key, "name part must be non-empty"))
    if len(name) > 63:
        causes.append(Cause.invalid(field, key, "name part must be no more than 63 bytes"))
    if not _NAME_PART.match(name):
        causes.append(Cause.invalid(field, key, _NAME_PART_RULE))
    return causes


def annotations(values: dict[str, str] | None, field: str) -> list[Cause]:
    causes = []
    for key in values or {}:
        causes += qualified_name(key.lower(), field)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in (values or {}).items())
    if size > _ANNOTATIONS_LIMIT:
        causes.append(Cause("FieldValueTooLong", f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes", field))
    return causes


def config_map(obj: Object) -> list[Cause]:
    return [
        Cause.invalid(f"{field}[{key}]", key, _DATA_KEY_RULE)
        for field in ("data", "binaryData")
        for key in obj.get(field) or {}
        if not _DATA_KEY.match(key)
    ]


def node(obj: Object) -> list[Cause]:
    causes = []
    for index, taint in enumerate((obj.get("spec") or {}).get("taints") or ()):
        causes += qualified_name(taint.get("key", ""), f"spec.taints[{index}].key")
        if taint.get("effect") not in _EFFECTS:
            causes.append(Cause.unsupported(f"spec.taints[{index}].effect", taint.get("effect"), _EFFECTS))
    return causes
