"""The structural schema of the served kinds: which fields there are, of which type, and how lists and maps merge.

Fields and types come from the Kubernetes client's typed models, so every field of the real API is known. Tables here
add what the models omit: which strings are quantities, which lists are sets or maps with which keys, which structs and
maps are atomic, and how a strategic merge patch treats a list. Both follow the published OpenAPI of Kubernetes.

Importing the models takes half a second. So their outline is kept as a JSON file beside the store, keyed by the version
of the client.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from knative.local.kubernetes.kinds import KINDS, SCALE

Outline = dict[str, dict[str, str]]
"""Model name -> JSON field name -> type, as `V1Container` -> `env` -> `List[V1EnvVar]`."""


@dataclass(eq=False)
class Scalar:
    """`any` is JSON of any shape and is treated as one value."""

    name: Literal["string", "integer", "number", "boolean", "quantity", "int-or-string", "time", "any"]


@dataclass(eq=False)
class Struct:
    name: str
    fields: dict[str, "Type"] = field(default_factory=dict)
    atomic: bool = False


@dataclass(eq=False)
class MapOf:
    element: "Type"
    atomic: bool = False


@dataclass(eq=False)
class ListOf:
    """`keys` are the merge keys of a `map` list; `patch_key` is the strategic merge key ("" when the patch replaces
    it).
    """

    element: "Type"
    relation: Literal["atomic", "set", "map"] = "atomic"
    keys: tuple[str, ...] = ()
    patch_key: str = ""


Type = Scalar | Struct | MapOf | ListOf

STRING = Scalar("string")
INTEGER = Scalar("integer")
NUMBER = Scalar("number")
BOOLEAN = Scalar("boolean")
QUANTITY = Scalar("quantity")
INT_OR_STRING = Scalar("int-or-string")
TIME = Scalar("time")
ANY = Scalar("any")

# A merge key that is absent from an item takes the default of its field.
KEY_DEFAULTS = {"protocol": "TCP"}

_MAP_LISTS = {
    "V1Container.env": ("name",),
    "V1Container.ports": ("containerPort", "protocol"),
    "V1Container.volumeDevices": ("devicePath",),
    "V1Container.volumeMounts": ("mountPath",),
    "V1DeploymentStatus.conditions": ("type",),
    "V1NamespaceStatus.conditions": ("type",),
    "V1NodeStatus.addresses": ("type",),
    "V1NodeStatus.conditions": ("type",),
    "V1ObjectMeta.ownerReferences": ("uid",),
    "V1PodSpec.containers": ("name",),
    "V1PodSpec.hostAliases": ("ip",),
    "V1PodSpec.imagePullSecrets": ("name",),
    "V1PodSpec.initContainers": ("name",),
    "V1PodSpec.topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "V1PodSpec.volumes": ("name",),
    "V1PodStatus.conditions": ("type",),
    "V1PodStatus.podIPs": ("ip",),
    "V1ReplicaSetStatus.conditions": ("type",),
    "V1StatefulSetStatus.conditions": ("type",),
}
_SET_LISTS = {
    "V1NodeSpec.podCIDRs",
    "V1ObjectMeta.finalizers",
    "V1UncountedTerminatedPods.failed",
    "V1UncountedTerminatedPods.succeeded",
}
# Lists that a strategic merge patch merges although server-side apply takes them as one value.
_PATCH_KEYS = {"V1JobStatus.conditions": "type", "V1PodStatus.hostIPs": "ip"}
_ATOMIC_MAPS = {"V1PodSpec.nodeSelector"}
_ATOMIC_STRUCTS = {
    "V1ConfigMapKeySelector",
    "V1LabelSelector",
    "V1LocalObjectReference",
    "V1NodeSelector",
    "V1NodeSelectorTerm",
    "V1ObjectFieldSelector",
    "V1ObjectReference",
    "V1OwnerReference",
    "V1ResourceFieldSelector",
    "V1SecretKeySelector",
}
_QUANTITIES = {
    "V1EmptyDirVolumeSource.sizeLimit",
    "V1NodeStatus.allocatable",
    "V1NodeStatus.capacity",
    "V1PodSpec.overhead",
    "V1ResourceFieldSelector.divisor",
    "V1ResourceRequirements.limits",
    "V1ResourceRequirements.requests",
    "V1VolumeResourceRequirements.limits",
    "V1VolumeResourceRequirements.requests",
}
_INT_OR_STRING = {
    "V1HTTPGetAction.port",
    "V1TCPSocketAction.port",
    "V1RollingUpdateDeployment.maxSurge",
    "V1RollingUpdateDeployment.maxUnavailable",
    "V1RollingUpdateStatefulSetStrategy.maxUnavailable",
}
_SCALARS: dict[str, Scalar] = {
    "str": STRING,
    "int": INTEGER,
    "float": NUMBER,
    "bool": BOOLEAN,
    "bytes": STRING,
    "bytearray": STRING,
    "datetime": TIME,
    "object": ANY,
}
_GENERIC = re.compile(r"^(List|Dict)\[(?:str, )?(.+)\]$")


class Schema:
    """The types of all served kinds; `of(kind)` gives a kind's root struct."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._structs: dict[str, Struct] = {}
        self.roots = {kind.key: self.struct(kind.model) for kind in KINDS}
        self.roots[SCALE.key] = self._scale()

    def struct(self, model: str) -> Struct:
        known = self._structs.get(model)
        if known is not None:
            return known
        struct = self._structs[model] = Struct(model, atomic=model in _ATOMIC_STRUCTS)
        for name, text in self._outline[model].items():
            struct.fields[name] = self._type(f"{model}.{name}", text)
        return struct

    def _scale(self) -> Struct:
        spec = Struct("V1ScaleSpec", {"replicas": INTEGER})
        status = Struct("V1ScaleStatus", {"replicas": INTEGER, "selector": STRING})
        head: dict[str, Type] = {"apiVersion": STRING, "kind": STRING, "metadata": self.struct("V1ObjectMeta")}
        return Struct("V1Scale", head | {"spec": spec, "status": status})

    def _type(self, path: str, text: str) -> Type:
        if path in _INT_OR_STRING:
            return INT_OR_STRING
        generic = _GENERIC.match(text)
        if generic is None:
            scalar = QUANTITY if path in _QUANTITIES else _SCALARS.get(text)
            return scalar or self.struct(text)
        if generic[1] == "Dict":
            element = QUANTITY if path in _QUANTITIES else self._type("", generic[2])
            return MapOf(element, atomic=path in _ATOMIC_MAPS)
        element = self._type("", generic[2])
        if path in _MAP_LISTS:
            keys = _MAP_LISTS[path]
            return ListOf(element, "map", keys, keys[0])
        if path in _SET_LISTS:
            return ListOf(element, "set")
        return ListOf(element, patch_key=_PATCH_KEYS.get(path, ""))


def outline_of_models(roots: Iterable[str]) -> Outline:
    """The outline of the named models and of every model that they reach."""
    from kubernetes.client import models  # half a second: only when there is no cached outline

    outline: Outline = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in outline:
            continue
        model = getattr(models, name)
        fields = {model.attribute_map[attribute]: text for attribute, text in model.openapi_types.items()}
        outline[name] = fields
        for text in fields.values():
            generic = _GENERIC.match(text)
            inner = generic[2] if generic else text
            generic = _GENERIC.match(inner)
            inner = generic[2] if generic else inner
            if inner not in _SCALARS:
                waiting.append(inner)
    return outline


def load(cache: Path) -> Schema:
    """The schema, from the cached outline when it was written by the same version of the client."""
    edition = version("kubernetes")
    try:
        saved = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        saved = {}
    if saved.get("edition") == edition:
        return Schema(saved["outline"])
    outline = outline_of_models(kind.model for kind in KINDS)
    partial = cache.with_suffix(".part")
    partial.write_text(json.dumps({"edition": edition, "outline": outline}))
    partial.replace(cache)
    return Schema(outline)
