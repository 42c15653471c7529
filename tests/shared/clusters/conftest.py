"""A scripted API server for each test."""

from collections.abc import Iterator

import pytest

from tests.support.api_servers import ScriptedServer, scripted_server


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as script:
        yield script
