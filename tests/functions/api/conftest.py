"""The API on the emptied store. Building it takes long, so one application serves all tests of a process."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from functions.api.session import Services
from shared.store.unit_of_work import Store
from tests.support.rest import Rest, serving


@pytest.fixture(scope="session")
def api() -> Iterator[tuple[FastAPI, int]]:
    with serving() as found:
        yield found


@pytest.fixture
def rest(api: tuple[FastAPI, int], store: Store) -> Rest:
    """Asks the API; `rest.bind` makes users."""
    app, port = api
    rest = Rest(port)
    app.state.services = Services(store, rest.authenticate)
    return rest
