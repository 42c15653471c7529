"""A laptop platform as users run it: a process of its own, on a state directory that outlives it."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import sqlalchemy as sa

from events import CATALOGUE
from events.workload import WorkloadSubmitted, WorkloadWithdrawn
from shared.clusters.directory import ClusterDirectory
from shared.clusters.kubeconfig import read_connection
from shared.clusters.transport import Transport
from shared.models.lifecycle import Phase
from shared.models.stored import Workload
from shared.models.workload import workload_id
from shared.store.database import connect
from shared.store.tables import inbox
from shared.store.unit_of_work import Store, UnitOfWork
from tests.support.processes import unmeasured

T = TypeVar("T")

SUBMITTED = CATALOGUE.name_of(WorkloadSubmitted)
WITHDRAWN = CATALOGUE.name_of(WorkloadWithdrawn)
PATIENCE_SECONDS = 60.0
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RunningPlatform:
    """`python -m knative.local` on one state directory; it may be started again after it was stopped or killed.

    options: of its command line, beside the state directory.
    """

    def __init__(self, state: Path, options: Sequence[str] = ("--port", "0")) -> None:
        self.state = state
        self._options = options
        self.cluster = ClusterDirectory(state / "clusters", loopback=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._engine: sa.Engine | None = None
        self.store: Store
        self.port = 0
        self.database_url = ""

    def start(self) -> None:
        """Returns when it takes events."""
        published = self.state / "platform.json"
        published.unlink(missing_ok=True)
        with (self.state.parent / f"{self.state.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "knative.local", "--state", str(self.state), *self._options],
                stdout=log,
                stderr=log,
                env=unmeasured(LOG_LEVEL="info"),
                start_new_session=True,
            )
        eventually(lambda: published.exists() or self._process_is_gone(), bool, _START_SECONDS)
        assert published.exists(), self.log()[-4000:]
        self.connect()

    def connect(self) -> None:
        """Reads where the platform is: its database has another address after it was started again."""
        found = json.loads((self.state / "platform.json").read_text())
        self.port = found["port"]
        if self._engine is not None:
            self._engine.dispose()
        self.database_url = found["database_url"]
        self._engine = connect(self.database_url, pool_size=4)
        self.store = Store(self._engine)

    def stop(self) -> None:
        """As Ctrl-C would."""
        process = self._process
        self._forget()
        if process is not None:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=_START_SECONDS)

    def kill(self) -> None:
        """SIGKILL to every process of the platform, children of children included.

        The platform itself is stopped first, so that it starts nothing again, and dies last, so that its death
        lets nobody shut down in order.
        """
        assert self._process is not None
        root = psutil.Process(self.pid)
        root.suspend()
        children = root.children(recursive=True)
        for process in (*children, root):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        _, alive = psutil.wait_procs(children, timeout=_START_SECONDS)
        assert not alive
        self._forget()

    @property
    def pid(self) -> int:
        """Of the platform's own process, the parent of all others."""
        assert self._process is not None, "start() comes first"
        return self._process.pid

    def log(self) -> str:
        """What it printed, over all starts."""
        return (self.state.parent / f"{self.state.name}.log").read_text(errors="replace")

    @property
    def engine(self) -> sa.Engine:
        assert self._engine is not None, "start() comes first"
        return self._engine

    def _process_is_gone(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _forget(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        self._process = self._engine = None

    def post(
        self, headers: Mapping[str, str], body: bytes, *, path: str = "/sentinel/default", host: str | None = None
    ) -> Answer:
        """A raw POST to the broker, or with `host` ("workload-intake.sentinel.localhost") to a function."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("POST", path, body, {**({"host": host} if host else {}), **headers})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def publish(self, kind: str, data: object, **attributes: str) -> str:
        """Posts an event to the broker, which must take it. Returns its id."""
        headers = binary(kind, **attributes)
        answer = self.post(headers, data if isinstance(data, bytes) else json.dumps(data).encode())
        assert answer.status == 202, answer
        return headers["ce-id"]

    def submit(self, name: str, **more: Any) -> uuid.UUID:
        """Submits a workload. Returns its id."""
        document = workload(name, **more)
        self.publish(SUBMITTED, document)
        return workload_id(document["team"], document["namespace"], name)

    def withdraw(self, name: str, team: str = "flows", namespace: str = "flows", **more: Any) -> None:
        self.publish(WITHDRAWN, {"name": name, "team": team, "namespace": namespace, **more})

    def reaches(self, workload: uuid.UUID, phase: Phase) -> Workload:
        """Waits for a phase."""
        found = eventually(lambda: self.find(workload), lambda w: w is not None and w.phase is phase)
        assert found is not None
        return found

    def find(self, workload: uuid.UUID) -> Workload | None:
        return self.read(lambda work: work.workloads.get(workload))

    def read(self, ask: Callable[[UnitOfWork], T]) -> T:
        """Asks the store, in a transaction of its own."""
        with self.store.begin() as work:
            return ask(work)

    def replies(self, subject: str) -> dict[str, dict[str, Any]]:
        """The data of the events that functions answered about a subject, by short type ("plan.denied")."""
        query = sa.select(inbox.c.reply_attributes, inbox.c.reply_body).where(
            inbox.c.reply_attributes["subject"].as_string() == subject
        )
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        return {short(row.reply_attributes["type"]): json.loads(row.reply_body) for row in rows}

    def objects(self, path: str, cluster: str = "local") -> list[dict[str, Any]]:
        """What a list of the Kubernetes API holds: `/apis/apps/v1/namespaces/flows/deployments`."""
        connection = read_connection(self.state / "clusters" / cluster)
        answer = Transport(cluster, connection, loopback=True).get(path)
        assert answer.ok, answer
        assert answer.body is not None
        found: list[dict[str, Any]] = answer.body.get("items") or []
        return found


def workload(name: str, **more: Any) -> dict[str, Any]:
    """A workload document that becomes healthy at once, unless `more` says otherwise."""
    defaults = {"type": "inference", "image": "fate.test/ready", "team": "flows", "namespace": "flows", "bake": "PT0S"}
    return {"name": name, **defaults, **more}


def binary(kind: str, **attributes: str) -> dict[str, str]:
    """Headers of an event in binary mode, with an id of its own unless one is given."""
    told = {"id": str(uuid.uuid4()), "source": "/flows", "type": kind, "specversion": "1.0", **attributes}
    return {"content-type": "application/json", **{f"ce-{name}": value for name, value in told.items()}}


def short(kind: str) -> str:
    return kind.removeprefix("dev.sentinel.").removesuffix(".v1")


def eventually(read: Callable[[], T], good: Callable[[T], bool], seconds: float = PATIENCE_SECONDS) -> T:
    """The first value that is good. Fails with the last one when none was within `seconds`."""
    deadline = time.monotonic() + seconds
    while not good(value := read()):
        assert time.monotonic() < deadline, f"after {seconds:g} s still {value!r}"
        time.sleep(0.05)
    return value


@contextlib.contextmanager
def running(state: Path) -> Iterator[RunningPlatform]:
    """A started platform, stopped at the end."""
    platform = RunningPlatform(state)
    platform.start()
    try:
        yield platform
    finally:
        platform.stop()
