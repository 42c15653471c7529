"""A store whose teams may hold few GPUs."""

import pytest

from shared.store.unit_of_work import Store
from tests.support.queueing import ROOM, gpus, policy


@pytest.fixture
def limited(store: Store) -> Store:
    """A store in which each team may hold ROOM GPUs."""
    policy(store, gpus(ROOM))
    return store
