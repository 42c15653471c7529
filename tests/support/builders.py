"""Small builders that tests share: events as they arrive, workloads as users post them, deliveries.

A delivery goes through the real endpoint core (`Processor`) onto real PostgreSQL, so a handler is tested with the
decoding, validation, inbox and outbox that it has in production.
"""

import itertools
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel

from events import CATALOGUE
from functions.policy_evaluation import function as policy_evaluation
from functions.workload_intake import function as workload_intake
from shared.eventing import codec
from shared.eventing.event import Envelope
from shared.eventing.function import ClusterFunction, TransactionalFunction
from shared.eventing.processing import HttpAnswer, Processor
from shared.models.actor import Actor
from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import RevisionStatus
from shared.models.plan import ActionPlan
from shared.models.stored import Workload
from shared.models.workload import workload_id
from shared.rollout.manifests import manifest
from shared.store import outbox
from shared.store.tables import metadata
from shared.store.unit_of_work import Store, UnitOfWork

SUBMITTED = "dev.sentinel.workload.submitted.v1"
WITHDRAWN = "dev.sentinel.workload.withdrawn.v1"
REJECTED = "dev.sentinel.workload.rejected.v1"
PROPOSED = "dev.sentinel.plan.proposed.v1"
APPROVED = "dev.sentinel.plan.approved.v1"
DENIED = "dev.sentinel.plan.denied.v1"

TESTS = Actor.operator("tests")
"""Who does what tests do themselves."""

R = TypeVar("R")
Function = TransactionalFunction[UnitOfWork] | ClusterFunction[UnitOfWork, Any, Any]

INTAKE = workload_intake.build()
POLICY = policy_evaluation.build()

_ids = itertools.count(1)


def connection_of(work: UnitOfWork) -> sa.Connection:
    """The connection of a unit of work, for SQL of a test's own."""
    return work._connection


def set_columns(work: UnitOfWork, table: str, row_id: uuid.UUID, **values: object) -> None:
    """Writes columns of one row past the store's methods: a state that no handler would reach in a test."""
    found = metadata.tables[table]
    connection_of(work).execute(found.update().where(found.c.id == row_id).values(**values))


def submission(name: str = "test-inference", **fields: object) -> dict[str, Any]:
    """A workload as a user posts it: two replicas with one L4 each, $2.24 an hour. `fields` replace or add."""
    return {
        "name": name,
        "type": "inference",
        "image": "nginx:1.29",
        "team": "search",
        "namespace": "search",
        "replicas": 2,
        "resources": {"cpu": "4", "memory": "8Gi", "gpu": {"count": 1, "sku": "L4"}},
        **fields,
    }


def withdrawal(name: str = "test-inference", team: str = "search", namespace: str = "search") -> dict[str, str]:
    """A withdrawal of the workload that `submission` makes."""
    return {"name": name, "team": team, "namespace": namespace}


def id_of(name: str = "test-inference", team: str = "search", namespace: str = "search") -> uuid.UUID:
    """The id of the workload that `submission` makes."""
    return workload_id(team, namespace, name)


def gpu_fault(**fields: object) -> dict[str, Any]:
    """An application fault on a GPU of `gpu-0`, which moves nothing."""
    fault = {"fault": str(uuid.uuid4()), "cluster": "local", "node": "gpu-0", "gpu": "GPU-1", "kind": "xid"}
    return {**fault, "state": "raised", "blame": "pod", "xid": 13, "observedAt": "2026-01-01T00:00:00Z", **fields}


def request(
    type_name: str,
    data: object,
    *,
    event_id: str | None = None,
    source: str = "/test",
    subject: str | None = "test",
    reply: bool = True,
    **extensions: str,
) -> tuple[dict[str, str], bytes]:
    """Headers and body of a binary-mode delivery, as a broker makes it. Without `reply`, as curl makes it.

    data: a JSON value, a model, or the bytes themselves. event_id: a fresh one unless given.
    """
    headers = {
        "ce-specversion": "1.0",
        "ce-id": event_id or f"event-{next(_ids)}",
        "ce-source": source,
        "ce-type": type_name,
        "content-type": "application/json",
    }
    headers |= {f"ce-{name}": value for name, value in extensions.items()}
    if subject is not None:
        headers["ce-subject"] = subject
    if reply:
        headers["prefer"] = "reply"
    return headers, _bytes(data)


def envelope(type_name: str = SUBMITTED, data: object = None, **how: Any) -> Envelope:
    """A decoded event; `how` as in `request`."""
    return codec.decode(*request(type_name, submission() if data is None else data, **how))


def told(answer: HttpAnswer) -> Envelope:
    """The event that an answer carries."""
    return codec.decode(answer.headers, answer.body)


@dataclass(frozen=True)
class Deliver:
    """Delivers events to functions on one store."""

    store: Store

    def __call__(self, function: Function, type_name: str, data: object, **how: Any) -> HttpAnswer:
        """Builds an event and delivers it; `how` as in `request`."""
        return self.raw(function, *request(type_name, data, **how))

    def raw(self, function: Function, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Delivers exactly this request."""
        return Processor(function, self.store, CATALOGUE, f"/sentinel/{function.name}").process(dict(headers), body)

    def forward(self, function: Function, answer: HttpAnswer) -> HttpAnswer:
        """Delivers the event that an answer carries, as the broker does with a reply."""
        return self.raw(function, *self.forwarded(answer))

    @staticmethod
    def forwarded(answer: HttpAnswer) -> tuple[dict[str, str], bytes]:
        """The request in which the broker delivers the event that an answer carries."""
        return {**answer.headers, "prefer": "reply"}, answer.body

    def published(self, type_name: str) -> HttpAnswer:
        """The oldest event of this type that waits in the outbox, in an answer, as if it were a reply."""
        with self.store.begin() as work:
            pending = outbox.lock_pending(connection_of(work), 1000)
            first = next(one for one in pending if one.event.attributes["type"] == type_name)
            outbox.mark_published(connection_of(work), [first.id])
        headers, body = codec.encode(first.event)
        return HttpAnswer(200, headers, body, "published")

    def submit(self, name: str = "test-inference", **fields: object) -> HttpAnswer:
        """Posts a workload to intake; `fields` as in `submission`."""
        return self(INTAKE, SUBMITTED, submission(name, **fields), subject=None)

    def withdraw(self, name: str = "test-inference", **fields: object) -> HttpAnswer:
        """Withdraws the workload that `submit` posts."""
        return self(INTAKE, WITHDRAWN, {**withdrawal(name), **fields}, subject=None)

    def decide(self, name: str = "test-inference", **fields: object) -> HttpAnswer:
        """Posts a workload and lets policy judge its plan: plan.approved or plan.denied."""
        return self.forward(POLICY, self.submit(name, **fields))


def _bytes(data: object) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, BaseModel):
        return data.model_dump_json(by_alias=True).encode()
    return json.dumps(data).encode()


def revision_of(workload: Workload, plan: ActionPlan, status: RevisionStatus = RevisionStatus.HEALTHY) -> Deployment:
    """The next revision of a workload, as execution makes it of a plan."""
    number = workload.revision + 1
    spec = workload.spec.with_most_replicas(plan.decision.replicas)
    document = manifest(spec, workload_id=workload.id, plan_id=plan.id, revision=number, generation=workload.generation)
    return Deployment(
        id=uuid.uuid4(),
        workload_id=workload.id,
        revision=number,
        generation=workload.generation,
        plan_id=plan.id,
        cluster=plan.decision.cluster,
        reference=ObjectReference(document["kind"], document["metadata"]["namespace"], document["metadata"]["name"]),
        manifest=document,
        status=status,
        sku=plan.sku,
        amounts=plan.amounts,
    )


def rows(engine: sa.Engine, table: str) -> list[dict[str, Any]]:
    """Every row of a table, as its owner sees it."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()]


def in_parallel(*jobs: Callable[[], R]) -> list[R]:
    """Runs jobs in threads that all start at once; their results, in the order of the jobs."""
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], R]) -> R:
        barrier.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as executor:
        return list(executor.map(run, jobs))
