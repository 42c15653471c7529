"""The resources that `knative.local` runs, as frozen typed models.

The models state what the laptop understands. A field outside of them is refused rather than ignored, because ignoring
it would make the laptop behave otherwise than production. Fields that have no meaning on one machine (image, resources,
security context, ...) are accepted and named as such.

Rules that the CRDs do not check, so that a typing error passes the API server: `backoffPolicy` values, ISO 8601 and Go
durations, cron texts, filter dialects, the order annotation.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from croniter import CroniterBadDateError, croniter
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from shared.models import durations

ORDER = "kafka.eventing.knative.dev/delivery.order"
BROKER_CLASS = "eventing.knative.dev/broker.class"
WINDOW = "autoscaling.knative.dev/window"
_OTHER_DURATIONS = (
    "autoscaling.knative.dev/scale-down-delay",
    "autoscaling.knative.dev/scale-to-zero-pod-retention-period",
)
DEFAULT_TIMEOUT = 600.0
DEFAULT_BACKOFF_DELAY = 0.2


def _seconds(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError("must be an ISO 8601 duration in a string, for instance PT0.2S")
    return durations.iso8601(value).total_seconds()


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be longer than zero")
    return value


def _named(attributes: dict[str, str]) -> dict[str, str]:
    for name in attributes:
        if not re.fullmatch("[a-z][a-z0-9]*", name):
            raise ValueError(f"{name!r} is not the name of an attribute: lower-case letters and digits only")
    return attributes


Duration = Annotated[float, BeforeValidator(_seconds)]
Attributes = Annotated[dict[str, str], AfterValidator(_named)]
Inert = Annotated[Any, Field(default=None)]
"""Accepted and without meaning on one machine."""


class Model(BaseModel):
    """Frozen, camelCase in YAML, and closed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


class Metadata(Model):
    name: str = Field(min_length=1)
    namespace: str = "default"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class KReference(Model):
    api_version: str
    kind: str
    name: str
    namespace: str | None = None


class Destination(Model):
    """Where events go: a reference to a Service or Broker, or an absolute URL."""

    ref: KReference | None = None
    uri: str | None = Field(default=None, pattern=r"^https?://[^/]+")

    @model_validator(mode="after")
    def _one(self) -> Destination:
        if (self.ref is None) == (self.uri is None):
            raise ValueError("needs either ref or uri (a uri relative to a ref is not supported here)")
        return self


class DeliverySpec(Model):
    """Durations in seconds. Knative's defaults: no retries, 200 ms, 600 s."""

    dead_letter_sink: Destination | None = None
    retry: int = Field(default=0, ge=0)
    backoff_policy: Literal["linear", "exponential"] = "exponential"
    backoff_delay: Duration = DEFAULT_BACKOFF_DELAY
    timeout: Annotated[Duration, AfterValidator(_positive)] = DEFAULT_TIMEOUT


class Filter(Model):
    """One entry of `filters`: exactly one dialect."""

    exact: Attributes | None = None
    prefix: Attributes | None = None
    suffix: Attributes | None = None
    all: list[Filter] | None = None
    any: list[Filter] | None = None
    not_: Filter | None = Field(default=None, alias="not")
    cesql: Any = None

    @model_validator(mode="after")
    def _one_dialect(self) -> Filter:
        if "cesql" in self.model_fields_set:
            raise ValueError(
                "the cesql dialect is not supported on a laptop; use exact, prefix, suffix, all, any or not"
            )
        if len(self.model_fields_set) > 1:
            raise ValueError("states more than one dialect; put each into an entry of its own")
        for dialect in (self.prefix, self.suffix):
            if dialect and "subject" in dialect:
                raise ValueError(
                    "prefix and suffix on subject: the Kafka broker discards every event without a subject "
                    "(pings have none), and the Trigger can no longer be updated"
                )
        return self


class AttributesFilter(Model):
    attributes: Attributes = {}


class BrokerSpec(Model):
    config: KReference | None = None
    delivery: DeliverySpec = DeliverySpec()


class BrokerResource(Model):
    metadata: Metadata
    spec: BrokerSpec = BrokerSpec()

    @field_validator("metadata")
    @classmethod
    def _kafka(cls, metadata: Metadata) -> Metadata:
        if (found := metadata.annotations.get(BROKER_CLASS)) != "Kafka":
            raise ValueError(f"annotations.{BROKER_CLASS} is {found!r}; the class reproduced here is 'Kafka'")
        return metadata


class TriggerSpec(Model):
    broker: str
    filter: AttributesFilter = AttributesFilter()
    filters: list[Filter] = []
    subscriber: Destination
    delivery: DeliverySpec | None = None


class Trigger(Model):
    metadata: Metadata
    spec: TriggerSpec

    @field_validator("metadata")
    @classmethod
    def _unordered(cls, metadata: Metadata) -> Metadata:
        order = metadata.annotations.get(ORDER, "unordered")
        if order == "ordered":
            raise ValueError(
                f"annotations.{ORDER}: ordered delivery is not supported on a laptop; remove the annotation"
            )
        if order != "unordered":
            raise ValueError(f"annotations.{ORDER} is {order!r}; it must be 'ordered' or 'unordered'")
        return metadata


class SecretKey(Model):
    name: str
    key: str


class EnvSource(Model):
    secret_key_ref: SecretKey


S = TypeVar("S", bound=Model)


class EnvVar(Model, Generic[S]):
    """A variable whose value is text, or comes from what `S` refers to."""

    name: str = Field(min_length=1)
    value: str | None = None
    value_from: S | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.value is not None and self.value_from is not None:
            raise ValueError("states both value and valueFrom")
        return self


class VolumeMount(Model):
    name: str
    mount_path: str = Field(pattern=r"^/.+")
    read_only: bool = False


class SecretVolume(Model):
    secret_name: str
    optional: bool = False


class PodVolume(Model):
    name: str
    secret: SecretVolume


class ContainerBase(Model):
    """What a Service's container and a DaemonSet's have in common."""

    name: str | None = None
    command: list[str] = Field(min_length=1)
    args: list[str] = []
    volume_mounts: list[VolumeMount] = []
    image: Inert
    image_pull_policy: Inert
    ports: Inert
    resources: Inert
    security_context: Inert
    readiness_probe: Inert
    liveness_probe: Inert
    startup_probe: Inert


class RevisionContainer(ContainerBase):
    env: list[EnvVar[EnvSource]] = []


class RevisionSpec(Model):
    containers: list[RevisionContainer] = Field(min_length=1, max_length=1)
    container_concurrency: int = Field(default=0, ge=0)
    timeout_seconds: float = Field(default=300, gt=0)
    volumes: list[PodVolume] = []
    service_account_name: Inert
    automount_service_account_token: Inert
    image_pull_secrets: Inert
    enable_service_links: Inert


class RevisionMetadata(Model):
    name: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @field_validator("annotations")
    @classmethod
    def _durations(cls, annotations: dict[str, str]) -> dict[str, str]:
        for name in (WINDOW, *_OTHER_DURATIONS):
            if (text := annotations.get(name)) is not None:
                try:
                    seconds = durations.go(text).total_seconds()
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
                least = 6 if name == WINDOW else 0
                if not least <= seconds <= 3600:
                    raise ValueError(f"{name}: must be between {least}s and 1h, not {text}")
        return annotations


class RevisionTemplate(Model):
    metadata: RevisionMetadata = RevisionMetadata()
    spec: RevisionSpec


class ServiceSpec(Model):
    template: RevisionTemplate


class Service(Model):
    metadata: Metadata
    spec: ServiceSpec

    @property
    def window(self) -> float:
        """Seconds without a request after which the process is stopped; Knative's default is 60."""
        return durations.go(self.spec.template.metadata.annotations.get(WINDOW, "60s")).total_seconds()


class FieldReference(Model):
    field_path: Literal["spec.nodeName"]


class NodeEnvSource(Model):
    """The name of the node that the pod is on."""

    field_ref: FieldReference


class NodeContainer(ContainerBase):
    env: list[EnvVar[NodeEnvSource]] = []


class HostPath(Model):
    path: str = Field(pattern=r"^/.+")
    type: str = ""


class NodeVolume(Model):
    name: str
    host_path: HostPath


class NodePodSpec(Model):
    """The pod of a DaemonSet. Each simulated node has a directory in place of its file system, and no devices."""

    containers: list[NodeContainer] = Field(min_length=1, max_length=1)
    volumes: list[NodeVolume] = []
    termination_grace_period_seconds: float = Field(default=30, ge=0)
    service_account_name: Inert
    automount_service_account_token: Inert
    image_pull_secrets: Inert
    enable_service_links: Inert


class NodePodMetadata(Model):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class NodePodTemplate(Model):
    metadata: NodePodMetadata = NodePodMetadata()
    spec: NodePodSpec


class LabelSelector(Model):
    match_labels: dict[str, str] = {}


class DaemonSetSpec(Model):
    selector: LabelSelector
    template: NodePodTemplate
    update_strategy: Inert

    @model_validator(mode="after")
    def _selects_its_pods(self) -> DaemonSetSpec:
        wanted = self.selector.match_labels
        if not wanted or not wanted.items() <= self.template.metadata.labels.items():
            raise ValueError("selector.matchLabels must be among the labels of the template")
        return self


class DaemonSet(Model):
    """Runs once on each group of equal simulated GPU nodes."""

    metadata: Metadata
    spec: DaemonSetSpec


class PingSourceSpec(Model):
    schedule: str
    timezone: Literal["UTC", "Etc/UTC"] | None = None
    content_type: str | None = None
    data: str = ""
    sink: Destination

    @field_validator("schedule")
    @classmethod
    def _cron(cls, text: str) -> str:
        if len(text.split()) not in (5, 6) or not croniter.is_valid(text, second_at_beginning=True):
            raise ValueError(f"{text!r} is not a cron schedule of five fields, or six with the seconds first")
        try:
            croniter(text, second_at_beginning=True).get_next()
        except CroniterBadDateError as error:
            raise ValueError(f"{text!r} names a time that never comes") from error
        return text


class PingSource(Model):
    metadata: Metadata
    spec: PingSourceSpec


class WatchedResource(Model):
    api_version: str
    kind: str
    selector: LabelSelector = LabelSelector()


class ApiServerSourceSpec(Model):
    mode: Literal["Reference"] = "Reference"
    resources: list[WatchedResource] = Field(min_length=1)
    namespace_selector: LabelSelector | None = None
    sink: Destination
    service_account_name: Inert

    @field_validator("namespace_selector")
    @classmethod
    def _all_namespaces(cls, selector: LabelSelector | None) -> LabelSelector | None:
        if selector is not None and selector.match_labels:
            raise ValueError("only the empty selector (every namespace) is supported on a laptop")
        return selector


class ApiServerSource(Model):
    metadata: Metadata
    spec: ApiServerSourceSpec


class SinkBindingSpec(Model):
    subject: KReference
    sink: Destination


class SinkBinding(Model):
    metadata: Metadata
    spec: SinkBindingSpec


KINDS: dict[tuple[str, str], type[Model]] = {
    ("eventing.knative.dev/v1", "Broker"): BrokerResource,
    ("eventing.knative.dev/v1", "Trigger"): Trigger,
    ("serving.knative.dev/v1", "Service"): Service,
    ("apps/v1", "DaemonSet"): DaemonSet,
    ("sources.knative.dev/v1", "PingSource"): PingSource,
    ("sources.knative.dev/v1", "ApiServerSource"): ApiServerSource,
    ("sources.knative.dev/v1", "SinkBinding"): SinkBinding,
}
"""(apiVersion, kind) -> model."""

UNENFORCEABLE = {
    "EventPolicy": "its broker does not know who sends an event, and would let through what the policy keeps out",
    "NetworkPolicy": "all of its parts are reached at 127.0.0.1, by whoever is on this machine",
}
"""Kinds that would promise what one machine does not do, and why."""

INERT = frozenset(
    {
        ("v1", "Namespace"),
        ("v1", "ServiceAccount"),
        ("v1", "ConfigMap"),
        *(("rbac.authorization.k8s.io/v1", k) for k in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")),
    }
)
"""Kinds that production needs and one machine does not."""
