"""Creation, replacement, patch and server-side apply of one object: from a request's body to a new version in the
store.

Every way in ends in the same steps as in the real server: decode, keep what this write cannot change, default,
validate, record the managers, and store; a write that changes nothing keeps its resourceVersion.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from knative.local.kubernetes import clock, defaults, errors, managed, patch, scale, strategy, typecheck, validation
from knative.local.kubernetes.decode import (
    Strictness,
    UndecodableError,
    decode,
    objection,
    parse_json,
    unhandled,
    warnings,
)
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

Subresource = Literal["", "status", "scale"]


@dataclass
class Request:
    """How a write is asked for. `warnings` collects what the answer has to mention."""

    manager: str
    dry_run: bool = False
    force: bool = False
    validation: str = "Warn"
    warnings: list[str] = field(default_factory=list)


class Writes:
    def __init__(self, objects: Objects, schema: Schema, removed: Callable[[Kind, Key], Stored]) -> None:
        """`removed` takes out an object whose last finalizer went away."""
        self._objects = objects
        self._schema = schema
        self._removed = removed

    # the four ways to write

    def create(self, kind: Kind, namespace: str, body: bytes, request: Request) -> Stored:
        obj = self._decoded(kind, body, request)
        return self._create(kind, namespace, obj, request, Writer(request.manager))

    def replace(self, kind: Kind, key: Key, body: bytes, subresource: Subresource, request: Request) -> Stored:
        obj = self._decoded(kind, body, request)
        self._check_named(key, obj)
        old = self._existing(kind, key)
        self._check_uid(kind, key, obj, old)
        self._check_identity(kind, key, obj, old)
        return self._update(kind, old, obj, subresource, request)

    def patch(
        self, kind: Kind, key: Key, body: bytes, content_type: str, subresource: Subresource, request: Request
    ) -> tuple[Stored, bool]:
        """The object after the patch, and whether the patch (an apply) created it."""
        if content_type == APPLY:
            return self._apply(kind, key, body, subresource, request)
        old = self._existing(kind, key)
        obj = self._patched(kind, old.obj, body, content_type, request)
        self._check_identity(kind, key, obj, old)
        return self._update(kind, old, obj, subresource, request), False

    def scale(self, kind: Kind, key: Key, body: bytes, content_type: str, request: Request) -> Stored:
        """The object after a PUT (no content type) or PATCH of its subresource `scale`."""
        if content_type == APPLY:
            return self._apply(kind, key, body, "scale", request)[0]
        if content_type:
            old = self._existing(kind, key)
            asked = self._patched(SCALE, scale.of(old), body, content_type, request)
            self._check_named(key, asked)
        else:
            asked = self._decoded(SCALE, body, request)
            self._check_named(key, asked)
            old = self._existing(kind, key)
        self._check_uid(kind, key, asked, old)
        self._check_identity(kind, key, asked, old)
        obj = old.obj | {"spec": old.obj["spec"] | {"replicas": scale.replicas_of(asked, key[1])}}
        return self._update(kind, old, decode(self._schema, kind, obj, Strictness()), "scale", request)

    # their steps

    def _decoded(self, kind: Kind, body: bytes, request: Request) -> Object:
        """The object in the body of a POST or PUT."""
        strictness = Strictness()
        raw = parse_json(body, strictness, kind.name)
        if isinstance(raw, dict):
            version, name = raw.get("apiVersion") or kind.api_version, raw.get("kind") or kind.name
            if (version, name) != (kind.api_version, kind.name):
                message = f'{name} in version "{kind.version}" cannot be handled as a {kind.name}'
                raise errors.bad_request(f'{message}: no kind "{name}" is registered here for version "{version}"')
        try:
            obj = decode(self._schema, kind, raw, strictness)
        except UndecodableError as error:
            raise unhandled(kind, error) from error
        if refused := objection(strictness, request.validation):
            raise unhandled(kind, refused)
        request.warnings += warnings(strictness, request.validation)
        return obj

    def _patched(self, kind: Kind, old: Object, body: bytes, content_type: str, request: Request) -> Object:
        """The object that the patch in the body makes of `old`."""
        strictness = Strictness()
        patched = self._merged(kind, old, parse_json(body, strictness), content_type)
        try:
            obj = decode(self._schema, kind, patched, strictness)
        except UndecodableError as error:
            raise errors.unfit_patch(patched, str(error)) from error
        if refused := objection(strictness, request.validation):
            raise errors.unfit_patch(patched, refused)
        version, name = obj.get("apiVersion") or kind.api_version, obj.get("kind") or kind.name
        if (version, name) != (kind.api_version, kind.name):
            raise errors.unfit_patch(patched, f'no kind "{name}" is registered here for version "{version}"')
        request.warnings += warnings(strictness, request.validation)
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

    @staticmethod
    def _check_named(key: Key, obj: Object) -> None:
        if not obj.get("metadata", {}).get("name"):
            why = f"the name of the object ({key[1]} based on URL) was undeterminable: name must be provided"
            raise errors.bad_request(why)

    @staticmethod
    def _check_uid(kind: Kind, key: Key, obj: Object, old: Stored) -> None:
        """A uid is a precondition where the whole object is stated."""
        uid = obj["metadata"].get("uid")
        if uid and uid != old.obj["metadata"]["uid"]:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.obj['metadata']['uid']}"
            raise errors.conflict(kind.plural, kind.group, key[1], why)

    def _check_identity(self, kind: Kind, key: Key, obj: Object, old: Stored) -> None:
        """The body names the object of the URL, at the version that is stored, if it names a version."""
        metadata = obj.setdefault("metadata", {})
        if metadata.setdefault("name", key[1]) != key[1]:
            raise errors.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({key[1]})"
            )
        self._check_namespace(kind, key[0], metadata)
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.name
        uid = metadata.get("uid")
        if uid and uid != old.obj["metadata"]["uid"]:
            cause = errors.Cause.invalid("metadata.uid", uid, "field is immutable")
            raise errors.invalid(kind.name, kind.group, key[1], [cause])
        version = metadata.get("resourceVersion")
        if version and version != "0" and version != str(old.revision):
            raise errors.conflict(kind.plural, kind.group, key[1], errors.STALE)

    @staticmethod
    def _check_namespace(kind: Kind, namespace: str, metadata: Object) -> None:
        if not kind.namespaced:
            metadata.pop("namespace", None)
        elif metadata.setdefault("namespace", namespace) != namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )

    def _create(self, kind: Kind, namespace: str, obj: Object, request: Request, writer: Writer) -> Stored:
        """Admits and stores a fresh object whose managers, for an apply, are settled already."""
        metadata = obj.setdefault("metadata", {})
        if metadata.get("resourceVersion"):
            raise errors.ApiError(500, "", "resourceVersion should not be set on objects to be created")
        self._check_namespace(kind, namespace, metadata)
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.name
        self._check_alive(kind, namespace, metadata.get("name", ""))
        defaults.apply(kind, obj)
        if writer.operation == "Update":
            metadata.pop("managedFields", None)
            tracked = managed.Writer(writer.manager, ignored=strategy.ignored(kind, ""))
            obj = managed.track_update(self._schema.roots[kind.key], None, obj, tracked, clock.now())
        strategy.prepare_create(kind, obj)
        validation.check_create(kind, obj)
        metadata = obj["metadata"]
        key = (namespace, metadata["name"])
        if self._objects.get(kind, key) is not None:
            raise errors.already_exists(kind.plural, kind.group, key[1])
        return self._store(kind, obj, request)

    def _check_alive(self, kind: Kind, namespace: str, name: str) -> None:
        """The namespace exists and is not going away."""
        if not kind.namespaced:
            return
        home = self._objects.get(NAMESPACE, ("", namespace))
        if home is None:
            raise errors.not_found("namespaces", "", namespace)
        if home.obj["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = errors.Cause(
                "NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace"
            )
            raise errors.forbidden(kind.plural, kind.group, name, why, (cause,))

    def _update(self, kind: Kind, old: Stored, obj: Object, subresource: Subresource, request: Request) -> Stored:
        """Stores `obj`, a fresh copy, in place of `old`, with its writer recorded."""
        resets = obj["metadata"].get("managedFields") == [{}]
        self._prepare(kind, old, obj, subresource)
        base = managed.with_managed(obj, [] if resets else old.obj["metadata"].get("managedFields") or [])
        if not resets and _same(base, old.obj):
            return old
        before = managed.with_managed(old.obj, []) if resets else old.obj
        writer = Writer(request.manager, "Update", subresource, strategy.ignored(kind, subresource))
        root, now = self._schema.roots[kind.key], clock.now()
        if subresource == "scale":
            tracked = managed.track_update(root, scale.stated(before), scale.stated(base), writer, now)
            tracked = managed.with_managed(base, tracked["metadata"].get("managedFields") or [])
        else:
            tracked = managed.track_update(root, before, base, writer, now)
        return self._store(kind, tracked, request)

    def _prepare(self, kind: Kind, old: Stored, obj: Object, subresource: Subresource) -> None:
        strategy.prepare_update(kind, "status" if subresource == "status" else "", obj, old.obj)
        if subresource != "status":
            defaults.apply(kind, obj)
            strategy.bump_generation(kind, obj, old.obj)
            validation.check_update(kind, obj, old.obj)

    def _apply(
        self, kind: Kind, key: Key, body: bytes, subresource: Subresource, request: Request
    ) -> tuple[Stored, bool]:
        shape = SCALE if subresource == "scale" else kind
        config = self._configuration(shape, key, body, request)
        typecheck.check(self._schema.roots[shape.key], config, _named(shape, config))
        if shape is SCALE:
            config = self._scaled(kind, key, config)
        root = self._schema.roots[kind.key]
        self._check_namespace(kind, key[0], config["metadata"])
        old = self._objects.get(kind, key)
        writer = Writer(request.manager, "Apply", subresource, strategy.ignored(kind, subresource))
        if old is None:
            return self._apply_new(kind, key, config, request, writer), True
        self._check_identity(kind, key, config, old)
        applied = managed.merge_applied(root, old.obj, config, writer)
        obj = self._converted(kind, applied.obj, config)
        self._prepare(kind, old, obj, subresource)
        tracked = managed.track_apply(root, old.obj, obj, applied, writer, clock.now(), force=request.force)
        if _same(tracked, old.obj):
            return old, False
        return self._store(kind, tracked, request), False

    def _scaled(self, kind: Kind, key: Key, config: Object) -> Object:
        """What an applied Scale states of the object itself."""
        replicas = scale.replicas_of(self._converted(SCALE, config, config), key[1])
        return config | {"apiVersion": kind.api_version, "kind": kind.name, "spec": {"replicas": replicas}}

    def _apply_new(self, kind: Kind, key: Key, config: Object, request: Request, writer: Writer) -> Stored:
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
        obj = self._converted(kind, applied.obj, config)
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.name
        obj = managed.track_apply(root, live, obj, applied, writer, clock.now(), force=True)
        return self._create(kind, key[0], obj, request, writer)

    def _converted(self, kind: Kind, merged: Object, config: Object) -> Object:
        try:
            return decode(self._schema, kind, merged, Strictness())
        except UndecodableError as error:
            what = f"{kind.api_version}, Kind={kind.name}"
            why = f"unable to convert unstructured object to {what}: {error}"
            message = f"failed to convert new object {_named(kind, config)} to proper version: {why}"
            raise errors.ApiError(500, "", message) from error

    def _configuration(self, kind: Kind, key: Key, body: bytes, request: Request) -> Object:
        """The applied object: YAML or JSON, of this kind, with this name, without managedFields."""
        strictness = Strictness()
        if body.lstrip()[:1] == b"{":
            if _SURROGATE.search(body):
                why = "found invalid Unicode character escape code"
                raise errors.bad_request(f"error decoding patch: error converting YAML to JSON: yaml: {why}")
            config = parse_json(body, strictness)
        else:
            try:
                config = yaml.safe_load(body)
            except yaml.YAMLError as error:
                raise errors.bad_request(f"error encoding patch: yaml: {error}") from error
        if not isinstance(config, dict):
            raise errors.bad_request("error decoding patch: the body of an apply must be an object")
        if refused := objection(strictness, request.validation):
            raise errors.bad_request(f"error strict decoding YAML: {refused}")
        request.warnings += warnings(strictness, request.validation)
        version, name = str(config.get("apiVersion", "")), str(config.get("kind", ""))
        if (version, name) != (kind.api_version, kind.name):
            group = version if "/" in version else f"/{version}" if version else "/"
            raise errors.bad_request(f"invalid object type: {group}, Kind={name}")
        metadata = config["metadata"] = config.get("metadata") or {}
        if isinstance(metadata, dict):
            if metadata.get("managedFields"):
                raise errors.bad_request("metadata.managedFields must be nil")
            if metadata.setdefault("name", key[1]) != key[1]:
                raise errors.bad_request(
                    f"the name of the object ({metadata['name']}) does not match the name on the URL ({key[1]})"
                )
        return config

    def _store(self, kind: Kind, obj: Object, request: Request) -> Stored:
        if request.dry_run:
            return self._objects.version(obj)
        metadata = obj["metadata"]
        stored = self._objects.put(kind, obj)
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            waits = kind is POD and metadata.get("deletionGracePeriodSeconds")
            namespace_waits = kind is NAMESPACE and obj.get("spec", {}).get("finalizers")
            if not waits and not namespace_waits:
                return self._removed(kind, (metadata.get("namespace", ""), metadata["name"]))
        return stored


def _named(kind: Kind, config: Object) -> str:
    metadata = config["metadata"] if isinstance(config["metadata"], dict) else {}
    return f"({metadata.get('namespace', '')}/{metadata.get('name', '')}; {kind.api_version}, Kind={kind.name})"


def _same(new: Object, old: Object) -> bool:
    """Whether nothing changed but what the store itself sets."""
    ours = {name: value for name, value in new["metadata"].items() if name != "resourceVersion"}
    theirs = {name: value for name, value in old["metadata"].items() if name != "resourceVersion"}
    return ours == theirs and all(
        new.get(name) == old.get(name) for name in new.keys() | old.keys() if name != "metadata"
    )
