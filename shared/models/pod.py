"""The parts of a workload that its pods get as they are: environment, probe, volumes, security and tolerations."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from shared.models.fields import (
    AbsolutePath,
    DnsLabel,
    DnsSubdomain,
    EnvValue,
    LabelKey,
    LabelValue,
    Port,
    Wire,
    matching,
    printable,
)


def _without_steps_back(value: str) -> str:
    if ".." in value.split("/"):
        raise ValueError("must not step back by '..'")  # no API server takes such a hostPath
    return value


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
