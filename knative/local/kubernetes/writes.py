"""Creation, patch and server-side apply of one object: from a request's body to a new version in the store.

Every way in ends in the same steps as in the real server: decode, keep what this write cannot change, default,
validate, record the field managers, and store. A write that changes nothing keeps its resourceVersion.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from knative.local.kubernetes import (
    clock,
    decode,
    defaults,
    errors,
    managed,
    patch,
    scale,
    strategy,
    typecheck,
    validation,
)
from knative.local.kubernetes.decode import UndecodableError, parse_json
from knative.local.kubernetes.kinds import NAMESPACE, POD, SCALE, Kind
from knative.local.kubernetes.managed import Writer
from knative.local.kubernetes.objects import Key, Object, Objects, Stored
from knative.local.kubernetes.schema import Schema

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
PATCH_TYPES = (JSON_PATCH, MERGE, STRATEGIC, APPLY)

# An apply is YAML, which knows no escapes of surrogates.
_SURROGATE = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89a-fA-F]")


@dataclass
class WriteOptions:
    """How a write is asked for. `warnings` collects the warnings that the answer carries."""

    manager: str
    dry_run: bool = False
    force: bool = False
    validation: str = "Warn"
    warnings: list[str] = field(default_factory=list)


class Writes:
    def __init__(self, objects: Objects, schema: Schema, remove: Callable[[Kind, Key], Stored]) -> None:
        """`remove` takes out an object whose last finalizer went away."""
        self._objects = objects
        self._schema = schema
        self._remove = remove

    # the four ways to write

    def create(self, kind: Kind, namespace: str, body: bytes, options: WriteOptions) -> Stored:
        raw = parse_json(body, kind.name)
        if isinstance(raw, dict):
            version, name = raw.get("apiVersion") or kind.api_version, raw.get("kind") or kind.name
            if (version, name) != (kind.api_version, kind.name):
                why = f'no kind "{name}" is registered here for version "{version}"'
                raise decode.not_of_kind(kind, why)
        unknown: list[str] = []
        try:
            obj = decode.decode(self._schema, kind, raw, unknown)
        except UndecodableError as error:
            raise decode.not_of_kind(kind, error) from error
        if refusal := _unknown_fields(unknown, options):
            raise decode.not_of_kind(kind, refusal)
        return self._create(kind, namespace, obj, options, Writer(options.manager))

    def patch(
        self, kind: Kind, key: Key, body: bytes, content_type: str, status: bool, options: WriteOptions
    ) -> tuple[Stored, bool]:
        """The object after the patch, and whether the patch (an apply) created it; `status` names the subresource."""
        subresource = "status" if status else ""
        if content_type == APPLY:
            return self._apply(kind, key, body, subresource, options)
        old = self._existing(kind, key)
        obj = self._patched(kind, old.obj, body, content_type, options)
        self._check_identity(kind, key, obj, old)
        return self._update(kind, old, obj, subresource, options), False

    def scale(self, kind: Kind, key: Key, body: bytes, options: WriteOptions) -> Stored:
        """The object after a merge patch of its subresource `scale`."""
        old = self._existing(kind, key)
        scaled = self._patched(SCALE, scale.of(old), body, MERGE, options)
        self._check_identity(kind, key, scaled, old)
        obj = old.obj | {"spec": old.obj["spec"] | {"replicas": scale.replicas_of(scaled, key[1])}}
        return self._update(kind, old, decode.clean(self._schema, kind, obj), "scale", options)

    # their steps

    def _patched(self, kind: Kind, old: Object, body: bytes, content_type: str, options: WriteOptions) -> Object:
        """The object that the patch in the body makes of `old`."""
        merged = self._merged(kind, old, parse_json(body), content_type)
        unknown: list[str] = []
        try:
            obj = decode.decode(self._schema, kind, merged, unknown)
        except UndecodableError as error:
            raise errors.unfit_patch(merged, str(error)) from error
        if refusal := _unknown_fields(unknown, options):
            raise errors.unfit_patch(merged, refusal)
        version, name = obj.get("apiVersion") or kind.api_version, obj.get("kind") or kind.name
        if (version, name) != (kind.api_version, kind.name):
            raise errors.unfit_patch(merged, f'no kind "{name}" is registered here for version "{version}"')
        return obj

    def _merged(self, kind: Kind, old: Object, change: Any, content_type: str) -> Any:
        if content_type == JSON_PATCH:
            return patch.json_patch(old, change)
        if not isinstance(change, dict):
            raise errors.bad_request("the body of a patch must be an object")
        if content_type == MERGE:
            return patch.merge_patch(old, change)
        return patch.strategic_patch(self._schema.roots[kind.key], old, change)

    def _existing(self, kind: Kind, key: Key) -> Stored:
        stored = self._objects.get(kind, key)
        if stored is None:
            raise errors.not_found(kind.plural, kind.group, key[1])
        return stored

    def _check_identity(self, kind: Kind, key: Key, obj: Object, old: Stored) -> None:
        """The body names the object of the URL, at the version that is stored, if it names a version."""
        metadata = obj.setdefault("metadata", {})
        _check_name(metadata, key[1])
        _check_namespace(kind, key[0], metadata)
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.name
        uid = metadata.get("uid")
        if uid and uid != old.obj["metadata"]["uid"]:
            cause = errors.Cause.invalid("metadata.uid", uid, "field is immutable")
            raise errors.invalid(kind.name, kind.group, key[1], [cause])
        version = metadata.get("resourceVersion")
        if version and version != "0" and version != str(old.revision):
            raise errors.conflict(kind.plural, kind.group, key[1], errors.STALE)

    def _create(self, kind: Kind, namespace: str, obj: Object, options: WriteOptions, writer: Writer) -> Stored:
        """Admits and stores a fresh object whose managers, for an apply, are settled already."""
        metadata = obj.setdefault("metadata", {})
        if metadata.get("resourceVersion"):
            raise errors.ApiError(500, "", "resourceVersion should not be set on objects to be created")
        _check_namespace(kind, namespace, metadata)
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.name
        self._check_namespace_is_active(kind, namespace, metadata.get("name", ""))
        defaults.apply(kind, obj)
        if writer.operation == "Update":
            metadata.pop("managedFields", None)
            tracked = Writer(writer.manager, ignored=strategy.ignored(kind, ""))
            obj = managed.track_update(self._schema.roots[kind.key], None, obj, tracked, clock.now())
        strategy.prepare_create(kind, obj)
        validation.check_create(kind, obj)
        name = obj["metadata"]["name"]
        if self._objects.get(kind, (namespace, name)) is not None:
            raise errors.already_exists(kind.plural, kind.group, name)
        return self._store(kind, obj, options)

    def _check_namespace_is_active(self, kind: Kind, namespace: str, name: str) -> None:
        if not kind.namespaced:
            return
        home = self._objects.get(NAMESPACE, ("", namespace))
        if home is None:
            raise errors.not_found("namespaces", "", namespace)
        if home.obj["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            detail = f"namespace {namespace} is being terminated"
            cause = errors.Cause("NamespaceTerminating", detail, "metadata.namespace")
            raise errors.forbidden(kind.plural, kind.group, name, why, (cause,))

    def _update(self, kind: Kind, old: Stored, obj: Object, subresource: str, options: WriteOptions) -> Stored:
        """Stores `obj`, a fresh copy, in place of `old`, with its writer recorded."""
        self._prepare(kind, old, obj, subresource)
        base = managed.with_managed_fields(obj, old.obj["metadata"].get("managedFields") or [])
        if _same(base, old.obj):
            return old
        writer = Writer(options.manager, "Update", subresource, strategy.ignored(kind, subresource))
        root, now = self._schema.roots[kind.key], clock.now()
        if subresource == "scale":
            tracked = managed.track_update(root, scale.as_owned(old.obj), scale.as_owned(base), writer, now)
            tracked = managed.with_managed_fields(base, tracked["metadata"].get("managedFields") or [])
        else:
            tracked = managed.track_update(root, old.obj, base, writer, now)
        return self._store(kind, tracked, options)

    def _prepare(self, kind: Kind, old: Stored, obj: Object, subresource: str) -> None:
        strategy.prepare_update(kind, subresource, obj, old.obj)
        if subresource != "status":
            defaults.apply(kind, obj)
            strategy.bump_generation(kind, obj, old.obj)
            validation.check_update(kind, obj, old.obj)

    def _apply(self, kind: Kind, key: Key, body: bytes, subresource: str, options: WriteOptions) -> tuple[Stored, bool]:
        config = _configuration(kind, key, body)
        root = self._schema.roots[kind.key]
        typecheck.require_fit(root, config, _named(kind, config))
        _check_namespace(kind, key[0], config["metadata"])
        old = self._objects.get(kind, key)
        writer = Writer(options.manager, "Apply", subresource, strategy.ignored(kind, subresource))
        if old is None:
            return self._apply_new(kind, key, config, options, writer), True
        self._check_identity(kind, key, config, old)
        applied = managed.merge_applied(root, old.obj, config, writer)
        obj = decode.clean(self._schema, kind, applied.obj)
        self._prepare(kind, old, obj, subresource)
        tracked = managed.track_apply(root, old.obj, obj, applied, writer, clock.now(), force=options.force)
        return (old if _same(tracked, old.obj) else self._store(kind, tracked, options)), False

    def _apply_new(self, kind: Kind, key: Key, config: Object, options: WriteOptions, writer: Writer) -> Stored:
        if writer.subresource:
            raise errors.not_found(kind.plural, kind.group, key[1])
        config["metadata"].pop("resourceVersion", None)  # alone it is no precondition: the object is made again
        uid = config["metadata"].get("uid")
        if uid:
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise errors.conflict(kind.plural, kind.group, key[1], why)
        root = self._schema.roots[kind.key]
        live: Object = {"metadata": {}}
        applied = managed.merge_applied(root, live, config, writer)
        obj = decode.clean(self._schema, kind, applied.obj)
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.name
        obj = managed.track_apply(root, live, obj, applied, writer, clock.now(), force=True)
        return self._create(kind, key[0], obj, options, writer)

    def _store(self, kind: Kind, obj: Object, options: WriteOptions) -> Stored:
        if options.dry_run:
            return self._objects.version(obj)
        metadata = obj["metadata"]
        stored = self._objects.put(kind, obj)
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            waits = kind is POD and metadata.get("deletionGracePeriodSeconds")
            namespace_waits = kind is NAMESPACE and obj.get("spec", {}).get("finalizers")
            if not waits and not namespace_waits:
                return self._remove(kind, (metadata.get("namespace", ""), metadata["name"]))
        return stored


def _configuration(kind: Kind, key: Key, body: bytes) -> Object:
    """The applied object: YAML or JSON, of this kind, with this name, without managedFields. Raises 400."""
    if body.lstrip()[:1] == b"{":
        if _SURROGATE.search(body):
            why = "found invalid Unicode character escape code"
            raise errors.bad_request(f"error decoding patch: error converting YAML to JSON: yaml: {why}")
        config = parse_json(body)
    else:
        try:
            config = json.loads(json.dumps(yaml.safe_load(body), default=str))
        except yaml.YAMLError as error:
            raise errors.bad_request(f"error decoding patch: yaml: {error}") from error
    if not isinstance(config, dict):
        raise errors.bad_request("error decoding patch: the body of an apply must be an object")
    version, name = str(config.get("apiVersion", "")), str(config.get("kind", ""))
    if (version, name) != (kind.api_version, kind.name):
        group = version if "/" in version else f"/{version}" if version else "/"
        raise errors.bad_request(f"invalid object type: {group}, Kind={name}")
    metadata = config["metadata"] = config.get("metadata") or {}
    if isinstance(metadata, dict):
        if metadata.get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        _check_name(metadata, key[1])
    return config


def _check_name(metadata: Object, name: str) -> None:
    if metadata.setdefault("name", name) != name:
        why = f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
        raise errors.bad_request(why)


def _check_namespace(kind: Kind, namespace: str, metadata: Object) -> None:
    if not kind.namespaced:
        metadata.pop("namespace", None)
    elif metadata.setdefault("namespace", namespace) != namespace:
        why = "the namespace of the provided object does not match the namespace sent on the request"
        raise errors.bad_request(why)


def _unknown_fields(unknown: list[str], options: WriteOptions) -> str:
    """Why a strict request is refused for its unknown fields, or ""; other requests get warnings, or nothing."""
    complaints = [f'unknown field "{path}"' for path in unknown]
    if options.validation == "Strict" and complaints:
        return "strict decoding error: " + ", ".join(complaints)
    options.warnings += complaints if options.validation == "Warn" else []
    return ""


def _named(kind: Kind, config: Object) -> str:
    metadata = config["metadata"] if isinstance(config["metadata"], dict) else {}
    return f"({metadata.get('namespace', '')}/{metadata.get('name', '')}; {kind.api_version}, Kind={kind.name})"


def _same(new: Object, old: Object) -> bool:
    """Whether nothing changed but what the store itself sets."""
    return _content(new) == _content(old)


def _content(obj: Object) -> Object:
    return obj | {"metadata": {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}}
