"""What tests of the queue do and look at: submissions that wait, cues, releases, a cluster that takes everything."""

import uuid
from typing import Any

from events import CATALOGUE
from events.plan import PlanApproved, PlanDenied, PlanQueued, PlanReconsidered
from events.policy import PolicyChanged, QueueContinued, ReservationReleased
from shared.eventing import codec
from shared.eventing.event import Envelope, WireEvent
from shared.eventing.processing import HttpAnswer
from shared.models.deployment import Deployment
from shared.models.lifecycle import Phase, RevisionStatus
from shared.models.plan import ActionPlan
from shared.models.reservation import Reservation
from shared.models.stored import Workload
from shared.operations.apply import ClusterTask, TaskDone, TaskOutcome
from shared.operations.observe import ObservationTask, Observed
from shared.policy.documents import PolicyDocument
from shared.rollout.observation import Observation
from shared.store.tables import action_plans, outbox
from shared.store.unit_of_work import Store
from tests.support.builders import POLICY, Deliver, connection_of, id_of, told
from tests.support.functions import ChainFunctions

TICK = "dev.knative.sources.ping"
RECONSIDERED = CATALOGUE.name_of(PlanReconsidered)
RELEASED = CATALOGUE.name_of(ReservationReleased)
CHANGED = CATALOGUE.name_of(PolicyChanged)
CONTINUED = CATALOGUE.name_of(QueueContinued)
CUES: dict[str, dict[str, Any]] = {
    TICK: {},
    RELEASED: {"workload": str(uuid.UUID(int=1))},
    CHANGED: {"name": "limit", "version": 2, "change": "replaced", "author": "ada"},
}
ROOM = 8


def policy(store: Store, *rules: dict[str, Any], name: str = "limit", **fields: Any) -> None:
    with store.begin() as work:
        work.policies.put(PolicyDocument.model_validate({"name": name, "rules": rules, **fields}), "tests")


def gpus(count: int, scope: str = "team") -> dict[str, Any]:
    return {"type": "quota", "scope": scope, "gpus": count}


def submit(deliver: Deliver, name: str, size: int, **fields: Any) -> HttpAnswer:
    """Policy's answer to a workload that takes `size` GPUs, and waits when they are not there."""
    return deliver.decide(name, replicas=size, **{"queue": True, "bake": "PT0S", **fields})


def approved(answer: HttpAnswer) -> uuid.UUID:
    """The plan that was approved."""
    event = told(answer)
    assert event.type == CATALOGUE.name_of(PlanApproved), event.data
    return PlanApproved.model_validate(event.data).plan


def queued(answer: HttpAnswer) -> PlanQueued:
    event = told(answer)
    assert event.type == CATALOGUE.name_of(PlanQueued), event.data
    return PlanQueued.model_validate(event.data)


def denied(answer: HttpAnswer) -> PlanDenied:
    event = told(answer)
    assert event.type == CATALOGUE.name_of(PlanDenied), event.data
    return PlanDenied.model_validate(event.data)


def workload(store: Store, name: str, team: str = "search") -> Workload:
    with store.begin() as work:
        found = work.workloads.get(id_of(name, team))
    assert found is not None
    return found


def plan(store: Store, plan_id: uuid.UUID) -> ActionPlan:
    with store.begin() as work:
        found = work.plans.get(plan_id)
    assert found is not None
    return found


def newest(store: Store, name: str) -> ActionPlan:
    return plan(store, workload(store, name).plan_id)


def names_in_queue(store: Store) -> list[str]:
    with store.begin() as work:
        waiting = work.queue.first(1000)
        known = work.workloads.get_many({one.workload_id for one in waiting})
    return [known[one.workload_id].spec.name for one in waiting]


def overtake(store: Store, plan_id: uuid.UUID, times: int = 1) -> None:
    """Makes a plan look as if others had been let past it."""
    mine = action_plans.c.id == plan_id
    with store.begin() as work:
        changed = action_plans.update().where(mine).values(overtaken=action_plans.c.overtaken + times)
        connection_of(work).execute(changed)


def free(store: Store, name: str, team: str = "search") -> None:
    """Releases what a workload holds, as verification does once its pods are gone."""
    known = workload(store, name, team)
    with store.begin() as work:
        nothing = Reservation(known.id, known.cluster, known.spec.team, {})
        work.ledger.settle([(nothing, known.plan_id)])


def runs(store: Store, name: str) -> None:
    """Makes the approved plan of a workload look executed and verified, as its first revision."""
    known, done = workload(store, name), newest(store, name)
    deliver = Deliver(store)
    announced = PlanApproved.of(done)
    applied = deliver(SUCCEEDING.execution, CATALOGUE.name_of(PlanApproved), announced)
    deliver.forward(SUCCEEDING.verification, applied)
    assert workload(store, name).phase is Phase.HEALTHY, known


def cue(deliver: Deliver, type_name: str = TICK, **data: Any) -> list[uuid.UUID]:
    """Has the queue looked through. The workloads whose plans are reconsidered, as is done here at once."""
    answer = deliver(POLICY, type_name, data or CUES[type_name])
    found: list[uuid.UUID] = []
    for event in reconsidered(deliver.store, answer):
        assert isinstance(event.data, dict)
        found.append(uuid.UUID(str(event.data["workload"])))
        deliver(POLICY, RECONSIDERED, event.data)
    return found


def reconsidered(store: Store, answer: HttpAnswer) -> list[Envelope]:
    """What a cue answered and what it left in the outbox, which is emptied."""
    events = [told(answer)] if answer.status == 200 else []
    return [event for event in [*events, *left_in_outbox(store, RECONSIDERED)] if event.type == RECONSIDERED]


def left_in_outbox(store: Store, type_name: str) -> list[Envelope]:
    """The events of one type in the outbox, in the order in which they were sent. The outbox is emptied."""
    with store.begin() as work:
        left = connection_of(work).execute(outbox.delete().returning(*outbox.c)).all()
    in_order = sorted(left, key=lambda row: (row.created_at, row.id))  # a DELETE returns rows in no order
    events = [codec.decode(*codec.encode(WireEvent(row.attributes, bytes(row.body)))) for row in in_order]
    return [event for event in events if event.type == type_name]


# A cluster on which everything succeeds at once ----------------------------------------------------------------------


def _succeeds(task: ClusterTask) -> TaskOutcome:
    return TaskDone("uid" if task.apply else None)


def _as_applied(deployment: Deployment) -> Observation:
    if deployment.status is RevisionStatus.REMOVING:
        return Observation(None)
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    replicas = deployment.manifest["spec"]["replicas"]
    return Observation({**deployment.manifest, "status": dict.fromkeys(counts, replicas)})


def _observe(task: ObservationTask) -> Observed:
    return Observed({deployment.id: _as_applied(deployment) for deployment in task.revisions})


SUCCEEDING = ChainFunctions(_succeeds, _observe)
"""The chain on a cluster where everything succeeds at once."""
