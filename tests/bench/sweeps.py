"""A sweep of a cluster with many objects: what it takes to compare all of them, and how much memory.

The function health-verification is given ticks and its own continuations, as the broker would deliver them. The driver
is the one of production. Its API server is one page of JSON at a time, made in this process.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from rich.table import Table

from events import CATALOGUE
from events.continuation import SweepContinued
from functions.health_verification import function as health_verification
from functions.health_verification.handler import perform
from shared.clusters.answers import ApiAnswer
from shared.clusters.driver import ClusterDriver
from shared.clusters.kubernetes import KubernetesDriver
from shared.rollout.owned_fields import owned_digest
from shared.settings import DEFAULT_IMAGE_PULL_GRACE
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.bench import fleet
from tests.support.builders import Deliver
from tests.support.chain import TICK

CONTINUED = CATALOGUE.name_of(SweepContinued)
LIMITS = "<= 300 s"
EVERY = 1000
"""One object in so many is missing, one is changed, and one belongs to nobody."""

# What the sweep finds is not looked at more closely here.
_SET_DIGESTS = """
    UPDATE deployments SET object_digest = given.digest, observed_at = now() + interval '1 day'
      FROM unnest(CAST(:ids AS uuid[]), CAST(:digests AS text[])) AS given (id, digest) WHERE deployments.id = given.id
"""
_INSTANCES = re.compile(r" in \((.*)\)")
_FOUND = "SELECT count(*) FROM deployments WHERE suspected_at IS NOT NULL"


@dataclass(frozen=True)
class Sweeps:
    """sweep: `result` counts the suspects and the orphans."""

    objects: int
    sweep: fleet.Used


def measure(said: Callable[[str], None], objects: int = fleet.WORKLOADS) -> Sweeps:
    """Sweeps a cluster once."""
    said(f"sweep of {objects:,} objects")
    with fleet.database(objects) as url:
        _write_digests(url, objects)
        sweep = fleet.used(run, url, objects)
    expected = [2 * (objects // EVERY), objects // EVERY]
    if sweep.result != expected:
        raise AssertionError(f"found {sweep.result} suspects and orphans, not {expected}")
    return Sweeps(objects, sweep)


def run(url: str, objects: int) -> list[int]:
    """How many revisions are suspected, and how many orphans there are, after one sweep."""
    engine = connect(url, pool_size=1, max_overflow=0)
    store = Store(engine)
    function = health_verification.build(
        partial(perform, ListedCluster(ApiLists(*first_workload(engine), objects))), pull_grace=DEFAULT_IMAGE_PULL_GRACE
    )
    deliver = Deliver(store)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE sweeps SET next_page_at = now()"))
        connection.execute(sa.text("UPDATE clusters SET products_read_at = now()"))
    while True:
        deliver(function, TICK, {}, subject=None)
        try:
            answer = deliver.published(CONTINUED)
        except StopIteration:
            break
        while answer.status == 200:
            answer = deliver.forward(function, answer)
    with engine.begin() as connection:
        found = [connection.execute(sa.text(sql)).scalar_one() for sql in (_FOUND, "SELECT count(*) FROM orphans")]
    store.close()
    return found


def table(found: Sweeps) -> Table:
    """The figures as people read them."""
    table = Table(title=f"A sweep of a cluster with {found.objects:,} objects", title_justify="left")
    for column in ("", "s", "objects a second", "MiB", "promised"):
        table.add_column(column, justify="left" if not column else "right")
    seconds = found.sweep.seconds
    table.add_row(
        "compared", f"{seconds:.0f}", f"{found.objects / seconds:,.0f}", f"{found.sweep.mebibytes:.0f}", LIMITS
    )
    return table


def first_workload(engine: sa.Engine) -> tuple[uuid.UUID, uuid.UUID, dict[str, Any]]:
    """The ids of the first workload and its plan, and the manifest that all others are copies of."""
    first = sa.text("SELECT workload_id, plan_id, manifest FROM deployments WHERE name = 'web'")
    with engine.begin() as connection:
        row = connection.execute(first).one()
    return row.workload_id, row.plan_id, row.manifest


def _write_digests(url: str, objects: int) -> None:
    engine = connect(url)
    lists = ApiLists(*first_workload(engine), objects)
    page = sa.text("SELECT id, name, manifest FROM deployments WHERE id > :after ORDER BY id LIMIT 5000")
    after = uuid.UUID(int=0)
    with engine.begin() as connection:
        while rows := connection.execute(page, {"after": after}).all():
            digests = [owned_digest(row.manifest, lists.live(row.name)) for row in rows]
            connection.execute(sa.text(_SET_DIGESTS), {"ids": [row.id for row in rows], "digests": digests})
            after = rows[-1].id
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text("VACUUM ANALYZE deployments"))
    engine.dispose()


class ApiLists:
    """The lists of an API server, as a transport gets them: of everything, and of some workloads as they should be."""

    cluster = "local"

    def __init__(self, workload: uuid.UUID, plan: uuid.UUID, manifest: dict[str, Any], objects: int) -> None:
        self._workload, self._plan = workload, plan
        self._text = json.dumps(_as_served(manifest))
        self._names = sorted(["web", *(f"web-{number}" for number in range(2, objects + 1))])
        self._named = {self._id(name): name for name in self._names}

    def within(self, seconds: float, allowed: Callable[[], bool] | None = None) -> ApiLists:
        return self

    def get(self, path: str, **query: str) -> ApiAnswer:
        if not path.endswith("/deployments"):
            return ApiAnswer.of(path, 200, b'{"items": []}')
        if (asked := _INSTANCES.search(query.get("labelSelector", ""))) is not None:
            listed = ",".join(self._object(self._named[each]) for each in asked[1].split(","))
            return ApiAnswer.of(path, 200, f'{{"metadata": {{}}, "items": [{listed}]}}'.encode())
        start, size = int(query.get("continue", "0")), int(query["limit"])
        end = start + size
        token = str(end) if end < len(self._names) else ""
        items = ",".join(item for at in range(start, min(end, len(self._names))) for item in self._items(at))
        return ApiAnswer.of(path, 200, f'{{"metadata": {{"continue": "{token}"}}, "items": [{items}]}}'.encode())

    def live(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._object(name))
        return found

    def _items(self, at: int) -> Iterator[str]:
        match at % EVERY:
            case 100:  # missing
                return
            case 200:
                yield self._object(self._names[at])
                yield self._object(self._names[at]).replace(f'"name": "{self._names[at]}"', f'"name": "stray-{at}"')
            case 300:
                yield self._object(self._names[at]).replace('"image": "', '"image": "changed/')
            case _:
                yield self._object(self._names[at])

    def _id(self, name: str) -> str:
        return str(self._workload) if name == "web" else _copied(self._workload, name.removeprefix("web-"))

    def _object(self, name: str) -> str:
        if name == "web":
            return self._text
        number = name.removeprefix("web-")
        copied = {str(one): _copied(one, number) for one in (self._workload, self._plan)}
        text = self._text.replace('"web"', f'"{name}"')
        for old, new in copied.items():
            text = text.replace(old, new)
        return text


def _copied(value: uuid.UUID, number: str) -> str:
    """As the copies in the database got their ids."""
    return str(uuid.UUID(hashlib.md5(f"{value}{number}".encode()).hexdigest()))


def _as_served(manifest: dict[str, Any]) -> dict[str, Any]:
    """What an API server makes of it: a status, and a few kilobytes that nobody of Sentinel reads."""
    replicas = manifest["spec"]["replicas"]
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
    managed = [
        {"manager": "sentinel", "operation": "Apply", "fieldsV1": {"f:spec": {f"f:{n}": {} for n in range(120)}}}
    ]
    meta = {**manifest["metadata"], "uid": str(uuid.uuid4()), "generation": 1, "managedFields": managed}
    return {"metadata": meta, "spec": manifest["spec"], "status": {"observedGeneration": 1, **counts}}


class ListedCluster:
    def __init__(self, lists: ApiLists) -> None:
        self._driver: ClusterDriver = KubernetesDriver(lists)  # type: ignore[arg-type]  # as much of one as a sweep asks

    def driver(self, name: str) -> ClusterDriver:
        return self._driver
