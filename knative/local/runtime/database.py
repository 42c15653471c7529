"""The platform's PostgreSQL: the embedded one, in a thread of its own.

Starting and stopping block, so they run beside the event loop. They run always in the same thread, because the server
dies with the thread that started it (PR_SET_PDEATHSIG, prctl(2)).
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from knative.local.runtime import first_start
from knative.local.runtime.postgres import EmbeddedPostgres
from shared.models.actor import SYSTEM
from shared.models.cluster import Cluster
from shared.operations.bindings import allow_all
from shared.store.catalogue import CatalogueRows
from shared.store.database import connect, transient_errors
from shared.store.migrate import upgrade
from shared.store.unit_of_work import Store


class Database:
    """PostgreSQL with its data in `directory`, migrated."""

    def __init__(self, directory: Path) -> None:
        self._server = EmbeddedPostgres(directory)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="postgres")

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the application's role."""
        return self._server.url

    async def start(self) -> None:
        """Returns when it takes connections and has the present schema. Raises RuntimeError, ConfigurationError."""

        def work() -> None:
            self._server.start()
            upgrade(self._server.owner_url)

        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def restart(self) -> None:
        """Starts a server that is gone again; `url` changes. Raises as `start` does."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._server.stop)
        await self.start()

    async def register_cluster(self, name: str) -> None:
        """Lets workloads be placed on the cluster of this name. Raises StoreUnavailable.

        What is already known of such a cluster, its labels and GPUs, stays.
        """

        def work() -> None:
            engine = connect(self._server.owner_url, pool_size=1, max_overflow=0)
            try:
                with transient_errors(), engine.begin() as connection:
                    catalogue = CatalogueRows(connection)
                    if name not in {cluster.name for cluster in catalogue.clusters()}:
                        catalogue.register_cluster(Cluster(name))
            finally:
                engine.dispose()

        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def allow_all(self) -> bool:
        """Allows everything where nothing was ever bound. Whether all is allowed now. Raises StoreUnavailable."""

        def work() -> bool:
            engine = connect(self._server.owner_url, pool_size=1, max_overflow=0)
            try:
                with Store(engine).begin() as unit:
                    return allow_all(unit, SYSTEM).allows_everything
            finally:
                engine.dispose()

        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def prepare_identity(self, state: Path) -> None:
        """See `first_start.prepare`."""

        def work() -> None:
            engine = connect(self._server.owner_url, pool_size=1, max_overflow=0)
            try:
                first_start.prepare(Store(engine), state)
            finally:
                engine.dispose()

        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def exited(self, poll_seconds: float = 0.5) -> None:
        """Returns when the server is gone without having been stopped."""
        while not self._server.exited():
            await asyncio.sleep(poll_seconds)

    async def stop(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._server.stop)
        self._thread.shutdown()
