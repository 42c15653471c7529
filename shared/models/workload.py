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
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    Tag,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from shared.models import gpu as gpus
from shared.models.fields import (
    AbsolutePath,
    Argument,
    Bytes,
    DnsLabel,
    DnsSubdomain,
    Duration,
    EnvName,
    EnvValue,
    Image,
    LabelKey,
    LabelValue,
    Millicores,
    Port,
    Wire,
    matching,
    printable,
)
from shared.models.kubernetes_object import refuse_as_workload
from shared.models.service_metrics import ServiceMetrics
from shared.models.validation import is_stored, read_stored

MAX_REPLICAS = 10_000

MIN_CPU = 10
"""Millicores. The kubelet gives no container less: a quota is at least 1 ms in a period of 100 ms (MinQuotaPeriod)."""

MIN_MEMORY = 6 * 1024**2
"""Bytes. Docker refuses a container with less, because runc cannot start it (linuxMinMemory)."""

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


def _without_steps_back(value: str) -> str:
    if ".." in value.split("/"):
        raise ValueError("must not step back by '..'")  # no API server takes such a hostPath
    return value


def _at_most(limit: int, text: str) -> AfterValidator:
    """No machine has more; and the ledger's sums over 10,000 replicas and many workloads stay 64-bit integers."""

    def check(value: int) -> int:
        if value > limit:
            raise ValueError(f"must be at most {text} a replica")
        return value

    return AfterValidator(check)


def _at_least(limit: int, text: str) -> AfterValidator:
    """Zero is no limit to Kubernetes, and what has no limit takes what no ledger counts."""

    def check(value: int) -> int:
        if value < limit:
            raise ValueError(f"must be at least {text} a replica: zero and almost zero are no limit to Kubernetes")
        return value

    return AfterValidator(check)


def _sku(value: object) -> object:
    return gpus.normalise_sku(value) if isinstance(value, str) else value


def _mig_profile(value: object) -> object:
    return value.replace("+", ".") if isinstance(value, str) else value


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


class ReplicaRange(Wire):
    """Replicas that an autoscaler chooses. min: the first, and what must be available. max: what is reserved."""

    min: Annotated[int, Field(ge=0, le=MAX_REPLICAS, strict=True)] = 1
    max: Annotated[int, Field(ge=1, le=MAX_REPLICAS, strict=True)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min must be at most max: {self.min} is more than {self.max}")
        return self

    def __str__(self) -> str:
        return f"{self.min}-{self.max}"


ReplicaCount = Annotated[int, Field(ge=0, le=MAX_REPLICAS, strict=True)]


@cache
def _count() -> TypeAdapter[int]:
    return TypeAdapter(ReplicaCount)


def _replicas(value: object, info: ValidationInfo) -> int | ReplicaRange:
    """One of both by its form, so that an error is about the one that was meant. null is any number of replicas."""
    match value:
        case ReplicaRange():
            return value
        case None:
            return ReplicaRange(max=MAX_REPLICAS)
        case Mapping():
            return read_stored(ReplicaRange, value) if is_stored(info) else ReplicaRange.model_validate(value)
        case int() if is_stored(info):
            return value
        case _:
            return _count().validate_python(value)


_COUNT_SCHEMA = {"type": "integer", "minimum": 0, "maximum": MAX_REPLICAS}
_RANGE_SCHEMA = {
    "type": "object",
    "properties": {"min": {**_COUNT_SCHEMA, "default": 1}, "max": {**_COUNT_SCHEMA, "minimum": 1}},
    "required": ["max"],
    "additionalProperties": False,
}
Replicas = Annotated[
    int | ReplicaRange,
    PlainValidator(_replicas),
    PlainSerializer(lambda value: value if isinstance(value, int) else {"min": value.min, "max": value.max}),
    WithJsonSchema({"anyOf": [_COUNT_SCHEMA, _RANGE_SCHEMA, {"type": "null"}]}),
]


class GpuRequest(Wire):
    """GPUs of one replica. Without a SKU any GPU will do; with a MIG profile the count is of slices.

    product: the one value of the node label nvidia.com/gpu.product that will do. A SKU that spells out such a value
    sets it.
    """

    count: Annotated[int, Field(ge=0, le=64, strict=True)] = 0
    sku: Annotated[LabelValue, StringConstraints(min_length=1), BeforeValidator(_sku)] | None = None
    product: Annotated[LabelValue, StringConstraints(min_length=1)] | None = None
    mig: (
        Annotated[
            str,
            BeforeValidator(_mig_profile),
            matching(gpus.MIG_PROFILE.pattern, 'must be a MIG profile such as "1g.10gb"'),
        ]
        | None
    ) = None

    @model_validator(mode="before")
    @classmethod
    def _sku_and_product(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        sku, product = data.get("sku"), data.get("product")
        if product is None and isinstance(sku, str) and (named := gpus.product_named(sku)):
            return {**data, "product": named}
        return {**data, "sku": product} if sku is None and product is not None else data

    @model_validator(mode="after")
    def _one_gpu(self) -> Self:
        if self.product is not None and (sku := gpus.normalise_sku(self.product)) != self.sku:
            raise ValueError(
                f"product {self.product} is a GPU of the SKU {sku}, and sku says {self.sku}; leave one out"
            )
        return self


class Resources(Wire):
    """What one replica asks for; requests and limits are the same."""

    # What others read in the exported schema is the wire form: a default of 1000 would be a thousand cores.
    cpu: Annotated[Millicores, _at_least(MIN_CPU, "10m"), _at_most(10_000 * 1000, "10000 cores")] = Field(
        default=1000, json_schema_extra={"default": "1"}
    )
    memory: Annotated[Bytes, _at_least(MIN_MEMORY, "6Mi"), _at_most(32 * 1024**4, "32Ti")] = Field(
        default=1024**3, json_schema_extra={"default": "1Gi"}
    )
    gpu: GpuRequest = GpuRequest()


class SecretReference(Wire):
    """An environment variable from a Secret in the workload's namespace; its value is never seen here."""

    secret: DnsSubdomain
    key: Annotated[
        str, StringConstraints(max_length=253), matching(r"(?!\.$|\.\.)[-._A-Za-z0-9]+", "must be a Secret key")
    ]


EnvEntry = Annotated[
    Annotated[EnvValue, Tag("value")] | Annotated[SecretReference, Tag("secretReference")],
    # The entry itself says which of both it is, so an error is about the one that was meant.
    Discriminator(lambda entry: "secretReference" if isinstance(entry, Mapping | SecretReference) else "value"),
]


class Probe(Wire):
    """HTTP readiness."""

    path: Annotated[str, StringConstraints(max_length=1024), AfterValidator(printable)] = "/"
    port: Port


class Volume(Wire):
    """A mounted volume: exactly one source."""

    name: DnsLabel
    mount_path: AbsolutePath
    read_only: bool = False
    empty_dir: bool = False
    host_path: Annotated[AbsolutePath, AfterValidator(_without_steps_back)] | None = None
    claim: DnsSubdomain | None = None
    config_map: DnsSubdomain | None = None
    secret: DnsSubdomain | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        named = (self.host_path, self.claim, self.config_map, self.secret)
        if sum((self.empty_dir, *(source is not None for source in named))) != 1:
            raise ValueError("must have exactly one of emptyDir, hostPath, claim, configMap, secret")
        return self


class Security(Wire):
    """What a pod may do beyond the ordinary; policies may forbid each."""

    privileged: bool = False
    host_network: bool = False
    host_pid: Annotated[bool, Field(alias="hostPID")] = False
    host_ipc: Annotated[bool, Field(alias="hostIPC")] = False
    add_capabilities: tuple[Annotated[str, matching(r"[A-Z][A-Z0-9_]{0,62}", "must be a Linux capability")], ...] = ()

    @property
    def host_namespaces(self) -> tuple[str, ...]:
        """The namespaces of the node that the pod shares, as Kubernetes names the fields."""
        shared = {"hostNetwork": self.host_network, "hostPID": self.host_pid, "hostIPC": self.host_ipc}
        return tuple(name for name, wanted in shared.items() if wanted)


def _absent_if_empty(value: object) -> object:
    return None if value == "" else value


class Toleration(Wire):
    """A taint of nodes that the pods accept: core/v1 Toleration, with the rules of Kubernetes' own validation.

    Without a key it accepts every taint, without an effect every effect. toleration_seconds: how long a pod stays on a
    node that gets such a taint with the effect NoExecute; without it, for good.
    """

    key: Annotated[LabelKey | None, BeforeValidator(_absent_if_empty)] = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: LabelValue = ""
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None, BeforeValidator(_absent_if_empty)
    ] = None
    toleration_seconds: Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.key is None and self.operator != "Exists":
            raise ValueError("operator must be Exists when there is no key: that accepts every taint")
        if self.operator == "Exists" and self.value:
            raise ValueError("value must be left out when operator is Exists")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("effect must be NoExecute when tolerationSeconds is given")
        return self


class ExitCodes(Wire):
    """Which exit codes of a container a rule is about: batch/v1 PodFailurePolicyOnExitCodesRequirement.

    container_name: the pod's one container, or without it any that is injected, too.
    """

    container_name: Literal["main"] | None = None
    operator: Literal["In", "NotIn"]
    values: Annotated[
        tuple[Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)], ...], Field(min_length=1, max_length=255)
    ]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.values)) != len(self.values):
            raise ValueError("values must not repeat an exit code")
        if self.operator == "In" and 0 in self.values:
            raise ValueError("values must not hold 0 when operator is In: a container that exits with 0 has not failed")
        return self


class PodCondition(Wire):
    """A condition of a failed pod that a rule is about, such as DisruptionTarget of a pod whose node is drained."""

    type: LabelKey
    status: Literal["True", "False", "Unknown"] = "True"


class PodFailureRule(Wire):
    """What a failed pod means to its Job: batch/v1 PodFailurePolicyRule. The first rule that matches counts.

    Ignore replaces the pod, and counts nothing. Count counts it towards backoffLimit. FailJob ends the Job.
    """

    action: Literal["FailJob", "Ignore", "Count"]
    on_exit_codes: ExitCodes | None = None
    on_pod_conditions: Annotated[tuple[PodCondition, ...], Field(max_length=20)] = ()

    @model_validator(mode="after")
    def _one_requirement(self) -> Self:
        if (self.on_exit_codes is None) is not bool(self.on_pod_conditions):
            raise ValueError("must have exactly one of onExitCodes and onPodConditions")
        return self


class PodFailurePolicy(Wire):
    """What failures of pods mean to a Job, such as a drained node: batch/v1 PodFailurePolicy."""

    rules: Annotated[tuple[PodFailureRule, ...], Field(min_length=1, max_length=20)]


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
