"""The API on the emptied store."""

from collections.abc import Iterator

import pytest

from shared.store.unit_of_work import Store
from tests.support.rest import Rest, running


@pytest.fixture
def rest(store: Store) -> Iterator[Rest]:
    """Asks the API; `rest.bind` makes users."""
    with running(store) as found:
        yield found
