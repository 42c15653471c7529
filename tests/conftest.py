"""Real PostgreSQL for every test that asks for it: one server a test process, emptied before each test.

Properties hold however long a busy machine takes to draw an example. HYPOTHESIS_PROFILE=thorough draws many more.
"""

import asyncio
import gc
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings

from knative.local.cluster import heartbeats
from knative.local.runtime.postgres import EmbeddedPostgres
from shared.models.cluster import Cluster
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.support import databases
from tests.support.builders import Deliver

settings.register_profile("quick", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_configure() -> None:
    """A shell that runs the suite in the background has it ignore Ctrl-C, and every process that tests start too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Properties run without coverage, at two thirds of the price: every line they reach, an example reaches too."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.no_cover)


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays to the end: the garbage collector need not walk it ever again."""
    gc.freeze()


LOCAL = Cluster("local", {"region": "eu"}, {"H100": 16, "L4": 16, "A100-80GB": 16})

# DELETE beats TRUNCATE by far on tables of a few rows, and waits for no reader. Most tables are empty already: a look
# costs a tenth of a DELETE. Prices are what migrations seeded. In order: the totals of usage come after usage, whose
# trigger writes them, and so the tallies after all others.
_PREPARE = """
CREATE SCHEMA seeded;
CREATE TABLE seeded.prices AS TABLE prices;
DO $prepare$
DECLARE
    deletions text;
BEGIN
    SELECT string_agg(format('IF EXISTS (SELECT FROM %1$I) THEN DELETE FROM %1$I; END IF;', tablename), ' '
                      ORDER BY tablename = 'tallies', tablename)
      INTO deletions FROM pg_tables
     WHERE schemaname = 'public' AND tablename NOT IN ('alembic_version', 'prices');
    EXECUTE format('CREATE FUNCTION seeded.empty() RETURNS void LANGUAGE plpgsql AS %L', 'BEGIN ' || deletions || $body$
        IF EXISTS ((TABLE prices EXCEPT TABLE seeded.prices) UNION ALL (TABLE seeded.prices EXCEPT TABLE prices)) THEN
            DELETE FROM prices;
            INSERT INTO prices TABLE seeded.prices;
        END IF;
        INSERT INTO source_bindings (name, source, teams, namespaces, actions)
        VALUES ('everything', '*', '{*}', '{*}', '{submit,withdraw,propose}');
        INSERT INTO namespace_bindings (team, namespaces) VALUES ('*', '{*}');
        INSERT INTO binding_set (id, revision) VALUES (1, gen_random_uuid());
    END $body$);
END
$prepare$
"""


@pytest.fixture(scope="session")
def migrated_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of PostgreSQL with the present schema, to be copied; one for all workers of a run."""
    place = tmp_path_factory.getbasetemp()
    return databases.template(place.parent if "PYTEST_XDIST_WORKER" in os.environ else place)


@pytest.fixture(scope="session")
def postgres(migrated_data: Path) -> Iterator[EmbeddedPostgres]:
    """A migrated server; `url` is the application's role, `owner_url` the owner's."""
    with tempfile.TemporaryDirectory(prefix="sentinel-test-") as directory:
        databases.copy(migrated_data, Path(directory))
        with EmbeddedPostgres(Path(directory), durable=False) as server:
            yield server


@pytest.fixture(scope="session")
def owner_engine(postgres: EmbeddedPostgres) -> Iterator[sa.Engine]:
    """Connections of the role that owns the tables: what tests use to look and to tamper."""
    engine = connect(postgres.owner_url, pool_size=2)
    with engine.begin() as connection:
        connection.exec_driver_sql(_PREPARE)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def engine(postgres: EmbeddedPostgres) -> Iterator[sa.Engine]:
    """Connections of the application's role."""
    engine = connect(postgres.url)
    yield engine
    engine.dispose()


@pytest.fixture
def emptied(owner_engine: sa.Engine) -> None:
    """Every table empty, but for the seeded prices, and for bindings that allow everything, as on a laptop."""
    with owner_engine.begin() as connection:
        connection.exec_driver_sql("SELECT seeded.empty()")


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, emptied: None) -> str:
    """The application's URL of an emptied database, for processes."""
    return postgres.url


@pytest.fixture
def store(engine: sa.Engine, emptied: None) -> Store:
    """A store on an emptied database, with the cluster `local` (16 each of H100, L4 and A100-80GB)."""
    opened = Store(engine)
    with opened.begin() as work:
        work.catalogue.register_cluster(LOCAL)
    return opened


@pytest.fixture
def deliver(store: Store) -> Deliver:
    """Delivers events to functions on the emptied store; see tests.builders."""
    return Deliver(store)


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[Path]:
    """The kubeconfig of a real, disposable cluster, whose nodes are kept alive if they are simulated."""
    if not (named := os.environ.get("KUBECONFIG")):
        pytest.skip("needs KUBECONFIG, the path of a disposable cluster's kubeconfig")
    loop = asyncio.new_event_loop()
    beating = loop.create_task(heartbeats.beat(Path(named)))
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.wait([beating]),))
    thread.start()
    yield Path(named)
    loop.call_soon_threadsafe(beating.cancel)
    thread.join()
    loop.close()
