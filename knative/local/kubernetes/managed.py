"""`metadata.managedFields`: who owns which field, kept up on every write.

A manager is identified by name, operation and subresource, and for updates by API version as well. An update gives
its manager the fields that it added or changed and takes them from everybody else, as an apply does. A removed field
belongs to nobody. Fields that a write cannot change at all (identity, status on the main resource, spec on the status
subresource) are never owned by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from knative.local.kubernetes import fieldset, merge
from knative.local.kubernetes.errors import ApiError, Cause
from knative.local.kubernetes.fieldset import Tree
from knative.local.kubernetes.merge import MISSING
from knative.local.kubernetes.schema import Type

Object = dict[str, Any]

_NEVER_OWNED: tuple[tuple[str, ...], ...] = (
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata", "."),
    *(
        ("f:metadata", f"f:{name}")
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    ),
)


@dataclass(frozen=True)
class Writer:
    """Who writes, through which subresource ("" is the object itself), and which fields that write never changes."""

    manager: str
    operation: Literal["Apply", "Update"] = "Update"
    subresource: str = ""
    ignored: tuple[tuple[str, ...], ...] = ()

    def moment(self, now: str) -> str:
        """The time that an entry of this writer gets; as on the real server, the subresource `scale` records none."""
        return "" if self.subresource == "scale" else now


@dataclass(frozen=True)
class _Entry:
    manager: str
    operation: str
    subresource: str
    api_version: str
    time: str
    fields: Tree | None

    def identity(self) -> tuple[str, str, str, str]:
        return self.manager, self.operation, self.subresource, "" if self.operation == "Apply" else self.api_version

    def owner(self) -> str:
        via = f' with subresource "{self.subresource}"' if self.subresource else ""
        version = f" using {self.api_version}" if self.operation == "Update" else ""
        moment = f" at {self.time}" if version and self.time else ""
        return f'conflict with "{self.manager}"{via}{version}{moment}'


def _entries(obj: Mapping[str, Any]) -> list[_Entry]:
    return [
        _Entry(
            entry.get("manager", ""),
            entry.get("operation", ""),
            entry.get("subresource", ""),
            entry.get("apiVersion", ""),
            entry.get("time", ""),
            entry.get("fieldsV1") or None,
        )
        for entry in obj["metadata"].get("managedFields") or ()
    ]


def _encoded(entries: list[_Entry]) -> list[Object]:
    ordered = sorted(
        (entry for entry in entries if entry.fields is not None),
        key=lambda e: (e.operation != "Apply", e.time, e.manager, e.api_version, e.subresource),
    )
    return [
        {
            "manager": e.manager,
            "operation": e.operation,
            "apiVersion": e.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": e.fields,
        }
        | ({"time": e.time} if e.time else {})
        | ({"subresource": e.subresource} if e.subresource else {})
        for e in ordered
    ]


def with_managed_fields(obj: Object, managed: list[Object]) -> Object:
    """A copy of `obj` with these managedFields; the content is shared."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    if managed:
        metadata["managedFields"] = managed
    return obj | {"metadata": metadata}


def track_update(type_: Type, old: Object | None, new: Object, writer: Writer, now: str) -> Object:
    """`new` with the managedFields that follow from a write that is not an apply.

    An empty list of managedFields in `new` asks to forget every manager, as on the real server.
    """
    delta = merge.compare(type_, {} if old is None else old, new)
    before = [] if old is None else _entries(old)
    gained = _owned(fieldset.union(delta.added, delta.modified), writer)
    removed = _owned(delta.removed, writer)
    api_version = new["apiVersion"]
    mine = (writer.manager, writer.operation, writer.subresource, api_version)
    entries = []
    found = False
    for entry in before:
        if entry.identity() == mine:
            found = True
            fields = fieldset.union(fieldset.difference(entry.fields, removed), gained)
        else:
            fields = fieldset.difference(fieldset.difference(entry.fields, removed), gained)
        changed = fields != entry.fields
        moment = writer.moment(now) if changed and entry.identity() == mine else entry.time
        entries.append(_Entry(entry.manager, entry.operation, entry.subresource, entry.api_version, moment, fields))
    if not found and gained is not None:
        moment = writer.moment(now)
        entries.append(_Entry(writer.manager, writer.operation, writer.subresource, api_version, moment, gained))
    return with_managed_fields(new, _encoded(entries))


def _owned(fields: Tree | None, writer: Writer) -> Tree | None:
    return fieldset.without(fields, _NEVER_OWNED + writer.ignored)


@dataclass(frozen=True)
class Applied:
    """The outcome of a server-side apply: the merged object, not yet defaulted, and the field set of the
    configuration.
    """

    obj: Object
    fields: Tree | None


def merge_applied(type_: Type, live: Object, config: Object, writer: Writer) -> Applied:
    """Merges `config` into `live` and drops what this manager applied before and nobody owns any more."""
    fields = _owned(merge.fields_of(type_, config), writer)
    mine = (writer.manager, "Apply", writer.subresource, "")
    merged: Object = merge.merge(type_, live, config)
    last: Tree | None = None
    others: Tree | None = fields
    for entry in _entries(live):
        if entry.identity() == mine:
            last = entry.fields
        else:
            others = fieldset.union(others, entry.fields)
    if last is not None:
        dropped = fieldset.difference(merge.named_as_members(last), merge.named_as_members(others))
        if dropped is not None:
            pruned = merge.remove(type_, merged, dropped)
            merged = {} if pruned is MISSING else pruned
    return Applied(merged, fields)


def track_apply(
    type_: Type, live: Object, new: Object, applied: Applied, writer: Writer, now: str, *, force: bool
) -> Object:
    """`new` with the managedFields after an apply. Raises 409 when fields of others would change and `force` is not
    set.
    """
    delta = merge.compare(type_, live, applied.obj)
    gained = _owned(fieldset.union(delta.added, delta.modified), writer)
    removed = _owned(delta.removed, writer)
    mine = (writer.manager, "Apply", writer.subresource, "")
    entries = []
    conflicts: list[tuple[_Entry, Tree]] = []
    last: _Entry | None = None
    for entry in _entries(live):
        if entry.identity() == mine:
            last = entry
            continue
        clash = fieldset.intersection(entry.fields, gained)
        if clash is not None:
            conflicts.append((entry, clash))
        fields = fieldset.difference(fieldset.difference(entry.fields, removed), gained)
        entries.append(_Entry(entry.manager, entry.operation, entry.subresource, entry.api_version, entry.time, fields))
    if conflicts and not force:
        raise _conflict(conflicts)
    unchanged = last is not None and last.fields == applied.fields and last.api_version == new["apiVersion"]
    moment = last.time if last is not None and unchanged else writer.moment(now)
    entries.append(_Entry(writer.manager, "Apply", writer.subresource, new["apiVersion"], moment, applied.fields))
    return with_managed_fields(new, _encoded(entries))


def _conflict(conflicts: list[tuple[_Entry, Tree]]) -> ApiError:
    """409 that names each owner and field, one cause a field."""
    ordered = sorted(conflicts, key=lambda item: item[0].owner())
    causes = tuple(
        Cause("FieldManagerConflict", entry.owner(), fieldset.shown(path))
        for entry, fields in ordered
        for path in fieldset.members(fields)
    )
    if len(causes) == 1:
        text = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        parts = []
        for entry, fields in ordered:
            lines = "".join(f"\n- {fieldset.shown(path)}" for path in fieldset.members(fields))
            parts.append(f"{entry.owner().replace('conflict with', 'conflicts with', 1)}:{lines}")
        text = f"Apply failed with {len(causes)} conflicts: " + "\n".join(parts)
    return ApiError(409, "Conflict", text, causes=causes)
