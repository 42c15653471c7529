"""`python -m tests.bench.null`: a function that commits as often as its counterpart and answers the next hop's event.

The peer of the chain: the same framework, server, driver, process model and commits as a function of Sentinel, a row
each, and nothing else. Which hop it is, it finds in BENCH_HOP.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import functions_framework.aio
import sqlalchemy as sa
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from shared.processes import follow_parent
from shared.store.database import connect

COMMITS = (2, 2, 3, 3)
"""By hop: the attempt and the transaction; where a cluster is touched, a transaction before and one after."""

HOPS = len(COMMITS)
TABLE = "bench_hops"
DEFINITION = f"CREATE TABLE {TABLE} (hop int, workload text, at timestamptz DEFAULT clock_timestamp())"
_LISTEN_FD = 3
_THREADS = 4
_executor = ThreadPoolExecutor(_THREADS)


def kind(hop: int) -> str:
    """The type of the event that hop `hop` takes, from 1."""
    return f"bench.hop.{hop}"


@functions_framework.aio.http
async def handle(request: Request) -> Response:
    """202 at the last hop, and at the others the next one's event."""
    body = await request.body()
    workload, hop = request.headers["ce-subject"], int(os.environ["BENCH_HOP"])
    await asyncio.get_running_loop().run_in_executor(_executor, _committer(), hop, workload)
    if hop == HOPS:
        return Response(status_code=202)
    told = {"id": workload, "source": f"/null/{hop}", "type": kind(hop + 1), "specversion": "1.0"}
    told |= {"subject": workload, "partitionkey": workload}
    headers = {"content-type": "application/json", **{f"ce-{name}": value for name, value in told.items()}}
    return Response(body, headers=headers)


@functools.cache
def _committer() -> Callable[[int, str], None]:
    engine = connect(os.environ["DATABASE_URL"], pool_size=_THREADS, max_overflow=0)
    insert = sa.text(f"INSERT INTO {TABLE} (hop, workload) VALUES (:hop, :workload)")

    def commit(hop: int, workload: str) -> None:
        for _ in range(COMMITS[hop - 1]):
            with engine.begin() as connection:
                connection.execute(insert, {"hop": hop, "workload": workload})

    return commit


def main() -> None:
    """Serves on the inherited socket."""
    follow_parent()
    app = functions_framework.aio.create_asgi_app("handle", __file__, "http")  # type: ignore[no-untyped-call]
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=_LISTEN_FD)])


if __name__ == "__main__":
    main()
