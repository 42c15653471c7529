"""Events of an agent, and a sink that answers as a test says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.eventing.event import WireEvent
from shared.eventing.publishing import PublishingFailed

AWAY = PublishingFailed("no answer", permanent=False, answered=False)
LATER = PublishingFailed("503", permanent=False)
REFUSED = PublishingFailed("400 data.gpus: two GPUs have the same index", permanent=True)


def event(number: int, data: str = "{}") -> WireEvent:
    """An event whose id is its number."""
    attributes = {
        "specversion": "1.0",
        "id": str(number),
        "source": "/sentinel/agents/local/gpu-0",
        "type": "dev.sentinel.telemetry.gpu.v1",
        "subject": "gpu-0",
        "partitionkey": "gpu-0",
        "datacontenttype": "application/json",
    }
    return WireEvent(attributes, data.encode())


def ids(events: Sequence[WireEvent]) -> list[int]:
    return [int(one.attributes["id"]) for one in events]


@dataclass
class ScriptedSink:
    """Takes every event for which `failure` gives None."""

    failure: Callable[[WireEvent], PublishingFailed | None] = lambda _: None
    received: list[WireEvent] = field(default_factory=list)
    closed: bool = False

    def publish(self, event: WireEvent) -> None:
        if (failure := self.failure(event)) is not None:
            raise failure
        self.received.append(event)

    def close(self) -> None:
        self.closed = True
