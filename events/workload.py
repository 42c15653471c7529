"""What users ask for, and what intake says when it cannot be done."""

import uuid
from typing import Annotated

from pydantic import Field, JsonValue

from events.catalogue import CATALOGUE
from shared.eventing.event_types import EventData
from shared.models.fields import DnsLabel, Wire
from shared.models.workload import Generation, WorkloadSpec

_EXAMPLE_ID = "9403eeb2-8848-53a3-90c2-1095c047864f"
_EXAMPLE: dict[str, JsonValue] = {
    "name": "test-inference",
    "type": "inference",
    "image": "nginx:1.29",
    "team": "search",
    "namespace": "search",
    "replicas": 2,
    "resources": {"cpu": "4", "memory": "8Gi", "gpu": {"count": 1, "sku": "L4"}},
    "ports": [8000],
    "probe": {"path": "/health", "port": 8000},
}


@CATALOGUE.declare("dev.sentinel.workload.submitted.v1", raw=True, outside=True, example=_EXAMPLE)
class WorkloadSubmitted(WorkloadSpec):
    """Somebody wants this workload to run. Its subject may be absent: intake computes the workload's id."""


@CATALOGUE.declare(
    "dev.sentinel.workload.withdrawn.v1",
    raw=True,
    outside=True,
    example={"name": "test-inference", "team": "search", "namespace": "search"},
)
class WorkloadWithdrawn(EventData):
    """Somebody wants this workload gone. generation: no submission with a higher number is meant.

    With it, a withdrawal may come before the first submission: then it is remembered.
    """

    name: DnsLabel
    team: DnsLabel = "default"
    namespace: DnsLabel = "default"
    generation: Generation | None = None


class BadField(Wire):
    """One reason: the path of the field ("" for the whole document) and what to do about it."""

    field: str
    message: str


@CATALOGUE.declare(
    "dev.sentinel.workload.rejected.v1",
    terminal=True,
    example={
        "workload": _EXAMPLE_ID,
        "name": "test-inference",
        "errors": [{"field": "replicas", "message": "Input should be greater than or equal to 0"}],
    },
)
class WorkloadRejected(EventData):
    """A submission, a withdrawal or a plan from outside that was not taken in; nothing changed."""

    workload: uuid.UUID | None
    name: str
    errors: Annotated[tuple[BadField, ...], Field(min_length=1)]
