"""The API beside bare FastAPI routes that run the same operations on the same database, alternating.

The peer knows no identity, no permission, no problem document and no strict reading: what these cost is the ratio. Each
is a uvicorn process of its own. One client asks one request after the other for the latencies, and four at once for the
throughput.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import socket
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from functions.api.metrics import MetricsPage
from functions.api.session import Services
from shared.identity import keys
from shared.identity.keys import KeyDirectory
from shared.identity.tokens import Tokens
from shared.models.account import AccountKind
from shared.models.identity import Role, RoleBinding
from shared.models.page import PageRequest
from shared.models.stored import WorkloadFilter
from shared.models.workload import WorkloadSpec
from shared.operations import edit, workloads
from shared.operations.bindings import BindingCache
from shared.operations.identity import accounts
from shared.operations.identity.authenticate import authenticate
from shared.operations.submit import SubmitWorkload
from shared.operations.workloads import WorkloadReference
from shared.settings import DEFAULT_METRICS_INTERVAL
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.bench import fleet
from tests.support.builders import TESTS, id_of, submission

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import SpawnProcess

    from fastapi import FastAPI

LIMIT = "<= 2"
STORED = 1000
ROUNDS, REQUESTS, AT_ONCE = 5, 50, 4
_WARM_UP = 5
_POOL = 4
_KEEP_ALIVE = 600  # seconds: callers are asked in turns, and a connection may wait for long
ISSUER = "sentinel"


@dataclass(frozen=True)
class Kind:
    """One kind of request on one of both: seconds at p50 and p99, one after the other, and requests a second."""

    p50: float
    p99: float
    per_second: float


Found = dict[str, dict[str, Kind]]
"""By kind of request ("list", "read", "create"), then "api" and "bare"."""


def measure(said: Callable[[str], None]) -> Found:
    """Runs both in turns; the median of the rounds counts."""
    with ExitStack() as stack:
        url = stack.enter_context(fleet.database(STORED))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sentinel-bench-")))
        keys.init(directory)
        admin = token(url, directory)
        ports = {name: stack.enter_context(served(name, url, directory)) for name in ("api", "bare")}
        found: Found = {}
        for kind in ("list", "read", "create"):
            rounds: dict[str, list[Kind]] = {name: [] for name in ports}
            for number in range(ROUNDS):
                said(f"REST {kind}, round {number + 1} of {ROUNDS}")
                for name, port in ports.items():
                    rounds[name].append(_round(kind, port, admin))
            found[kind] = {name: _median(kinds) for name, kinds in rounds.items()}
        return found


def table(found: Found) -> Table:
    """The medians as people read them."""
    title = f"REST beside bare FastAPI routes ({STORED} workloads stored, median of {ROUNDS} rounds, alternating)"
    shown = Table(title=title, title_justify="left")
    for column in ("request", "api p50 ms", "bare", "ratio", "api p99 ms", "bare", "api /s", "bare", "promised"):
        shown.add_column(column, justify="left" if column == "request" else "right")
    for kind, both in found.items():
        ours, theirs = both["api"], both["bare"]
        shown.add_row(
            kind,
            f"{ours.p50 * 1000:.1f}",
            f"{theirs.p50 * 1000:.1f}",
            f"{ours.p50 / theirs.p50:.2f}",
            f"{ours.p99 * 1000:.1f}",
            f"{theirs.p99 * 1000:.1f}",
            f"{ours.per_second:.0f}",
            f"{theirs.per_second:.0f}",
            LIMIT,
        )
    return shown


def bare(store: Store) -> FastAPI:
    """The peer: three routes, written as FastAPI's tutorial does."""
    from fastapi import FastAPI

    app, bindings = FastAPI(), BindingCache()

    @app.get("/api/v1/workloads")
    def list_them(limit: int = 100) -> Any:
        with store.read() as work:
            found = workloads.list_workloads(work, WorkloadFilter(), PageRequest(limit, "name"))
        return {"items": [one.as_json() for one in found.items]}

    @app.get("/api/v1/workloads/{workload_id}")
    def read(workload_id: uuid.UUID) -> Any:
        with store.read() as work:
            return workloads.get(work, WorkloadReference(str(workload_id))).as_json(spec=True)

    @app.post("/api/v1/workloads", status_code=202)
    def create(spec: WorkloadSpec) -> Any:
        with store.begin() as work:
            edit.create(work, SubmitWorkload(spec, str(uuid.uuid4())), TESTS, bindings.current(work))
            return workloads.get(work, WorkloadReference(str(spec.id))).as_json(spec=True)

    return app


def token(url: str, directory: Path, team: str | None = None) -> str:
    """A token of a service account that may do everything, or may read what is a team's."""
    store = Store(connect(url, pool_size=1))
    role = RoleBinding(Role.ADMIN) if team is None else RoleBinding(Role.VIEWER, team)
    with store.begin() as work:
        robot = accounts.create(work, AccountKind.SERVICE_ACCOUNT, f"bench-{role.role}", None, TESTS)
        accounts.bind(work, robot, role, TESTS)
        made = accounts.create_token(work, robot, timedelta(days=1), "", TESTS)
        now = work.now
    store.close()
    return Tokens(ISSUER, KeyDirectory(directory).current).sign(robot.id, now, made.expires_at, token=made.id)


@contextmanager
def served(
    name: str, url: str, directory: Path, metrics_interval: timedelta = DEFAULT_METRICS_INTERVAL
) -> Iterator[int]:
    """One of both as a process; its port. metrics_interval: of the api alone."""
    context = multiprocessing.get_context("spawn")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as functions.serve does
    process: SpawnProcess = context.Process(
        target=_serve, args=(name, url, directory, listener, metrics_interval), daemon=True
    )
    process.start()
    port = listener.getsockname()[1]
    listener.close()
    try:
        yield port
    finally:
        process.terminate()
        process.join()


def _serve(name: str, url: str, directory: Path, listener: socket.socket, metrics_interval: timedelta) -> None:
    import uvicorn

    from functions.api.app import build

    store = Store(connect(url, pool_size=_POOL, max_overflow=0))
    if name == "api":
        tokens = Tokens(ISSUER, KeyDirectory(directory).current)
        page = MetricsPage(metrics_interval)
        app = build(Services(store, partial(authenticate, tokens=tokens), threads=_POOL, metrics=page))
    else:
        app = bare(store)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", limit_concurrency=None, timeout_keep_alive=_KEEP_ALIVE
    )
    uvicorn.Server(config).run(sockets=[listener])


def _round(kind: str, port: int, token: str) -> Kind:
    ask = _asker(kind, port, token)
    for _ in range(_WARM_UP):
        ask()
    seconds = sorted(ask() for _ in range(REQUESTS))
    threads = [threading.Thread(target=_many, args=(kind, port, token)) for _ in range(AT_ONCE)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    return Kind(seconds[len(seconds) // 2], seconds[len(seconds) * 99 // 100], REQUESTS * AT_ONCE / elapsed)


def _many(kind: str, port: int, token: str) -> None:
    ask = _asker(kind, port, token)
    for _ in range(REQUESTS):
        ask()


def _asker(kind: str, port: int, token: str) -> Callable[[], float]:
    """Asks once, on a connection that is kept, and returns the seconds that it took."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def ask() -> float:
        method, path, body = _request(kind)
        started = time.perf_counter()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        seconds = time.perf_counter() - started
        if answer.status >= 300:
            raise AssertionError(f"{method} {path} was answered {answer.status}")
        return seconds

    return ask


def _request(kind: str) -> tuple[str, str, bytes | None]:
    match kind:
        case "list":
            return "GET", "/api/v1/workloads?limit=100", None
        case "read":
            return "GET", f"/api/v1/workloads/{id_of('web')}", None
    return "POST", "/api/v1/workloads", json.dumps(submission(f"w-{uuid.uuid4().hex[:20]}")).encode()


def _median(kinds: list[Kind]) -> Kind:
    return Kind(*(statistics.median(getattr(one, name) for one in kinds) for name in ("p50", "p99", "per_second")))
