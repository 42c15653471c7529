"""The function event-relay, built from its parts."""

import logging
from functools import partial

from functions.event_relay import handler
from shared.eventing.function import ClusterFunction
from shared.eventing.publishing import Publisher
from shared.eventing.relay import Relayed, publish_pending
from shared.models.retention import DEFAULT_RETENTION, Retention
from shared.store.unit_of_work import Store, UnitOfWork

PAGE = 100

logger = logging.getLogger("sentinel.event_relay")


def build(
    store: Store, sink: Publisher, retention: Retention = DEFAULT_RETENTION
) -> ClusterFunction[UnitOfWork, int, Relayed]:
    """The function that publishes the outbox of `store` to `sink`, and deletes what has been kept long enough."""
    prepare, perform = partial(handler.prepare, retention=retention), partial(publish_page, store, sink)
    return ClusterFunction("event-relay", handler.ACCEPTS, prepare, perform, handler.conclude)


def publish_page(store: Store, sink: Publisher, _: int) -> Relayed:
    """Publishes a page between the two transactions of the function, in a transaction of its own."""
    relayed = publish_pending(store, sink, PAGE)
    for refused in relayed.refused:
        logger.error("the broker refuses %s: %s", refused.event.attributes["id"], refused.reason)
    if relayed.away:
        logger.warning("the outbox waits for the next tick: %s", relayed.failure)
    elif relayed.postponed:
        logger.warning("events that are sent again later: %d; the first: %s", relayed.postponed, relayed.failure)
    return relayed
