"""The next page of a tick: a tick handles one page and says where to go on."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from events.catalogue import CATALOGUE
from shared.eventing.event_types import EventData
from shared.models.fields import Text

TICK_SUBJECT = "tick"


@CATALOGUE.declare("dev.sentinel.verification.continued.v1", example={"startedAt": "2026-01-01T00:00:00Z", "page": 1})
class VerificationContinued(EventData):
    """Verification goes on with what was not looked at since `started_at`."""

    started_at: datetime
    page: int


@CATALOGUE.declare("dev.sentinel.sweep.continued.v1", example={"cluster": "local", "page": 7, "chain": 1})
class SweepContinued(EventData):
    """The sweep of a cluster goes on with this page. chain: how many pages follow one tick so far."""

    cluster: str
    page: int
    chain: int


@CATALOGUE.declare("dev.sentinel.relay.continued.v1", example={"page": 1})
class RelayContinued(EventData):
    """The relay goes on with what is left in the outbox."""

    page: int


@CATALOGUE.declare("dev.sentinel.collection.due.v1", keyed=True, example={"collections": {"istio": 7, "vllm": 12}})
class CollectionDue(EventData):
    """Metrics are due to be collected from Prometheus. collections: the number by which each may be claimed."""

    collections: Annotated[dict[Text, int], Field(min_length=1, max_length=100)]
