"""What may let waiting plans go on: a policy that changed, a reservation that was released."""

import uuid
from typing import Annotated

from pydantic import Field

from events.catalogue import CATALOGUE
from shared.eventing.event_types import EventData


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


Released = dict[Annotated[str, Field(max_length=500)], Annotated[int, Field(ge=1)] | None]
"""By resource of a scope, such as "team/search gpus[H100]": how much less of it is held, null where nobody knows."""


@CATALOGUE.declare(
    "dev.sentinel.reservation.released.v1",
    example={"workload": "9403eeb2-8848-53a3-90c2-1095c047864f", "released": {"team/search gpus[H100]": 2}},
)
class ReservationReleased(EventData):
    """A workload holds less than before, and a plan in the queue waits for that.

    released: empty from a release that did not say; then the whole queue is looked through.
    """

    workload: str
    released: Annotated[Released, Field(default_factory=dict, max_length=1000)]


@CATALOGUE.declare(
    "dev.sentinel.queue.continued.v1",
    example={"after": "0c8d5f8e-7f4f-5d9e-8a52-1c5a3a1e5b60", "released": {"team/search gpus[H100]": 1}},
)
class QueueContinued(EventData):
    """The look through the queue goes on.

    released: only plans that wait for one of these are looked at, those behind the plan `after`. Without it, it is the
    look through the whole queue, and a row of the database knows how far that has come.
    """

    after: uuid.UUID | None = None
    released: Annotated[Released, Field(default_factory=dict, max_length=1000)]
