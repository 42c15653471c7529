"""The platform's PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from knative.local.runtime.database import Database
from shared.models.cluster import Cluster
from shared.store.catalogue import CatalogueRows
from shared.store.database import connect


@pytest.mark.slow
async def test_registering_a_cluster_again_keeps_what_is_known_of_it(state: Path) -> None:
    database = Database(state)
    await database.start()
    known = Cluster("local", {"region": "eu"}, {"H100": 8})
    engine = connect(database.url, pool_size=1, max_overflow=0)
    try:
        await database.register_cluster("local")
        with engine.begin() as connection:
            assert CatalogueRows(connection).clusters() == [Cluster("local", {}, None)]
            CatalogueRows(connection).register_cluster(known)
        await database.register_cluster("local")
        with engine.begin() as connection:
            assert CatalogueRows(connection).clusters() == [known]
    finally:
        engine.dispose()
        await database.stop()
