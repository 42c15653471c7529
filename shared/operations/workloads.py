"""Workloads: list them, find the one that a user names, and show the queue."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import AmbiguousName, NotFound
from shared.models.lifecycle import Phase
from shared.models.moments import rfc3339
from shared.models.page import Page
from shared.models.stored import WorkloadFilter

if TYPE_CHECKING:
    from pydantic import JsonValue

    from shared.models.deployment import RecordedRevision
    from shared.models.page import PageRequest
    from shared.models.plan import ActionPlan
    from shared.models.reservation import LineFilter
    from shared.models.stored import PhaseCount, Workload
    from shared.policy.decision import DecisionRecord
    from shared.policy.explain import Suggestion
    from shared.store.unit_of_work import UnitOfWork

_LISTED = 5  # how many workloads a message lists


@dataclass(frozen=True)
class WorkloadReference:
    """A workload as a user names it: by id, or by name within a team and a namespace (None: any)."""

    text: str
    team: str | None = None
    namespace: str | None = None

    @property
    def id(self) -> uuid.UUID | None:
        try:
            return uuid.UUID(self.text)
        except ValueError:
            return None


@dataclass(frozen=True)
class DecidedWorkload:
    """A workload with every policy decision on its plans, oldest first."""

    workload: Workload
    decisions: list[DecisionRecord]


@dataclass(frozen=True)
class QueuedPlan:
    """A plan that waits, with its place in the queue from 1, and its workload."""

    position: int
    plan: ActionPlan
    workload: Workload

    def as_json(self) -> dict[str, JsonValue]:
        """The plan in the queue for machines."""
        plan, workload = self.plan, self.workload
        return {
            "position": self.position,
            "workload": workload.spec.full_name,
            "id": str(workload.id),
            "team": workload.spec.team,
            "plan": str(plan.id),
            "priority": plan.priority,
            "cluster": plan.decision.cluster,
            "waitsFor": list(plan.waits_for),
            "since": rfc3339(plan.queued_at),
            "overtaken": plan.overtaken,
            "reason": plan.reason,
        }


def list_workloads(work: UnitOfWork, wanted: WorkloadFilter, request: PageRequest) -> Page[Workload]:
    """A page of workloads, sorted by `name` (team, namespace and name) or `createdAt`."""
    return work.workloads.page(wanted, request)


def count_by_phase(work: UnitOfWork, teams: frozenset[str] | None) -> list[PhaseCount]:
    """How many workloads of each team are in each phase. teams: whose; None for all."""
    return work.measurements.workloads(teams)


def get(work: UnitOfWork, reference: WorkloadReference) -> Workload:
    """The workload that is meant. Raises NotFound, and AmbiguousName when the name fits several."""
    name, team, namespace = reference.text, reference.team, reference.namespace
    if reference.id is not None:
        found = [w for w in [work.workloads.get(reference.id)] if w is not None]
    else:
        found = work.workloads.find(WorkloadFilter(team, namespace, name), _LISTED + 1)
    if len(found) > 1:
        raise AmbiguousName(f"{name} may mean {_listed(found)}")
    if not found:
        others = work.workloads.find(WorkloadFilter(name=name), _LISTED + 1)
        hint = f"; of that name there is {_listed(others)}" if others else ""
        where = f" in team {team}" * (team is not None) + f" in namespace {namespace}" * (namespace is not None)
        raise NotFound(f"there is no workload {name}{where}{hint}")
    return found[0]


def list_revisions(work: UnitOfWork, workload: Workload, request: PageRequest) -> Page[RecordedRevision]:
    """A page of a workload's revisions, with what verification found, sorted by `revision`."""
    return work.history.page_of_revisions(workload.id, request)


def lock(work: UnitOfWork, workload_id: uuid.UUID) -> Workload:
    """A workload that nobody else changes until the transaction ends. Raises NotFound."""
    if (found := work.workloads.get(workload_id, lock=True)) is None:
        raise NotFound(f"there is no workload {workload_id}")
    return found


def get_with_decisions(work: UnitOfWork, workload_id: uuid.UUID) -> DecidedWorkload:
    """A workload with what policy decided on it. Raises NotFound."""
    workload = get(work, WorkloadReference(str(workload_id)))
    return DecidedWorkload(workload, work.plans.decisions_on(workload_id))


def alternatives(work: UnitOfWork, workload: Workload) -> list[Suggestion] | None:
    """What would pass now in place of a plan that was denied; None for a workload that is not denied."""
    if workload.phase is not Phase.DENIED or (denied := work.plans.get(workload.plan_id)) is None:
        return None
    from shared.operations import simulate  # brings all rules along, and most commands need none

    return simulate.alternatives(work, denied, workload)


def queue_page(work: UnitOfWork, wanted: LineFilter, request: PageRequest) -> Page[QueuedPlan]:
    """A page of the queue, first goes first. A position counts what the list shows."""
    found = work.queue.listed(wanted, request)
    workloads = work.workloads.get_many([plan.workload_id for plan in found.items])
    before = 0 if request.after is None else int(request.after[0])
    queued = [
        QueuedPlan(at, plan, workloads[plan.workload_id])
        for at, plan in enumerate(found.items, start=before + 1)
        if plan.workload_id in workloads
    ]
    return Page(queued, found.next)


def _listed(workloads: list[Workload]) -> str:
    some = ", ".join(f"{w.spec.full_name} ({w.id})" for w in workloads[:_LISTED])
    return f"{some} and more" if len(workloads) > _LISTED else some
