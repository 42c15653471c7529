"""The function dead-letter, built from its parts."""

from collections.abc import Callable

from functions.dead_letter import handler
from shared.eventing.processing import HttpAnswer
from shared.store.unit_of_work import Store


def build(store: Store) -> Callable[[dict[str, str], bytes], HttpAnswer]:
    """(lower-case headers, body) -> answer; every dead letter is stored in `store`."""
    return handler.keeper(store)
