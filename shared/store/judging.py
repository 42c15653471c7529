"""From a stored plan to a decision: what policy sees, the facts it needs, the verdict. Writes nothing.

The deciding function calls this in its transaction with the scopes locked; a simulation calls it without.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.models.amounts import Amounts
from shared.models.deployment import Deployment
from shared.models.plan import ActionPlan, Verb
from shared.models.stored import Workload
from shared.policy.decision import PlanView, PolicyDecision
from shared.policy.evaluate import evaluate, needs_of
from shared.policy.facts import Facts, Needs
from shared.policy.policy_set import PolicySet, StoredPolicy
from shared.policy.queue import Demand
from shared.rollout import holding, manifests
from shared.store import keeping
from shared.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class Judgement:
    """A decision, with what it was made on."""

    view: PlanView
    needs: Needs
    facts: Facts
    decision: PolicyDecision
    microseconds: int

    @property
    def demand(self) -> Demand:
        """What the plan takes, for those who wait in the queue."""
        return Demand.on(self.view, self.needs)


def look_at(
    plan: ActionPlan,
    workload: Workload,
    live: Sequence[Deployment],
    held: Mapping[str, Amounts],
    work: UnitOfWork,
) -> PlanView:
    """A stored plan as policy sees it. A rollback is seen as the revision that it restores.

    held: the lines that the workload holds on the plan's cluster.
    """
    restored = None
    if plan.decision.verb is Verb.ROLLBACK:
        restored = work.deployments.revision(workload.id, plan.decision.revision or 0)
    return view_of(plan, workload, live, held, keeping.replaced(live, work), restored)


def view_of(
    plan: ActionPlan,
    workload: Workload,
    live: Sequence[Deployment],
    held: Mapping[str, Amounts],
    replaced: Sequence[Deployment] = (),
    restored: Deployment | None = None,
) -> PlanView:
    """A plan as policy sees it, from its parts; those that are `replaced` as keeping.replaced finds them."""
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
        lines={} if removes else holding.while_doing(plan, spec.type.kind, live, replaced, held),
        held=held,
        created_at=workload.created_at,
        queue=spec.queue,
    )


@dataclass(frozen=True)
class Case:
    """A plan with the policies that have a say on it, and the facts that these need."""

    view: PlanView
    policies: Sequence[StoredPolicy]
    needs: Needs

    @property
    def demand(self) -> Demand:
        """What it takes, for those who wait in the queue."""
        return Demand.on(self.view, self.needs)


def case_for(view: PlanView, policies: PolicySet, work: UnitOfWork, now: datetime) -> Case:
    """What is to be judged. Who decides locks `needs.locked` before judging."""
    matching = policies.matching(view, now)
    return Case(view, matching, needs_of(view, matching, capped=work.capped(view)))


def judge(case: Case, known: Facts, work: UnitOfWork) -> Judgement:
    """The decision on the facts as this transaction sees them; what is `known` is not read again."""
    facts = work.facts(case.needs, case.view, known)
    started = time.perf_counter_ns()
    decision = evaluate(case.view, case.policies, facts, work.now)
    return Judgement(case.view, case.needs, facts, decision, (time.perf_counter_ns() - started) // 1000)
