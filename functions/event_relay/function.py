"""The function event-relay, built from its parts."""

from functions.event_relay import handler
from shared.eventing.function import ClusterFunction
from shared.eventing.publishing import Publisher
from shared.store.relay import Relayed
from shared.store.unit_of_work import Store, UnitOfWork


def build(store: Store, sink: Publisher) -> ClusterFunction[UnitOfWork, int, Relayed]:
    """The function that publishes the outbox of `store` to `sink`."""
    return ClusterFunction(
        "event-relay", handler.ACCEPTS, handler.prepare, handler.publisher(store, sink), handler.conclude
    )
