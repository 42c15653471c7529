"""The queue: which plan may pass which, and which plans are evaluated again. Its rules are in shared.policy.queue.

A release, a changed policy or the tick decides nothing. It looks through one page of the queue in its order and finds
the plans that would be approved, or that waiting cannot help. Each of these is then evaluated on its own, in its own
transaction, under the locks of its scopes. For the others the queue records what they wait for now.

1. A release has those plans looked at that wait for what was released, until that is used up.
2. A policy that changed, or a cluster that was registered, has the whole queue looked at, from its head. A row of the
   database says how far that has come, so it ends, however long the queue is.
3. The tick goes on with that where nobody else does. Otherwise it looks at one page, and at the next one the next time:
   that mends what nobody has announced.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import OperationRefused
from shared.operations.plan_view import ApplicablePolicies, plan_view
from shared.operations.supersede import supersede
from shared.policy.decision import reason
from shared.policy.evaluate import facts_needed
from shared.policy.queue import (
    MAX_OVERTAKES,
    QueueEntry,
    QueueScan,
    blocking_finding,
    held_back,
    left_of,
    missing_resources,
)
from shared.rollout import occupancy

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Mapping, Sequence

    from shared.models.actor import Actor
    from shared.models.amounts import Amounts
    from shared.models.deployment import Deployment
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.policy.decision import Finding, PlanView, PolicyDecision
    from shared.policy.facts import Facts, FactsNeeded
    from shared.policy.policy_set import PolicySet
    from shared.policy.queue import Demand
    from shared.policy.resources import ScopedResource
    from shared.store.queue import PlanPage
    from shared.store.unit_of_work import UnitOfWork

PAGE = 100
FIRST = 10
"""The plans of a page that are looked at before the others, when something was released."""
CONTINUED_WITHIN = timedelta(seconds=5)
"""A look through the whole queue whose last page is older has been cut off: the tick goes on with it."""


@dataclass(frozen=True)
class SupersededPlan:
    """A plan that lost its place to a newer one of its workload."""

    plan: ActionPlan
    newer: uuid.UUID
    reason: str


@dataclass(frozen=True)
class ScannedPage:
    """What one look found.

    plans: to be evaluated again. superseded: plans whose workloads have newer ones. more: whether to go on at once.
    after, left: the plan that the next page follows, and what is left of what was released; of a look for that only.
    """

    plans: Sequence[ActionPlan] = ()
    superseded: Sequence[SupersededPlan] = ()
    more: bool = False
    after: uuid.UUID | None = None
    left: Mapping[str, int | None] = field(default_factory=dict)


def pass_queue(work: UnitOfWork, plan: ActionPlan, demand: Demand) -> Finding | None:
    """Lets a plan that fits pass the ones ahead of it, and counts that; or returns what is in the way."""
    keys = _contended_keys(work, demand)
    if not keys:
        return None
    starved, contended = work.queue.starved_ahead(plan, work.now, keys, MAX_OVERTAKES)
    if starved is not None:
        return blocking_finding([QueueEntry.of(starved, work.now)], demand)
    if contended:
        work.queue.count_overtaking(plan, work.now, keys)
    return None


def blocking(work: UnitOfWork, plan: ActionPlan, demand: Demand, passed: Iterable[uuid.UUID] = ()) -> Finding | None:
    """The first starved plan ahead of a plan that fits, as a violation, but for those in `passed`."""
    keys = _contended_keys(work, demand)
    if not keys:
        return None
    starved, _ = work.queue.starved_ahead(plan, work.now, keys, MAX_OVERTAKES, [*passed])
    return None if starved is None else blocking_finding([QueueEntry.of(starved, work.now)], demand)


def scan_released(
    work: UnitOfWork,
    released: Mapping[str, int | None],
    after: uuid.UUID | None,
    policies: PolicySet,
    actor: Actor,
) -> ScannedPage:
    """Looks at a page of the plans that wait for something of what was released, those behind the plan `after`.

    The first of them most often use it up, so they come first. Raises OperationRefused for what is no resource.
    """
    scan, left = QueueScan(), released
    plans: list[ActionPlan] = []
    superseded: list[SupersededPlan] = []
    for limit in (FIRST, PAGE - FIRST):
        page = work.queue.page(limit, after, left)
        found = _scan(work, page, policies, scan, actor)
        plans += found.plans
        superseded += found.superseded
        after = page.last
        try:
            left = left_of(released, scan.approved.values())
        except ValueError as error:
            raise OperationRefused("released", str(error)) from None
        if after is None or not left:
            return ScannedPage(plans, superseded)
    return ScannedPage(plans, superseded, more=True, after=after, left=left)


def scan_all(work: UnitOfWork, policies: PolicySet, actor: Actor) -> ScannedPage:
    """Begins a look through the whole queue: its first page."""
    work.queue.want_all()
    return scan_next(work, policies, actor)


def scan_next(work: UnitOfWork, policies: PolicySet, actor: Actor) -> ScannedPage:
    """The next page of a look through the whole queue; nothing when nobody wants one."""
    return _next_page(work, policies, actor) if work.queue.cursor().wanted else ScannedPage()


def scan_at_tick(work: UnitOfWork, policies: PolicySet, actor: Actor) -> ScannedPage:
    """The next page, unless a look through the whole queue is under way."""
    cursor = work.queue.cursor()
    if cursor.wanted and cursor.moved_at is not None and work.now - cursor.moved_at < CONTINUED_WITHIN:
        return ScannedPage()
    return _next_page(work, policies, actor)


def supersede_others(
    work: UnitOfWork, queued: Sequence[uuid.UUID], workload: Workload, actor: Actor
) -> list[SupersededPlan]:
    """Ends queued plans of a workload that was withdrawn or submitted again since. The caller has locked it.

    The one that waits for the end of a rollback stays.
    """
    others = [one for one in queued if one not in (workload.plan_id, workload.queued_plan_id)]
    return [
        SupersededPlan(plan, workload.plan_id, supersede(work, plan, workload, actor))
        for plan in (work.plans.get_many(others).values() if others else ())
    ]


def update_entry(work: UnitOfWork, plan: ActionPlan, findings: Sequence[Finding]) -> None:
    """Records what a queued plan waits for, when that has changed."""
    before = QueueEntry.of(plan, work.now)
    now = before.updated(findings)
    if now != before:
        work.queue.update_entry(plan, texts(now.waits_for), overtaken=now.overtaken, reason=reason(findings))


def waits_for(findings: Iterable[Finding]) -> list[str]:
    """What must be released before a plan can go on, for instance "team/search gpus[H100]"."""
    return texts(missing_resources(findings))


def texts(wanted: Iterable[ScopedResource]) -> list[str]:
    """Scoped resources as text, in their order."""
    return sorted(map(str, wanted))


def _contended_keys(work: UnitOfWork, demand: Demand) -> frozenset[str]:
    """What others may wait for of that which a plan takes.

    Only the queue knows which SKUs a plan for any GPU may take from somebody.
    """
    keys = frozenset(map(str, demand.takes))
    anything = frozenset(map(str, demand.takes_any_gpu))
    if not anything:
        return keys
    waited_for = work.queue.waited_for(anything)
    return keys - anything | {text for text in waited_for - anything if _is_taken(demand, text)}


def _is_taken(demand: Demand, key: str) -> bool:
    """Whether a key is a resource, of which the plan takes more; a scope alone is none here."""
    return " " in key and demand.takes_of(key)


def _next_page(work: UnitOfWork, policies: PolicySet, actor: Actor) -> ScannedPage:
    cursor = work.queue.cursor()
    page = work.queue.page(PAGE, cursor.after)
    found = _scan(work, page, policies, QueueScan(), actor)
    wanted = cursor.wanted and page.last is not None
    work.queue.move(replace(cursor, after=page.last, wanted=wanted, moved_at=work.now))
    return replace(found, more=wanted)


def _scan(work: UnitOfWork, page: PlanPage, policies: PolicySet, scan: QueueScan, actor: Actor) -> ScannedPage:
    workloads = work.workloads.get_many({plan.workload_id for plan in page.plans})
    known = [(plan, workloads[plan.workload_id]) for plan in page.plans if plan.workload_id in workloads]
    waiting = [(plan, workload) for plan, workload in known if workload.plan_id == plan.id]
    ended = {plan.id: workload for plan, workload in known if plan.id not in _kept(workload)}
    superseded = [
        SupersededPlan(plan, ended[plan.id].plan_id, supersede(work, plan, ended[plan.id], actor))
        for plan in (work.queue.lock(ended) if ended else ())
    ]
    forecast = _Forecast(work, policies, scan, waiting)
    found: list[ActionPlan] = []
    for plan, workload in waiting:
        decision = forecast.decision(plan, workload)
        if decision.approved or not decision.waits:  # what waiting cannot help is denied, and leaves the queue
            found.append(plan)
        else:
            update_entry(work, plan, decision.violations)
    return ScannedPage(found, superseded)


def _kept(workload: Workload) -> tuple[uuid.UUID | None, ...]:
    """The plans of a workload that may be in the queue."""
    return (workload.plan_id, workload.queued_plan_id)


class _Forecast:
    """What would be decided on the plans of a page. What several of them need is read once."""

    def __init__(
        self,
        work: UnitOfWork,
        policies: PolicySet,
        scan: QueueScan,
        plans: Sequence[tuple[ActionPlan, Workload]],
    ) -> None:
        self._work, self._policies, self._scan = work, policies, scan
        ids = {workload.id for _, workload in plans}
        self._live: dict[uuid.UUID, list[Deployment]] = {}
        for revision in work.deployments.live_of(ids, manifests=False) if ids else ():
            self._live.setdefault(revision.workload_id, []).append(revision)
        rolling = {one.workload_id for live in self._live.values() for one in live if occupancy.is_rolling_out(one)}
        self._replaced: dict[uuid.UUID, list[Deployment]] = {}
        for revision in work.deployments.replaced(rolling) if rolling else ():
            self._replaced.setdefault(revision.workload_id, []).append(revision)
        self._held: Mapping[tuple[uuid.UUID, str], Mapping[str, Amounts]] = work.ledger.lines_of(ids) if ids else {}
        self._capped: dict[str, bool] = {}
        self._facts: dict[tuple[FactsNeeded, str, frozenset[str], uuid.UUID | None], Facts] = {}
        self._held_back: dict[frozenset[ScopedResource], Finding] = {}

    def decision(self, plan: ActionPlan, workload: Workload) -> PolicyDecision:
        """On the next plan in the order of the queue."""
        work = self._work
        applicable = self._applicable(self._view(plan, workload))
        view, demand = applicable.view, applicable.demand
        decision = self._scan.evaluate(view, applicable.policies, self._load_facts(applicable.needs, view), work.now)
        if not decision.approved:
            return decision
        # Who holds back one plan holds back all behind it that take the same.
        finding = self._held_back.get(demand.takes) or blocking(work, plan, demand, self._scan.approved)
        if finding is not None:
            self._held_back[demand.takes] = finding
            return held_back(decision, finding)
        self._scan.approve(view)
        return decision

    def _view(self, plan: ActionPlan, workload: Workload) -> PlanView:
        restored = None
        if plan.decision.verb.restores:
            restored = self._work.deployments.revision(workload.id, plan.decision.revision or 0)
        live, replaced = self._live.get(workload.id, []), self._replaced.get(workload.id, [])
        held = self._held.get((workload.id, plan.decision.cluster), {})
        return plan_view(plan, workload, live, held, replaced, restored)

    def _applicable(self, view: PlanView) -> ApplicablePolicies:
        matching = self._policies.matching(view, self._work.now)
        capped = False
        if view.adds_gpus:  # all of them queue, so it depends on their cluster alone
            if view.cluster not in self._capped:
                self._capped[view.cluster] = self._work.facts.counts_in_capacity(view)
            capped = self._capped[view.cluster]
        return ApplicablePolicies(view, matching, facts_needed(view, matching, capped=capped))

    def _load_facts(self, needs: FactsNeeded, view: PlanView) -> Facts:
        """Telemetry is of one workload; all else is the same for plans that need the same of the same cluster."""
        key = (needs, view.cluster, frozenset(view.lines), view.workload_id if needs.windows else None)
        if key not in self._facts:
            self._facts[key] = self._work.facts.load(needs, view, self._work.now)
        return self._facts[key]
