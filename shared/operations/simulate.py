"""What policy would decide on a workload now, on every cluster that could take it, and what would pass instead.

A simulation takes the way of a real decision: the plan that intake would make, the policies and facts of this moment,
and the queue. It locks and writes nothing, so it belongs into a transaction that cannot write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.errors import OperationRefused
from shared.models.amounts import Amounts
from shared.models.cluster import Cluster
from shared.models.deployment import Deployment
from shared.models.plan import ActionPlan, Verb, plan_id
from shared.models.stored import Workload
from shared.models.workload import WorkloadSpec
from shared.operations import queue
from shared.operations.plan_view import applicable_policies, plan_view
from shared.operations.reservations import replaced_revisions
from shared.policy.decision import Finding, PlanView, PolicyDecision
from shared.policy.evaluate import evaluate
from shared.policy.explain import Change, Suggestion, explain
from shared.policy.facts import Facts, FactsNeeded
from shared.policy.policy_set import PolicySet
from shared.policy.queue import held_back
from shared.rollout.placement import obstacle
from shared.rollout.planning import Proposal, keep_restart, next_generation, place, present, propose
from shared.rollout.pricing import Prices

if TYPE_CHECKING:
    from shared.store.unit_of_work import UnitOfWork

_FactsKey = tuple[FactsNeeded, str, frozenset[str]]


class SimulationOutcome(StrEnum):
    """What would become of a plan. REJECTED: intake would not propose it."""

    APPROVED = "approved"
    DENIED = "denied"
    QUEUED = "queued"
    AWAITING_APPROVAL = "awaiting_approval"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Outlook:
    """The decision on one cluster. chosen: intake would place the workload there.

    proposal: None when rejected. could_wait: it is denied, and would be queued if its workload asked for that.
    """

    cluster: str
    chosen: bool
    outcome: SimulationOutcome
    decision: PolicyDecision
    proposal: Proposal | None
    could_wait: bool = False
    suggestions: tuple[Suggestion, ...] = ()


@dataclass(frozen=True)
class SimulatedWorkload:
    """The decision on one workload, by cluster. rejection: why intake would not take it in, "" when it would."""

    spec: WorkloadSpec
    outlooks: list[Outlook]
    rejection: str = ""

    @property
    def unchanged(self) -> bool:
        """Whether it is at this generation already, so that nothing would be done."""
        return not self.outlooks and not self.rejection

    @property
    def hopeless(self) -> bool:
        """Whether no cluster would approve it."""
        return bool(self.outlooks) and all(one.outcome is not SimulationOutcome.APPROVED for one in self.outlooks)


@dataclass(frozen=True)
class _Subject:
    """A workload as it is, with what it holds where. leaves: what a first plan gives up on other clusters."""

    known: Workload | None
    generation: int
    live: Sequence[Deployment]
    replaced: Sequence[Deployment]
    held: Mapping[str, Mapping[str, Amounts]]

    def leaves(self, cluster: str) -> list[Mapping[str, Amounts]]:
        return [] if self.live else [lines for name, lines in self.held.items() if name != cluster]


def simulate(work: UnitOfWork, specs: Sequence[WorkloadSpec]) -> list[SimulatedWorkload]:
    """The decision on every workload for each cluster, each as if it were submitted alone."""
    simulation = _Simulation(work)
    simulated: list[SimulatedWorkload] = []
    for spec in specs:
        try:
            simulated.append(SimulatedWorkload(spec, simulation.outlooks(spec)))
        except OperationRefused as refused:
            simulated.append(SimulatedWorkload(spec, [], str(refused)))
    return simulated


def alternatives(work: UnitOfWork, denied: ActionPlan, workload: Workload) -> list[Suggestion]:
    """What would pass now in place of a workload's newest plan, which was denied; the plan itself, if it would."""
    if denied.decision.verb.restores or denied.decision.verb is Verb.REMOVE:
        return []
    asked = workload.spec.with_most_replicas(denied.decision.replicas).model_copy(update={"generation": None})
    try:
        [outlook] = [one for one in _Simulation(work).outlooks(asked) if one.chosen]
    except OperationRefused:
        return []
    if outlook.outcome is SimulationOutcome.APPROVED:
        return [Suggestion(Change(), "submit it again as it is: it would be approved now")]
    return list(outlook.suggestions)


class _Simulation:
    """Decides on what one transaction sees."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work
        self._policies = PolicySet(work.policies.all())
        self._clusters = work.catalogue.clusters()
        self._reserved = work.catalogue.reserved()
        self._prices = Prices.of(work.catalogue.prices())
        self._facts: dict[_FactsKey, Facts] = {}

    def outlooks(self, spec: WorkloadSpec) -> list[Outlook]:
        """By cluster; none for a submission that is known already. Raises OperationRefused where intake rejects it."""
        known = self._work.workloads.get(spec.id)
        withdrawn = 0 if known else self._work.workloads.withdrawn_generation(spec.id)
        spec = keep_restart(spec, known)
        generation = next_generation(spec, known, withdrawn)
        if generation is None:
            return []
        chosen = place(spec, known, self._clusters, self._reserved)
        there = present(known, self._clusters)
        current = there.cluster if there else None
        possible = [
            cluster
            for cluster in self._clusters
            if obstacle(spec, cluster, current) is None and current in (None, cluster.name)
        ]
        live = self._work.deployments.live(spec.id) if known else []
        held = self._work.ledger.holdings(spec.id).lines if known else {}
        subject = _Subject(known, generation, live, replaced_revisions(self._work, live), held)
        self._facts.clear()
        return [self._outlook(spec, subject, cluster, possible, chosen.name) for cluster in possible]

    def _outlook(
        self, spec: WorkloadSpec, subject: _Subject, cluster: Cluster, possible: Sequence[Cluster], chosen: str
    ) -> Outlook:
        def decide(change: Change) -> PolicyDecision:
            where = next((one for one in possible if one.name == change.cluster), cluster)
            return self._decide(_changed(spec, change), subject, where, change.at)[1]

        proposal, decision = self._decide(spec, subject, cluster, None)
        outcome = _outcome(spec, proposal, decision)
        suggestions: list[Suggestion] = []
        if not decision.approved:
            others = [one.name for one in possible if one is not cluster]
            skus = self._other_skus(spec, cluster)
            suggestions = explain(decision, decide, replicas=spec.most_replicas, skus=skus, clusters=others)
        return Outlook(
            cluster.name,
            cluster.name == chosen,
            outcome,
            decision,
            proposal,
            could_wait=outcome is SimulationOutcome.DENIED and decision.waits,
            suggestions=tuple(suggestions),
        )

    def _decide(
        self, spec: WorkloadSpec, subject: _Subject, cluster: Cluster, at: datetime | None
    ) -> tuple[Proposal | None, PolicyDecision]:
        identity = plan_id(spec.id, "simulation")
        held = subject.held.get(cluster.name, {})
        try:
            proposal = propose(
                spec,
                subject.known,
                cluster,
                self._prices,
                live=subject.live,
                held=held,
                plan_id=identity,
                generation=subject.generation,
            )
        except OperationRefused as refused:
            finding = Finding("", "intake", refused.errors[0][0], "", "", str(refused))
            return None, PolicyDecision(approved=False, violations=(finding,), warnings=(), determining=())
        view = plan_view(proposal.plan, proposal.workload, subject.live, held, subject.replaced)
        moment = at or self._work.now
        applicable = applicable_policies(self._work, view, self._policies, moment)
        facts = self._load_facts(applicable.needs, view, subject)
        decision = evaluate(view, applicable.policies, facts.at(moment, self._work.now) if at else facts, moment)
        if not decision.approved or at is not None:
            return proposal, decision
        blocking = queue.blocking(self._work, proposal.plan, applicable.demand)
        return proposal, decision if blocking is None else held_back(decision, blocking)

    def _load_facts(self, needs: FactsNeeded, view: PlanView, subject: _Subject) -> Facts:
        """The facts, loaded once for all changes that rest on the same."""
        key = (needs, view.cluster, frozenset(view.lines))
        if key not in self._facts:
            facts = self._work.facts.load(needs, view, self._work.now)
            for lines in subject.leaves(view.cluster):
                facts = facts.released(lines)
            self._facts[key] = facts
        return self._facts[key]

    def _other_skus(self, spec: WorkloadSpec, cluster: Cluster) -> list[str]:
        """The other SKUs that the cluster may have and that are priced there, cheapest first.

        Slices are of one SKU's profiles, so nothing is said of those.
        """
        gpu = spec.resources.gpu
        if gpu.count == 0 or gpu.mig is not None:
            return []
        priced = self._prices.at(cluster.name).gpus
        return [
            sku
            for _, sku in sorted((usd, sku) for sku, usd in priced.items())
            if sku != gpu.sku and cluster.has_gpu(sku)
        ]


def _outcome(spec: WorkloadSpec, proposal: Proposal | None, decision: PolicyDecision) -> SimulationOutcome:
    if proposal is None:
        return SimulationOutcome.REJECTED
    if decision.approved:
        return SimulationOutcome.APPROVED
    if decision.approve_by(queue=spec.queue) is not None:
        return SimulationOutcome.AWAITING_APPROVAL
    return SimulationOutcome.QUEUED if decision.waits and spec.queue else SimulationOutcome.DENIED


def _changed(spec: WorkloadSpec, change: Change) -> WorkloadSpec:
    if change.replicas is not None:
        spec = spec.with_most_replicas(change.replicas)
    if change.sku is not None:
        gpu = spec.resources.gpu.model_copy(update={"sku": change.sku, "product": None})
        spec = spec.model_copy(update={"resources": spec.resources.model_copy(update={"gpu": gpu})})
    return spec
