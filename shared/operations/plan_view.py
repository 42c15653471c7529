"""What policy sees of a stored plan, and the policies and facts that decide it. Writes nothing.

The deciding operation calls this with the scopes locked; a simulation calls it without.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.models.plan import Verb
from shared.operations.reservations import replaced_revisions
from shared.policy.decision import PlanView
from shared.policy.evaluate import evaluate, facts_needed
from shared.policy.queue import Demand
from shared.rollout import manifests, occupancy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from shared.models.amounts import Amounts
    from shared.models.deployment import Deployment
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.policy.decision import PolicyDecision
    from shared.policy.facts import Facts, FactsNeeded
    from shared.policy.policy_set import PolicySet, StoredPolicy
    from shared.store.unit_of_work import UnitOfWork


def stored_plan_view(
    work: UnitOfWork,
    plan: ActionPlan,
    workload: Workload,
    live: Sequence[Deployment],
    held: Mapping[str, Amounts],
) -> PlanView:
    """A stored plan as policy sees it. One that applies a revision again is seen as that revision.

    held: the lines that the workload holds on the plan's cluster.
    """
    restored = None
    if plan.decision.verb.restores:
        restored = work.deployments.revision(workload.id, plan.decision.revision or 0)
    return plan_view(plan, workload, live, held, replaced_revisions(work, live), restored)


def plan_view(
    plan: ActionPlan,
    workload: Workload,
    live: Sequence[Deployment],
    held: Mapping[str, Amounts],
    replaced: Sequence[Deployment] = (),
    restored: Deployment | None = None,
) -> PlanView:
    """A plan as policy sees it, from its parts. replaced: see replaced_revisions."""
    spec = workload.spec
    removes = plan.decision.verb is Verb.REMOVE
    hardening = manifests.hardening(spec) if restored is None else manifests.hardening_of(restored.manifest)
    return PlanView(
        plan_id=plan.id,
        workload_id=workload.id,
        name=spec.name,
        verb=plan.decision.verb,
        type=spec.type,
        team=spec.team,
        namespace=spec.namespace,
        cluster=plan.decision.cluster,
        labels=spec.labels,
        image=hardening.image,
        security=hardening.security,
        host_paths=hardening.host_paths,
        tolerations=hardening.tolerations,
        node_selector=hardening.node_selector,
        lines={} if removes else occupancy.occupied_during(plan, spec.type.kind, live, replaced, held),
        held=held,
        created_at=workload.created_at,
        queue=spec.queue,
        approval=plan.approval,
    )


@dataclass(frozen=True)
class ApplicablePolicies:
    """A plan with the policies that apply to it, and the facts that these need.

    The deciding operation locks `needs.locked` before it reads the facts.
    """

    view: PlanView
    policies: Sequence[StoredPolicy]
    needs: FactsNeeded

    @property
    def demand(self) -> Demand:
        """What the plan takes, for those that wait in the queue."""
        return Demand.from_needs(self.view, self.needs)


@dataclass(frozen=True)
class Assessment:
    """A decision with the facts it rests on. microseconds: how long the evaluation took."""

    view: PlanView
    needs: FactsNeeded
    facts: Facts
    decision: PolicyDecision
    microseconds: int

    @property
    def demand(self) -> Demand:
        """What the plan takes, for those that wait in the queue."""
        return Demand.from_needs(self.view, self.needs)


def applicable_policies(work: UnitOfWork, view: PlanView, policies: PolicySet, now: datetime) -> ApplicablePolicies:
    """The policies that apply to a plan at a moment."""
    matching = policies.matching(view, now)
    needs = facts_needed(view, matching, capped=work.facts.counts_in_capacity(view))
    return ApplicablePolicies(view, matching, needs)


def assess(work: UnitOfWork, applicable: ApplicablePolicies, known: Facts) -> Assessment:
    """The decision on the facts as this transaction sees them; what is `known` is not read again."""
    facts = work.facts.load(applicable.needs, applicable.view, work.now, known)
    started = time.perf_counter_ns()
    decision = evaluate(applicable.view, applicable.policies, facts, work.now)
    microseconds = (time.perf_counter_ns() - started) // 1000
    return Assessment(applicable.view, applicable.needs, facts, decision, microseconds)
