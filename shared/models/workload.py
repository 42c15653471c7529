"""A workload: what a user wants to run, in the one form that Sentinel works with.

The wire form is JSON with camelCase names and Kubernetes quantities. The model holds millicores, bytes and normalised
SKU names. There are two ways in, and both name every bad field at once: `WorkloadSpec.model_validate` for what comes
in, and `WorkloadSpec.from_content` for a stored row, which an earlier release may have written under older rules.
"""

import posixpath
import uuid
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, ValidationInfo, model_validator

from shared.models.fields import Argument, DnsLabel, Duration, EnvName, Image, LabelKey, LabelValue, Port, Wire
from shared.models.kubernetes_object import refuse_as_workload
from shared.models.pod import EnvEntry, Probe, Security, Toleration, Volume
from shared.models.pod_failures import PodFailurePolicy
from shared.models.replicas import ReplicaRange, Replicas
from shared.models.resources import Resources
from shared.models.service_metrics import ServiceMetrics
from shared.models.validation import is_stored, read_stored

MAX_COMMAND = 128 * 1024
"""Bytes of the command and the arguments together, each with the NUL that ends it.

Linux takes no single argument that is longer (MAX_ARG_STRLEN), and an event of 1 MiB has room for the rest.
"""

DEVICE_VARIABLES = ("NVIDIA_VISIBLE_DEVICES", "AMD_VISIBLE_DEVICES")
"""What a GPU's container runtime reads: a container that sets one gets GPUs that it has not asked for."""

DEVICE_MOUNTS = "/var/run/nvidia-container-devices"
"""What NVIDIA's runtime reads in the same way: a volume that is mounted below it."""

Generation = Annotated[int, Field(ge=1, le=2**53, strict=True)]
"""The number by which a caller orders its own submissions and withdrawals of a workload."""

WORKLOAD_NAMESPACE = uuid.UUID("5e471e1a-0000-5000-8000-000000000001")

OWN_LABEL_PREFIXES = ("app.kubernetes.io/", "sentinel.dev/")
CONTROLLER_LABELS = ("controller-revision-hash", "controller-uid", "job-name", "pod-template-hash")
CONTROLLER_LABEL_PREFIXES = ("apps.kubernetes.io/", "batch.kubernetes.io/", "statefulset.kubernetes.io/")
"""What Kubernetes' own controllers write on pods; an API server refuses a Job that brings one of its own."""


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


class WorkloadType(StrEnum):
    """What a workload is for; it decides the Kubernetes kind."""

    INFERENCE = "inference"
    SERVICE = "service"
    TRAINING = "training"
    BATCH = "batch"
    STATEFUL = "stateful"

    @property
    def kind(self) -> Literal["Deployment", "Job", "StatefulSet"]:
        match self:
            case WorkloadType.INFERENCE | WorkloadType.SERVICE:
                return "Deployment"
            case WorkloadType.TRAINING | WorkloadType.BATCH:
                return "Job"
            case WorkloadType.STATEFUL:
                return "StatefulSet"


class ClusterSelector(Wire):
    """Which registered clusters may run the workload; empty selects all."""

    match_labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.match_labels.items())


class WorkloadSpec(Wire):
    """A workload as anyone may post it. Everything but name, type and image has a default.

    restarted_at: when all pods were last asked to be replaced; another moment replaces them once more. metrics: what
    Prometheus is asked about it; None for the queries of shared/telemetry/service_queries.csv.
    """

    name: DnsLabel
    type: WorkloadType
    image: Image
    team: DnsLabel = "default"
    namespace: DnsLabel = "default"
    replicas: Replicas = 1
    resources: Resources = Resources()
    command: tuple[Argument, ...] = ()
    args: tuple[Argument, ...] = ()
    env: dict[EnvName, EnvEntry] = Field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    probe: Probe | None = None
    volumes: tuple[Volume, ...] = ()
    security: Security = Security()
    clusters: ClusterSelector = ClusterSelector()
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    deadline: Annotated[Duration, AfterValidator(_positive), Field(le=timedelta(days=30))] = timedelta(minutes=10)
    bake: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=1))] = timedelta(seconds=10)
    backoff_limit: Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)] = 0
    pod_failure_policy: PodFailurePolicy | None = None
    restarted_at: AwareDatetime | None = None
    metrics: ServiceMetrics | None = None
    queue: bool = False
    priority: Annotated[int, Field(ge=0, le=1000, strict=True)] = 0
    generation: Generation | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_kubernetes_object(cls, data: Any) -> Any:
        return refuse_as_workload(data)

    @model_validator(mode="after")
    def _takes_what_it_asks_for(self) -> Self:
        size = sum(len(argument.encode()) + 1 for argument in (*self.command, *self.args))
        if size > MAX_COMMAND:
            raise ValueError(f"command and args have {size} bytes together; {MAX_COMMAND} are allowed")
        for name in DEVICE_VARIABLES:
            if self.env.get(name, "void") not in ("", "void", "none"):
                raise ValueError(f"env must not set {name}, which takes GPUs that nobody counts: use resources.gpu")
        for volume in self.volumes:
            if f"{posixpath.normpath(volume.mount_path)}/".startswith(f"{DEVICE_MOUNTS}/"):
                raise ValueError(f"volumes must not be mounted in {DEVICE_MOUNTS}, which takes GPUs: use resources.gpu")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, values in (
            ("ports", self.ports),
            ("volumes", [v.name for v in self.volumes]),
            ("volumes", [v.mount_path for v in self.volumes]),
        ):
            if len(set(values)) != len(values):
                raise ValueError(f"{what} must not repeat a value")
        for key in self.labels:
            if key.startswith(OWN_LABEL_PREFIXES):
                raise ValueError(f"labels must not use Sentinel's own prefix: {key}")
            if key in CONTROLLER_LABELS or key.startswith(CONTROLLER_LABEL_PREFIXES):
                raise ValueError(f"labels must not use what Kubernetes' controllers set themselves: {key}")
        if self.type.kind == "Job" and self.replicas == 0:
            raise ValueError("replicas of a training or batch workload must be at least 1")
        if self.type.kind == "Job" and self.autoscaling is not None:
            raise ValueError("replicas of a training or batch workload must be a number: nothing scales a Job")
        if self.type.kind != "Job" and self.retries_pods:
            raise ValueError(
                "backoffLimit and podFailurePolicy are of training and batch workloads alone: "
                f"a {self.type.kind} always replaces its pods"
            )
        return self

    @model_validator(mode="after")
    def _reads_its_own_metrics(self, info: ValidationInfo) -> Self:
        if self.metrics is not None and not is_stored(info):
            self.metrics.check(self.namespace, self.name)
        return self

    @property
    def autoscaling(self) -> ReplicaRange | None:
        """The range in which an autoscaler chooses the replicas; None where the workload says how many."""
        return self.replicas if isinstance(self.replicas, ReplicaRange) else None

    @property
    def most_replicas(self) -> int:
        """How many replicas may run: these are priced, counted and reserved."""
        return self.replicas.max if isinstance(self.replicas, ReplicaRange) else self.replicas

    def with_most_replicas(self, most: int) -> Self:
        """The same workload with at most so many replicas."""
        if (chosen := self.autoscaling) is None or most == 0:
            return self.model_copy(update={"replicas": most})
        return self.model_copy(update={"replicas": ReplicaRange(min=min(chosen.min, most), max=most)})

    @property
    def retries_pods(self) -> bool:
        """Whether a Job may replace a pod that has failed."""
        return self.backoff_limit > 0 or self.pod_failure_policy is not None

    @property
    def id(self) -> uuid.UUID:
        return workload_id(self.team, self.namespace, self.name)

    @property
    def full_name(self) -> str:
        """team/namespace/name."""
        return f"{self.team}/{self.namespace}/{self.name}"

    def content(self) -> dict[str, object]:
        """What is stored and compared: equal contents ask for the same.

        It is the wire form without the generation. `env` is a list of [name, value] pairs, because its order counts
        and a store of JSON keeps the order of arrays alone.
        """
        wire = self.model_dump(mode="json", by_alias=True, exclude={"generation"})
        return {**wire, "env": [list(entry) for entry in wire["env"].items()]}

    @classmethod
    def from_content(cls, stored: Mapping[str, Any]) -> Self:
        """The workload of a stored `content()`. Raises ValueError, see shared.models.validation.read_stored.

        Earlier versions stored `env` as an object and gave the variables to pods in the order of their names.
        """
        env = stored.get("env") or ()
        pairs = sorted(env.items()) if isinstance(env, Mapping) else env
        return read_stored(cls, {**stored, "env": dict(pairs)})


def workload_id(team: str, namespace: str, name: str) -> uuid.UUID:
    """The identity of a workload: posting the same team, namespace and name again is a new generation."""
    return uuid.uuid5(WORKLOAD_NAMESPACE, f"{team}/{namespace}/{name}")
