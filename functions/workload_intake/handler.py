"""What intake does with a submission or a withdrawal.

A submission becomes a generation of its workload and a proposed plan, or a `workload.rejected` that
names every bad field; it never fails the caller's request, because the caller may long be gone. Posting a
workload again is a new generation. What plan a wish leads to is for shared.rollout.planning to say.
"""

import uuid
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from events import CATALOGUE
from events.plan import PlanProposed
from events.workload import BadField, WorkloadRejected, WorkloadSubmitted, WorkloadWithdrawn
from shared.errors import WishRefused
from shared.eventing.event import Event, Outgoing
from shared.eventing.processing import bad_fields
from shared.models.actor import Actor
from shared.models.amounts import NOTHING
from shared.models.lifecycle import Phase, PlanStatus
from shared.models.plan import ActionPlan, Decision, PlanSource, Verb, plan_id
from shared.models.workload import WorkloadSpec, workload_id
from shared.rollout.planning import next_generation, place, propose
from shared.rollout.pricing import Prices
from shared.store.unit_of_work import UnitOfWork

ACCEPTS = CATALOGUE.of(WorkloadSubmitted, WorkloadWithdrawn)

M = TypeVar("M", bound=BaseModel)


def handle(event: Event, work: UnitOfWork) -> Sequence[Outgoing]:
    """One plan.proposed, one workload.rejected, or nothing when the wish is known already."""
    data = event.data if isinstance(event.data, dict) else None
    try:
        if data is None:
            raise WishRefused("", "must be a JSON object")
        if event.type.endswith("submitted.v1"):
            return _submit(event, data, work)
        return _withdraw(event, data, work)
    except WishRefused as refused:
        return [_rejection(event, data or {}, refused, work)]


def _submit(event: Event, data: dict[str, JsonValue], work: UnitOfWork) -> Sequence[Outgoing]:
    spec = _parsed(WorkloadSpec, data)
    known = work.workloads.get(spec.id, lock=True)
    generation = next_generation(spec, known)
    if generation is None:
        return []
    clusters = work.catalogue.clusters()
    cluster = place(spec, known, clusters, work.catalogue.reserved() if len(clusters) > 1 else {})
    prices = Prices.of(work.catalogue.prices_at(cluster.name))
    identity = plan_id(spec.id, f"{event.source}\n{event.id}")
    live = work.deployments.live(spec.id) if known else []
    held = work.ledger.reserved(spec.id, cluster.name) if live else {}
    proposal = propose(spec, known, cluster, prices, live=live, held=held, plan_id=identity, generation=generation)
    if known is None:
        work.workloads.add(proposal.workload)
    else:
        work.workloads.replace(proposal.workload)
    return [_propose(proposal.plan, Actor.event_source(event.source), work, image=spec.image)]


def _withdraw(event: Event, data: dict[str, JsonValue], work: UnitOfWork) -> Sequence[Outgoing]:
    wish = _parsed(WorkloadWithdrawn, data)
    known = work.workloads.get(workload_id(wish.team, wish.namespace, wish.name), lock=True)
    if known is None:
        raise WishRefused("name", f"there is no workload {wish.team}/{wish.namespace}/{wish.name}")
    if known.withdrawn and known.phase is not Phase.FAILED:
        return []
    plan = ActionPlan(
        id=plan_id(known.id, f"{event.source}\n{event.id}"),
        workload_id=known.id,
        generation=known.generation,
        source=PlanSource.USER,
        decision=Decision(verb=Verb.REMOVE, cluster=known.cluster, replicas=0),
        sku="",
        amounts=NOTHING,
        surge=NOTHING,
        status=PlanStatus.PROPOSED,
    )
    work.workloads.take_plan(known, plan.id, withdrawn=True)
    return [_propose(plan, Actor.event_source(event.source), work)]


def _parsed(model: type[M], data: dict[str, JsonValue]) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first, *others = bad_fields(error)
        raise WishRefused(*first, *others) from None


def _propose(plan: ActionPlan, actor: Actor, work: UnitOfWork, **detail: JsonValue) -> Outgoing:
    work.plans.add(plan)
    usd = plan.amounts.usd_per_hour
    work.audit(
        "plan.proposed",
        str(plan.workload_id),
        actor,
        plan=str(plan.id),
        generation=plan.generation,
        verb=plan.decision.verb,
        cluster=plan.decision.cluster,
        replicas=plan.decision.replicas,
        usd_per_hour=str(usd),
        **detail,
    )
    return Outgoing(PlanProposed.of(plan, source=plan.source, usd_per_hour=usd), str(plan.workload_id))


def _rejection(event: Event, data: dict[str, JsonValue], refused: WishRefused, work: UnitOfWork) -> Outgoing:
    name, team, namespace = (data.get(key, "default") for key in ("name", "team", "namespace"))
    named = all(isinstance(part, str) for part in (name, team, namespace)) and "name" in data
    identity = workload_id(str(team), str(namespace), str(name)) if named else None
    subject = str(identity or event.subject or uuid.uuid5(uuid.NAMESPACE_URL, f"{event.source}\n{event.id}"))
    errors = tuple(BadField(field=field, message=message) for field, message in refused.errors)
    told: list[JsonValue] = [f"{e.field}: {e.message}"[:500] for e in errors[:50]]
    work.audit("workload.rejected", subject, Actor.event_source(event.source), errors=told)
    return Outgoing(
        WorkloadRejected(workload=identity, name=str(name)[:253] if named else "", errors=errors[:100]), subject
    )
