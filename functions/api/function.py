"""The function api, built from its parts."""

from collections.abc import Callable, Mapping

from functions.api import reading
from shared.eventing.processing import HttpAnswer
from shared.store.unit_of_work import Store


def build(store: Store) -> Callable[[str, Mapping[str, str]], HttpAnswer]:
    """(path, query parameters) -> answer, read from `store`."""
    return reading.reader(store)
