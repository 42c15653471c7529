"""Builds a function from its parts: the only place where adapters meet handlers.

Nothing is connected at import: the engine opens its first connection with the first event.
"""

from datetime import timedelta
from typing import Any

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from events import CATALOGUE
from shared.eventing.endpoint import Target, endpoint
from shared.eventing.function import ClusterFunction, TransactionalFunction
from shared.eventing.processing import Processor
from shared.observability import configure_logging
from shared.settings import FunctionSettings
from shared.store.database import connect
from shared.store.unit_of_work import Store

LOCK_TIMEOUT = timedelta(seconds=10)
"""A function that hangs in a transaction must not hang the others: they answer 503, and are asked again."""


def open_store(settings: FunctionSettings) -> Store:
    """The store of a function: no overflow, so that pools times replicas stay below max_connections."""
    return Store(
        connect(settings.database_url, pool_size=settings.pool_size, max_overflow=0, lock_timeout=LOCK_TIMEOUT)
    )


def function_target(
    function: TransactionalFunction[Any] | ClusterFunction[Any, Any, Any], settings: FunctionSettings
) -> Target:
    """The functions-framework target of a function that handles events from the catalogue."""
    processor = Processor(function, open_store(settings), CATALOGUE, f"/sentinel/{function.name}")
    return as_target(endpoint(processor.process, threads=settings.pool_size))


def as_target(respond: Target) -> Target:
    """Registers an endpoint with functions-framework under the name `handle`, with the http signature."""
    configure_logging()

    async def handle(request: Request) -> Response:
        return await respond(request)

    functions_framework.aio.http(handle)  # registers the name; the target stays our own coroutine
    return handle
