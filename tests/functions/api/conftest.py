"""The API on the emptied store."""

from functools import partial
from pathlib import Path

import pytest
from fastapi import FastAPI

from functions.api.identity import Identity
from functions.api.session import Services
from shared.operations.identity.authenticate import authenticate
from shared.store.unit_of_work import Store
from tests.support.rest import Rest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What takes 20 s to collect is not, where it would not run."""
    return True if collection_path.name == "test_generated.py" and "not slow" in config.option.markexpr else None


@pytest.fixture
def rest(application: tuple[FastAPI, int], store: Store, identity: Identity) -> Rest:
    """Asks the API; `rest.bind` makes users."""
    app, port = application
    rest = Rest(port)
    app.state.services = Services(store, rest.authenticate, identity=identity)
    return rest


@pytest.fixture
def signed_in(application: tuple[FastAPI, int], store: Store, identity: Identity) -> Rest:
    """Asks the API, where tokens are those that it has made: `user` is a token."""
    app, port = application
    app.state.services = Services(store, partial(authenticate, tokens=identity.tokens), identity=identity)
    return Rest(port)
