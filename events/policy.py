"""What may let waiting plans go on: a policy that changed, a reservation that was released."""

import uuid
from typing import Annotated

from pydantic import Field

from events.catalogue import CATALOGUE
from shared.eventing.event import EventData


@CATALOGUE.declare(
    "dev.sentinel.policy.changed.v1",
    outside=True,
    example={"name": "team-gpus", "version": 2, "change": "replaced", "author": "ada"},
)
class PolicyChanged(EventData):
    """A policy was added, replaced, enabled or disabled; the subject is `policy/<name>`."""

    name: str
    version: Annotated[int, Field(ge=1)]
    change: str
    author: str


@CATALOGUE.declare("dev.sentinel.reservation.released.v1", example={"workload": "9403eeb2-8848-53a3-90c2-1095c047864f"})
class ReservationReleased(EventData):
    """A workload holds less than before, and plans are waiting in the queue."""

    workload: str


@CATALOGUE.declare("dev.sentinel.queue.continued.v1", example={"after": "0c8d5f8e-7f4f-5d9e-8a52-1c5a3a1e5b60"})
class QueueContinued(EventData):
    """The look through the queue goes on after this plan."""

    after: uuid.UUID
