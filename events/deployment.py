"""What became of a plan on its cluster."""

import uuid
from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import Field, JsonValue

from events.catalogue import CATALOGUE
from shared.eventing.event_types import EventData
from shared.models.deployment import Deployment, OwnedField
from shared.models.fields import Wire

_DEPLOYMENT: dict[str, JsonValue] = {
    "deployment": "4c0f3ed6-5d0c-5b53-9f7e-66d0f23f86f5",
    "workload": "9403eeb2-8848-53a3-90c2-1095c047864f",
    "revision": 3,
    "generation": 3,
    "cluster": "local",
    "kind": "Deployment",
    "namespace": "search",
    "name": "test-inference",
}


class DeploymentData(EventData):
    """One revision of a workload on one cluster, and the object that stands for it."""

    deployment: uuid.UUID
    workload: uuid.UUID
    revision: Annotated[int, Field(ge=1)]
    generation: Annotated[int, Field(ge=1)]
    cluster: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, deployment: Deployment, **more: Any) -> Self:
        """The data that tells of a stored revision; `more` is what the subclass adds."""
        reference = deployment.reference
        return cls(
            deployment=deployment.id,
            workload=deployment.workload_id,
            revision=deployment.revision,
            generation=deployment.generation,
            cluster=deployment.cluster,
            kind=reference.kind,
            namespace=reference.namespace,
            name=reference.name,
            **more,
        )


class WithReason(DeploymentData):
    """`reason` is a CamelCase word as Kubernetes uses them, `message` is for people."""

    reason: str
    message: str


class FieldOwner(Wire):
    """A field of the object, and the field manager that owned it when the manifest was applied."""

    field: str
    manager: str

    @classmethod
    def all_of(cls, fields: Iterable[OwnedField]) -> tuple[Self, ...]:
        """As the domain has them."""
        return tuple(cls(field=one.field, manager=one.manager) for one in fields)


@CATALOGUE.declare(
    "dev.sentinel.deployment.applied.v1",
    example={
        **_DEPLOYMENT,
        "takenFields": [],
        "leftFields": [{"field": ".spec.replicas", "manager": "kube-controller-manager"}],
    },
)
class DeploymentApplied(DeploymentData):
    """The API server took the manifest; verification watches it from here.

    taken_fields: what a rollback took from other field managers, because it may have broken the revision before.
    left_fields: what it left to them.
    """

    taken_fields: tuple[FieldOwner, ...] = ()
    left_fields: tuple[FieldOwner, ...] = ()


@CATALOGUE.declare(
    "dev.sentinel.deployment.failed.v1",
    terminal=True,
    example={**_DEPLOYMENT, "reason": "ApplyRefused", "message": "spec.template: Invalid value: field is immutable"},
)
class DeploymentFailed(WithReason):
    """The API server will never take the manifest; what ran before still runs."""


@CATALOGUE.declare("dev.sentinel.deployment.removed.v1", example=_DEPLOYMENT)
class DeploymentRemoved(DeploymentData):
    """The object was deleted; its reservation returns once its pods are observed gone."""


@CATALOGUE.declare(
    "dev.sentinel.deployment.healthy.v1",
    terminal=True,
    example={**_DEPLOYMENT, "reason": "Ready", "message": "2 of 2 replicas are ready"},
)
class DeploymentHealthy(WithReason):
    """Every replica was ready for the bake time, or the Job is complete."""


@CATALOGUE.declare(
    "dev.sentinel.deployment.unhealthy.v1",
    terminal=True,
    example={**_DEPLOYMENT, "reason": "ImagePullBackOff", "message": "Back-off pulling image"},
)
class DeploymentUnhealthy(WithReason):
    """The revision did not become healthy, or is so no more; where there is a way back, a rollback is proposed."""


@CATALOGUE.declare(
    "dev.sentinel.deployment.rolledback.v1",
    terminal=True,
    example={**_DEPLOYMENT, "reason": "Ready", "message": "revision 1 runs again, as revision 3"},
)
class DeploymentRolledBack(WithReason):
    """An earlier revision runs again and is healthy."""
