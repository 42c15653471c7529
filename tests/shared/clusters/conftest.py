"""A scripted API server for each test; properties hold however long a busy machine takes to draw an example."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.shared.clusters.servers import ScriptedServer, scripted_server

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as script:
        yield script
