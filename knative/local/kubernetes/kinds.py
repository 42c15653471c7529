"""The kinds that are served: those that Sentinel applies and reads, and those that `kubectl describe` looks up."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One resource type.

    `model` names its class in the Kubernetes client's models. `status`, `scale` and `generation` say whether it has
    these subresources and counts its generation.
    """

    group: str
    name: str
    plural: str
    model: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    status: bool = True
    scale: bool = False
    generation: bool = False
    version: str = "v1"

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        """`deployments.apps`: unique, and the column `kind` of the store."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def __repr__(self) -> str:
        return self.key


_ALL = ("all",)

NAMESPACE = Kind("", "Namespace", "namespaces", "V1Namespace", ("ns",), namespaced=False)
NODE = Kind("", "Node", "nodes", "V1Node", ("no",), namespaced=False)
POD = Kind("", "Pod", "pods", "V1Pod", ("po",), _ALL, generation=True)
EVENT = Kind("", "Event", "events", "CoreV1Event", ("ev",), status=False)
CONFIG_MAP = Kind("", "ConfigMap", "configmaps", "V1ConfigMap", ("cm",), status=False)
DEPLOYMENT = Kind("apps", "Deployment", "deployments", "V1Deployment", ("deploy",), _ALL, scale=True, generation=True)
REPLICA_SET = Kind("apps", "ReplicaSet", "replicasets", "V1ReplicaSet", ("rs",), _ALL, generation=True)
STATEFUL_SET = Kind("apps", "StatefulSet", "statefulsets", "V1StatefulSet", ("sts",), _ALL, scale=True, generation=True)
JOB = Kind("batch", "Job", "jobs", "V1Job", (), _ALL, generation=True)

SCALE = Kind("autoscaling", "Scale", "scales", "V1Scale")
"""The shape of the subresource `scale`; no resource of its own."""

KINDS = (NAMESPACE, NODE, POD, EVENT, CONFIG_MAP, DEPLOYMENT, REPLICA_SET, STATEFUL_SET, JOB)

BY_PATH = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
BY_KEY = {kind.key: kind for kind in KINDS}
BY_NAME = {(kind.api_version, kind.name): kind for kind in KINDS}
GROUPS = tuple(dict.fromkeys(kind.group for kind in KINDS))


def of_group(group: str) -> tuple[Kind, ...]:
    return tuple(kind for kind in KINDS if kind.group == group)
