"""Action plans and the policy decisions on them."""

import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared import tracing
from shared.errors import AlreadyInProgress
from shared.models.cluster import ClusterState
from shared.models.lifecycle import (
    ANNOUNCED_PLANS,
    PLAN_STATUSES,
    SET_ASIDE_PLANS,
    UNDECIDED_PLANS,
    PlanStatus,
)
from shared.models.page import Page, PageRequest
from shared.models.plan import ActionPlan, Approval, Decision, PlanFilter, PlanSource
from shared.models.validation import read_stored
from shared.policy.decision import DecisionRecord
from shared.policy.resources import keys_of
from shared.store import pages
from shared.store.nodes import excluded_gpus_of
from shared.store.rows import NOT_UNDERSTOOD, POLICY_SET_LOCK, Row, amounts_from, any_of, readable, unreadable
from shared.store.tables import action_plans, clusters, policy_decisions


@dataclass(frozen=True)
class PlanWithCluster:
    """A plan to execute. away: why its cluster is away; None when that answers, as far as is known.

    products: the GPU products that the cluster's nodes have shown. excluded: its nodes that take no new pods.
    """

    plan: ActionPlan
    away: str | None
    cordoned: bool
    products: tuple[str, ...] = ()
    excluded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PlanRows:
    """Action plans, inside one transaction."""

    connection: sa.Connection

    def add(self, plan: ActionPlan, until: datetime) -> bool:
        """Inserts a plan; when nobody has decided it by `until`, it is announced again.

        False, and nothing changed, when there is a plan of this id.
        """
        values = {
            "id": plan.id,
            "workload_id": plan.workload_id,
            "team": plan.team,
            "proposed_by": plan.proposed_by,
            "generation": plan.generation,
            "source": plan.source,
            "decision": plan.decision.model_dump(mode="json", by_alias=True),
            "sku": plan.sku,
            "amounts": plan.amounts.as_json(),
            "surge": plan.surge.as_json(),
            "status": plan.status,
            "priority": plan.priority,
            "next_attempt_at": until,
            "traceparent": plan.traceparent or tracing.current_traceparent(),
        }
        return bool(self.connection.execute(_INSERT, values).rowcount)

    def get(self, plan_id: uuid.UUID) -> ActionPlan | None:
        """A plan. Its workload's row lock protects it."""
        row = self.connection.execute(_GET, {"plan": plan_id}).one_or_none()
        return None if row is None else _plan(row)

    def get_with_cluster(self, plan_id: uuid.UUID) -> PlanWithCluster | None:
        """A plan, and what is known of its cluster."""
        row = self.connection.execute(_GET_WITH_CLUSTER, {"plan": plan_id}).one_or_none()
        if row is None:
            return None
        away = None if row.away_until is None else row.away_reason
        cordoned = row.cluster_state == ClusterState.CORDONED
        return PlanWithCluster(_plan(row), away, cordoned, tuple(row.products or ()), frozenset(row.excluded or ()))

    def get_to_decide(self, plan_id: uuid.UUID, workload_id: uuid.UUID) -> tuple[ActionPlan | None, list[uuid.UUID]]:
        """A plan that is about to be decided, and the other plans of its workload that are set aside.

        Those are in the queue, or await an approval.

        From here on no policy changes until the transaction ends. The policies are read by a later statement, so it
        sees every change that this one has waited for.
        """
        row = self.connection.execute(_GET_TO_DECIDE, {"plan": plan_id, "workload": workload_id}).one()
        return None if row.id is None else _plan(row), row.queued

    def get_many(self, plan_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, ActionPlan]:
        """Several plans by id; those that are not there, or cannot be read, are absent."""
        rows = self.connection.execute(_GET_MANY, {"ids": list(plan_ids)})
        return {plan.id: plan for plan in plans_from(rows)}

    def approve(self, plan: ActionPlan, until: datetime) -> None:
        """Approves a plan; when nobody has executed it by `until`, it is announced again."""
        self._move(plan, PlanStatus.APPROVED, reason="", next_attempt_at=until, lease_until=None)

    def deny(self, plan: ActionPlan, reason: str) -> None:
        """Ends a plan that policy refuses."""
        self._end(plan, PlanStatus.DENIED, reason)

    def supersede(self, plan: ActionPlan, reason: str) -> None:
        """Ends a plan whose place a newer one has taken."""
        self._end(plan, PlanStatus.SUPERSEDED, reason)

    def propose_again(self, plan: ActionPlan, until: datetime, reason: str) -> None:
        """Gives an approved plan back to policy; when nobody has decided it by `until`, it is announced again."""
        self._move(plan, PlanStatus.PROPOSED, reason=reason, next_attempt_at=until, lease_until=None)

    def propose_queued(self, plan: ActionPlan, until: datetime) -> None:
        """Gives a plan that was set aside back to policy, with its present decision and surge.

        It keeps its place in the queue, and the approval that it has.
        """
        decision = plan.decision.model_dump(mode="json", by_alias=True)
        values = {"decision": decision, "surge": plan.surge.as_json(), "next_attempt_at": until}
        self._move(plan, PlanStatus.PROPOSED, **values)

    def mark_executed(self, plan: ActionPlan) -> None:
        """Ends a plan that its cluster has taken."""
        self._end(plan, PlanStatus.EXECUTED, "")

    def mark_failed(self, plan: ActionPlan, reason: str) -> None:
        """Ends a plan that its cluster will never take."""
        self._end(plan, PlanStatus.FAILED, reason)

    def lease(self, plan: ActionPlan, length: timedelta) -> ActionPlan:
        """Claims a plan for one execution, whose number it then has: nobody else executes it before the lease ends.

        The lease counts from this moment: the transaction may have waited for locks.
        """
        status = PLAN_STATUSES.advance(plan.status, PlanStatus.APPLYING)
        row = self.connection.execute(_LEASE, {"plan": plan.id, "length": length}).one()
        return replace(
            plan,
            status=status,
            lease_until=row.lease_until,
            next_attempt_at=row.next_attempt_at,
            executions=row.executions,
        )

    def renew(self, plan: ActionPlan, length: timedelta) -> bool:
        """Prolongs the lease of an execution from this moment on; False when it has ended or is another one's."""
        arguments = {"plan": plan.id, "length": length, "number": plan.executions}
        return bool(self.connection.execute(_RENEW, arguments).rowcount)

    def postpone(self, plan: ActionPlan, until: datetime, reason: str) -> None:
        """Gives a plan back until `until`; the tick takes it up again."""
        self._move(
            plan,
            PlanStatus.WAITING,
            next_attempt_at=until,
            lease_until=None,
            attempts=plan.attempts + 1,
            reason=reason,
        )

    def leased(self, workload_id: uuid.UUID, now: datetime) -> ActionPlan | None:
        """The plan of a workload that is being executed right now, if any."""
        statement = (
            sa.select(action_plans)
            .where(
                action_plans.c.workload_id == workload_id,
                action_plans.c.status == PlanStatus.APPLYING,
                action_plans.c.lease_until > now,
            )
            .order_by(action_plans.c.lease_until.desc(), action_plans.c.id)
            .limit(1)
        )
        row = self.connection.execute(statement).one_or_none()
        return None if row is None else _plan(row)

    def take_due(self, now: datetime, until: datetime, limit: int) -> list[ActionPlan]:
        """Plans whose time has come, oldest first: whose cluster was away, whose execution was cut off, or whose last
        announcement nobody acted on.

        They are not due again before `until`. Approved plans for a cluster that is away wait until it answers; policy
        decides the others all the same. What another transaction works on is left to it, rather than waited for: an
        execution that concludes locks its plan first and the ledger after, the tick the other way round.
        """
        due = (
            sa.select(action_plans.c.id)
            .where(
                action_plans.c.status.in_(ANNOUNCED_PLANS),
                action_plans.c.next_attempt_at <= now,
                sa.or_(action_plans.c.status.in_(UNDECIDED_PLANS), ~sa.exists().where(_IS_AWAY)),
            )
            .order_by(action_plans.c.next_attempt_at, action_plans.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        ids = self.connection.execute(due).scalars().all()
        if not ids:
            return []
        taken = action_plans.update().where(action_plans.c.id.in_(ids)).values(next_attempt_at=until)
        plans = {plan.id: plan for plan in plans_from(self.connection.execute(taken.returning(action_plans)))}
        return [plans[plan_id] for plan_id in ids if plan_id in plans]

    def enqueue(self, plan: ActionPlan, now: datetime, waits_for: Sequence[str], *, reason: str) -> None:
        """Puts a plan into the queue; one that was in it before gets its place back."""
        self._move(
            plan,
            PlanStatus.QUEUED,
            queued_at=plan.queued_at or now,
            next_attempt_at=None,
            waits_for=list(waits_for),
            wait_keys=keys_of(waits_for),
            reason=reason,
        )

    def await_approval(self, plan: ActionPlan, now: datetime, until: datetime, *, reason: str) -> None:
        """Lets a plan await a person's approval until then, counted from when it was first asked for."""
        self._move(
            plan,
            PlanStatus.AWAITING_APPROVAL,
            approval_requested_at=plan.approval.requested_at if plan.approval else now,
            next_attempt_at=until,
            reason=reason,
        )

    def grant_approval(self, plan: ActionPlan, approval: Approval) -> None:
        """Records the approval of a plan that awaits one; the next tick announces the plan."""
        granted = {
            "approved_by": approval.granted_by,
            "approved_at": approval.granted_at,
            "approval_reason": approval.reason,
            "next_attempt_at": approval.granted_at,
        }
        self.connection.execute(_UPDATE, {"plan": plan.id, **granted})

    def look_at_awaiting(self, now: datetime) -> None:
        """Has the tick announce every plan that awaits an approval, such as after a policy has changed.

        Those that another transaction works on are left out: they are being decided.
        """
        self.connection.execute(_LOOK_AT_AWAITING, {"now": now})

    def page(self, wanted: PlanFilter, request: PageRequest) -> Page[ActionPlan]:
        """A page of the plans that fit."""
        columns = action_plans.c
        statement = sa.select(action_plans)
        if wanted.team is not None:
            statement = statement.where(columns.team == wanted.team)
        if wanted.teams is not None:
            statement = statement.where(columns.team.in_(sorted(wanted.teams)))
        if wanted.status is not None:
            statement = statement.where(columns.status == wanted.status)
        if wanted.workload_id is not None:
            statement = statement.where(columns.workload_id == wanted.workload_id)
        return pages.fetch(self.connection, statement, SORTS, request, _plan)

    def newest_decision(self, plan_id: uuid.UUID) -> DecisionRecord | None:
        """The last verdict on a plan; None while there is none."""
        row = self.connection.execute(_NEWEST_DECISION, {"plan": plan_id}).one_or_none()
        return None if row is None else decision_from(row)

    def record_decision(self, record: DecisionRecord) -> None:
        """Keeps the verdict on a plan, with the facts it rested on.

        Raises AlreadyInProgress when another delivery of the event was faster: a plan that stays in the queue may be
        decided by each of two deliveries.
        """
        row = {name: getattr(record, name) for name in _DECISION_COLUMNS}
        row["created_at"] = record.decided_at
        row |= {name: list(row[name]) for name in ("violations", "warnings", "determining", "dry_run")}
        if self.connection.execute(_RECORD, row).rowcount == 0:
            raise AlreadyInProgress(f"plan {record.plan_id} was decided by another delivery of this event meanwhile")

    def decisions_on(self, workload_id: uuid.UUID) -> list[DecisionRecord]:
        """Every verdict on a workload's plans, oldest first."""
        statement = (
            sa.select(policy_decisions)
            .where(policy_decisions.c.workload_id == workload_id)
            .order_by(policy_decisions.c.created_at, policy_decisions.c.id)
        )
        return [decision_from(row) for row in self.connection.execute(statement)]

    def count_decisions(self, since: datetime, until: datetime) -> int:
        """How many verdicts were reached between these moments."""
        statement = sa.select(sa.func.count()).where(policy_decisions.c.created_at.between(since, until))
        return int(self.connection.execute(statement.select_from(policy_decisions)).scalar_one())

    def decisions_between(self, since: datetime, until: datetime, request: PageRequest) -> Page[DecisionRecord]:
        """A page of the verdicts between these moments, sorted by `createdAt`."""
        statement = sa.select(policy_decisions).where(policy_decisions.c.created_at.between(since, until))
        sorts = {"createdAt": (policy_decisions.c.created_at, policy_decisions.c.id)}
        return pages.fetch(self.connection, statement, sorts, request, decision_from)

    def _end(self, plan: ActionPlan, to: PlanStatus, reason: str) -> None:
        """The plan then waits for nothing, and nobody holds it."""
        self._move(plan, to, reason=reason, next_attempt_at=None, lease_until=None)

    def _move(self, plan: ActionPlan, to: PlanStatus, **values: object) -> None:
        """Raises IllegalTransition for a step that the lifecycle's table does not have."""
        status = PLAN_STATUSES.advance(plan.status, to)
        self.connection.execute(_UPDATE, {"plan": plan.id, "status": status, **values})


def plans_from(rows: Iterable[Row]) -> Iterator[ActionPlan]:
    """The plans of a page that can be read."""
    return readable(rows, _plan)


def _plan(row: Row) -> ActionPlan:
    try:
        return ActionPlan(
            id=row.id,
            workload_id=row.workload_id,
            generation=row.generation,
            source=PlanSource(row.source),
            decision=read_stored(Decision, row.decision),
            sku=row.sku,
            amounts=amounts_from(row.amounts),
            surge=amounts_from(row.surge),
            status=PlanStatus(row.status),
            next_attempt_at=row.next_attempt_at,
            lease_until=row.lease_until,
            attempts=row.attempts,
            executions=row.executions,
            reason=row.reason,
            priority=row.priority,
            queued_at=row.queued_at,
            overtaken=row.overtaken,
            waits_for=tuple(row.waits_for),
            team=row.team,
            proposed_by=row.proposed_by,
            approval=_approval(row),
            created_at=row.created_at,
            traceparent=row.traceparent,
        )
    except NOT_UNDERSTOOD as error:
        raise unreadable(f"plan {row.id} of workload {row.workload_id}", error) from error


def _approval(row: Row) -> Approval | None:
    if row.approval_requested_at is None:
        return None
    return Approval(row.approval_requested_at, row.approved_by, row.approved_at, row.approval_reason)


def decision_from(row: Row) -> DecisionRecord:
    """A verdict of the table policy_decisions."""
    return DecisionRecord(
        id=row.id,
        plan_id=row.plan_id,
        workload_id=row.workload_id,
        approved=row.approved,
        violations=tuple(row.violations),
        warnings=tuple(row.warnings),
        determining=tuple(row.determining),
        dry_run=tuple(row.dry_run),
        facts=row.facts,
        duration_us=row.duration_us,
        decided_at=row.created_at,
    )


# Built once: putting a statement together costs more than PostgreSQL needs to answer it.

SORTS = {"createdAt": (action_plans.c.created_at, action_plans.c.id)}
_NEWEST_DECISION = (
    sa.select(policy_decisions)
    .where(policy_decisions.c.plan_id == sa.bindparam("plan"))
    .order_by(policy_decisions.c.created_at.desc(), policy_decisions.c.id)
    .limit(1)
)
_INSERT = insert(action_plans).on_conflict_do_nothing(index_elements=["id"])
_GET = sa.select(action_plans).where(action_plans.c.id == sa.bindparam("plan"))
_GET_MANY = sa.select(action_plans).where(any_of(action_plans.c.id, "ids"))
_IS_ITS_CLUSTER = clusters.c.name == action_plans.c.decision["cluster"].astext
_IS_AWAY = sa.and_(_IS_ITS_CLUSTER, clusters.c.away_until.is_not(None))
_GET_WITH_CLUSTER = (
    sa.select(
        action_plans,
        *(clusters.c[name] for name in ("away_until", "away_reason", "products")),
        clusters.c.state.label("cluster_state"),
        excluded_gpus_of(clusters.c.name),
    )
    .outerjoin_from(action_plans, clusters, _IS_ITS_CLUSTER)
    .where(action_plans.c.id == sa.bindparam("plan"))
)
_POLICIES_HELD = sa.select(sa.func.pg_advisory_xact_lock_shared(POLICY_SET_LOCK).label("locked")).subquery()
_OTHERS = action_plans.alias()
# As in the condition of the index: PostgreSQL has to see that it is the same.
_SET_ASIDE: list[sa.ColumnElement[str]] = [sa.literal_column(f"'{status.value}'") for status in SET_ASIDE_PLANS]
_OTHERS_SET_ASIDE = sa.select(_OTHERS.c.id).where(
    _OTHERS.c.workload_id == sa.bindparam("workload"),
    _OTHERS.c.status.in_(_SET_ASIDE),
    _OTHERS.c.id != sa.bindparam("plan"),
)
_GET_TO_DECIDE = sa.select(
    _POLICIES_HELD.c.locked, action_plans, sa.func.array(_OTHERS_SET_ASIDE.scalar_subquery()).label("queued")
).select_from(_POLICIES_HELD.outerjoin(action_plans, action_plans.c.id == sa.bindparam("plan")))
_UPDATE = action_plans.update().where(action_plans.c.id == sa.bindparam("plan"))
_AWAITING = sa.select(action_plans.c.id).where(action_plans.c.status == PlanStatus.AWAITING_APPROVAL)
_LOOK_AT_AWAITING = (
    action_plans.update()
    .where(action_plans.c.id.in_(_AWAITING.with_for_update(skip_locked=True)))
    .values(next_attempt_at=sa.bindparam("now"))
)
_LEASE_END = sa.func.clock_timestamp() + sa.bindparam("length", type_=sa.Interval)
_LEASE = _UPDATE.values(
    status=PlanStatus.APPLYING,
    lease_until=_LEASE_END,
    next_attempt_at=_LEASE_END,
    executions=action_plans.c.executions + 1,
).returning(action_plans.c.lease_until, action_plans.c.next_attempt_at, action_plans.c.executions)
_RENEW = (
    _UPDATE.where(
        action_plans.c.status == PlanStatus.APPLYING,
        action_plans.c.executions == sa.bindparam("number"),
        action_plans.c.lease_until > sa.func.clock_timestamp(),
    )
).values(lease_until=_LEASE_END, next_attempt_at=_LEASE_END)
_DECISION_COLUMNS = (
    *("id", "plan_id", "workload_id", "approved", "violations", "warnings", "determining", "dry_run", "facts"),
    "duration_us",
)
_RECORD = insert(policy_decisions).on_conflict_do_nothing(index_elements=["id"])
