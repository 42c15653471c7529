"""Applied revisions: read, and moved from state to state. See shared.store.objects for their objects on clusters."""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared import tracing
from shared.models.amounts import NOTHING
from shared.models.deployment import Deployment
from shared.models.lifecycle import LIVE_REVISIONS, REVISION_STATUSES, WITHDRAWN_REVISIONS, RevisionStatus
from shared.store.revisions import REACHABLE, SUSPECTABLE, may_be_present, read_revisions, revision_columns
from shared.store.rows import any_of
from shared.store.tables import DOUBTFUL, action_plans, deployments

# Built once: putting it together costs more than PostgreSQL needs to answer it.
_LIVE = (
    sa.select(deployments)
    .where(deployments.c.workload_id == sa.bindparam("workload"), deployments.c.status.in_(LIVE_REVISIONS))
    .order_by(deployments.c.revision)
)


def _newest(condition: Callable[[sa.FromClause], sa.ColumnElement[bool]]) -> sa.ScalarSelect[int]:
    """The newest revision of the same workload that meets a condition, or 0."""
    other = deployments.alias()
    newest = sa.select(sa.func.coalesce(sa.func.max(other.c.revision), 0))
    return newest.where(other.c.workload_id == deployments.c.workload_id, condition(other)).scalar_subquery()


def _is_due(before: datetime) -> sa.ColumnElement[bool]:
    """Whether a revision that could not be verified has been left alone for long enough: 2 s, 4 s, up to an hour."""
    delay = sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.func.least(sa.func.power(2.0, deployments.c.failures), 3600.0))
    return sa.or_(deployments.c.failures == 0, deployments.c.observed_at + delay <= before)


_INSERT = insert(deployments).on_conflict_do_nothing(index_elements=["workload_id", "revision"])
_HAS_ID = deployments.c.id == sa.bindparam("deployment")
_HAS_ONE_OF_IDS = any_of(deployments.c.id, "ids")
_GET = sa.select(deployments).where(_HAS_ID)
_GET_MANY = sa.select(deployments).where(_HAS_ONE_OF_IDS).order_by(deployments.c.id)
_GET_REACHABLE = _GET_MANY.where(REACHABLE)
_UPDATE = deployments.update().where(_HAS_ID)
_UPDATE_MANY = deployments.update().where(_HAS_ONE_OF_IDS)
_SET_ASIDE = _UPDATE.values(failures=deployments.c.failures + 1)
_NOW = sa.bindparam("now", type_=sa.DateTime(timezone=True))
_FULL_AT = sa.func.greatest(sa.func.coalesce(deployments.c.notice_budget_full_at, _NOW), _NOW)
_SPEND_NOTICES = (
    deployments.update()
    .where(_HAS_ONE_OF_IDS, sa.bindparam("latest", type_=sa.DateTime(timezone=True)) >= _FULL_AT)
    .values(notice_budget_full_at=_FULL_AT + sa.bindparam("interval", type_=sa.Interval))
    .returning(deployments.c.id)
)

# The text of the index ix_deployments_doubtful, so that it serves the query.
_DOUBTFUL = sa.text(f"({DOUBTFUL})")


@dataclass(frozen=True)
class DeploymentRows:
    """Deployments (applied revisions), inside one transaction."""

    connection: sa.Connection

    def add(self, deployment: Deployment) -> None:
        """Inserts a revision; an existing one keeps what it was."""
        reference = deployment.reference
        values = {
            "id": deployment.id,
            "workload_id": deployment.workload_id,
            "revision": deployment.revision,
            "generation": deployment.generation,
            "plan_id": deployment.plan_id,
            "cluster": deployment.cluster,
            "kind": reference.kind,
            "namespace": reference.namespace,
            "name": reference.name,
            "manifest": deployment.manifest,
            "sku": deployment.sku,
            "amounts": deployment.amounts.as_json(),
            "rollback_of": deployment.rollback_of,
            "deadline": deployment.deadline,
            "bake": deployment.bake,
            "status": deployment.status,
            "traceparent": tracing.current_traceparent(),
        }
        self.connection.execute(_INSERT, values)

    def get(self, deployment_id: uuid.UUID) -> Deployment | None:
        return next(read_revisions(self.connection.execute(_GET, {"deployment": deployment_id})), None)

    def get_many(self, deployment_ids: Collection[uuid.UUID]) -> list[Deployment]:
        """In the order of their ids."""
        return list(read_revisions(self.connection.execute(_GET_MANY, {"ids": list(deployment_ids)})))

    def of_plan(self, plan_id: uuid.UUID) -> Deployment | None:
        """The revision that a plan led to, if its execution has begun."""
        return self._one(deployments.c.plan_id == plan_id)

    def revision(self, workload_id: uuid.UUID, revision: int) -> Deployment | None:
        return self._one(deployments.c.workload_id == workload_id, deployments.c.revision == revision)

    def of_workload(self, workload_id: uuid.UUID) -> list[Deployment]:
        """Every revision of a workload, oldest first."""
        return self._many(
            sa.select(deployments).where(deployments.c.workload_id == workload_id).order_by(deployments.c.revision)
        )

    def live(self, workload_id: uuid.UUID) -> list[Deployment]:
        """The revisions that may have running pods on a cluster, oldest first."""
        return list(read_revisions(self.connection.execute(_LIVE, {"workload": workload_id})))

    def live_of(self, workload_ids: Collection[uuid.UUID], *, manifests: bool = True) -> list[Deployment]:
        """The live revisions of several workloads, each one's oldest first. manifests: False leaves them empty."""
        return self._many(
            sa.select(*revision_columns(manifests=manifests))
            .where(deployments.c.workload_id.in_(workload_ids), deployments.c.status.in_(LIVE_REVISIONS))
            .order_by(deployments.c.workload_id, deployments.c.revision)
        )

    def ended_since(self, plan_ids: Collection[uuid.UUID]) -> list[Deployment]:
        """Revisions that ended after one of these plans of their workload was made: it may have counted them.

        Their manifests are left out.
        """
        made = sa.exists().where(
            action_plans.c.id.in_(plan_ids),
            action_plans.c.workload_id == deployments.c.workload_id,
            action_plans.c.created_at <= deployments.c.updated_at,
        )
        return self._many(
            sa.select(*revision_columns(manifests=False))
            .where(made, deployments.c.status.not_in(LIVE_REVISIONS))
            .order_by(deployments.c.workload_id, deployments.c.revision)
        )

    def replaced(self, workload_ids: Collection[uuid.UUID]) -> list[Deployment]:
        """The revisions that others have taken the place of since a revision of their workload last was healthy.

        Until one of those others is, some of their pods may be there. Their manifests are left out.
        """
        return self._many(
            sa.select(*revision_columns(manifests=False))
            .where(
                deployments.c.workload_id.in_(workload_ids),
                deployments.c.status == RevisionStatus.SUPERSEDED,
                deployments.c.revision >= _newest(lambda one: one.c.healthy_at.is_not(None)),
                deployments.c.revision > _newest(lambda one: one.c.status.in_(WITHDRAWN_REVISIONS)),
            )
            .order_by(deployments.c.workload_id, deployments.c.revision)
        )

    def present(self, workload_id: uuid.UUID) -> list[Deployment]:
        """The revisions that may have an object on a cluster, running or not, oldest first."""
        return self._many(
            sa.select(deployments)
            .where(deployments.c.workload_id == workload_id, may_be_present())
            .order_by(deployments.c.revision)
        )

    def last_good(self, workload_id: uuid.UUID, before: int) -> Deployment | None:
        """The newest revision before `before` that was healthy once: what a rollback goes back to.

        What ran before the workload was last removed does not count: it may have been of another kind, elsewhere.
        """
        found = self._many(
            sa.select(deployments)
            .where(
                deployments.c.workload_id == workload_id,
                deployments.c.revision < before,
                deployments.c.revision > _newest(lambda one: one.c.status.in_(WITHDRAWN_REVISIONS)),
                deployments.c.status != RevisionStatus.FAILED,
                deployments.c.healthy_at.is_not(None),
            )
            .order_by(deployments.c.revision.desc())
            .limit(1)
        )
        return found[0] if found else None

    def reachable(self, deployment_ids: Collection[uuid.UUID]) -> list[Deployment]:
        """Those of several revisions whose cluster answers, as far as is known, in the order of their ids."""
        return list(read_revisions(self.connection.execute(_GET_REACHABLE, {"ids": list(deployment_ids)})))

    def oldest_observed(self, statuses: Sequence[RevisionStatus], before: datetime, limit: int) -> list[Deployment]:
        """The revisions in these states that were not looked at since `before`, longest ago first."""
        return self._many(
            sa.select(deployments)
            .where(deployments.c.status.in_(statuses), deployments.c.observed_at <= before, _is_due(before), REACHABLE)
            .order_by(deployments.c.observed_at, deployments.c.id)
            .limit(limit)
        )

    def doubtful(self, before: datetime, limit: int) -> list[Deployment]:
        """Revisions that need a closer look and were not looked at since `before`, longest ago first.

        They are degraded; or healthy or recovering, and not ready for long enough; or a sweep has put them under
        suspicion.
        """
        doubtful = sa.select(deployments).where(
            _DOUBTFUL, deployments.c.observed_at <= before, _is_due(before), REACHABLE
        )
        return self._many(doubtful.order_by(deployments.c.observed_at, deployments.c.id).limit(limit))

    def suspect(self, deployment_ids: Collection[uuid.UUID], now: datetime) -> None:
        """Puts revisions under suspicion: the tick looks at them. One that is suspected already stays as it is."""
        statement = deployments.update().where(deployments.c.id.in_(deployment_ids), *SUSPECTABLE)
        self.connection.execute(statement.values(suspected_at=now))

    def start_verifying(
        self,
        deployment: Deployment,
        now: datetime,
        deadline: datetime,
        *,
        uid: str | None = None,
        applied_at: datetime | None = None,
        digest: str = "",
    ) -> None:
        """Gives a revision to verification. uid, digest: of the object that was applied, where that is known."""
        applied: dict[str, object] = {"uid": uid} if uid is not None else {}
        applied |= {"applied_at": applied_at} if applied_at is not None else {}
        applied |= {"object_digest": digest} if digest else {}
        values = {"observed_at": now, "deadline_at": deadline, **applied}
        self._move(deployment, RevisionStatus.VERIFYING, **values)

    def observed(self, deployment_ids: Collection[uuid.UUID], now: datetime) -> None:
        """Remembers that revisions were observed and are as before."""
        if deployment_ids:
            changed = {"observed_at": now, "suspected_at": None, "failures": 0}
            self.connection.execute(_UPDATE_MANY, {"ids": list(deployment_ids), **changed})

    def spend_notices(
        self, deployment_ids: Collection[uuid.UUID], now: datetime, interval: timedelta, most: int
    ) -> set[uuid.UUID]:
        """Those of several revisions that may be observed because of a notice, which is counted.

        That is `most` times in a row, and once in `interval` in the long run.
        """
        values = {"ids": list(deployment_ids), "now": now, "latest": now + interval * (most - 1), "interval": interval}
        return set(self.connection.execute(_SPEND_NOTICES, values).scalars())

    def set_aside(self, deployment: Deployment, now: datetime, reason: str) -> None:
        """Remembers that a revision could not be verified: it is left alone for twice as long as the time before."""
        values = {"observed_at": now, "reason": reason}
        self.connection.execute(_SET_ASIDE, {"deployment": deployment.id, **values})

    def record_readiness(
        self, deployment: Deployment, now: datetime, ready_since: datetime | None, reason: str | None = None
    ) -> None:
        """Remembers since when a revision is ready, None when it is not, and why; None keeps the reason."""
        values = {"reason": reason} if reason is not None else {}
        self._update(deployment, observed_at=now, ready_since=ready_since, **values)

    def mark_healthy(self, deployment: Deployment, now: datetime, ready_since: datetime | None, reason: str) -> None:
        """A revision is healthy: a rollback may go back to it from now on."""
        values = {"healthy_at": now, "ready_since": ready_since, "reason": reason}
        self._move(deployment, RevisionStatus.HEALTHY, observed_at=now, **values)

    def mark_degraded(self, deployment: Deployment, now: datetime, reason: str) -> None:
        """A revision that was healthy has been found not ready."""
        self._move(deployment, RevisionStatus.DEGRADED, observed_at=now, ready_since=None, reason=reason)

    def mark_completed(self, deployment: Deployment, now: datetime, reason: str) -> None:
        """A Job has done its work."""
        self._move(deployment, RevisionStatus.COMPLETED, observed_at=now, reason=reason)

    def mark_unhealthy(self, deployment: Deployment, now: datetime, reason: str) -> None:
        """A revision did not become healthy; its pods may still be there."""
        self._move(deployment, RevisionStatus.UNHEALTHY, observed_at=now, ready_since=None, reason=reason)

    def mark_failed(self, deployment: Deployment, now: datetime, reason: str, *, gone: bool = False) -> None:
        """A revision holds nothing any more. gone: its object is not there, and nothing is to be deleted."""
        values = {"uid": None} if gone else {}
        self._move(deployment, RevisionStatus.FAILED, observed_at=now, ready_since=None, reason=reason, **values)

    def mark_refused(self, deployment: Deployment, reason: str) -> None:
        """The cluster refused a revision: it never came to be there."""
        self._move(deployment, RevisionStatus.FAILED, reason=reason)

    def start_removal(self, deployment: Deployment, now: datetime, *, holds_nothing: bool = False) -> None:
        """The object was deleted, and its pods are ending. holds_nothing: its pods had ended before."""
        values = {"amounts": NOTHING.as_json()} if holds_nothing else {}
        self._move(deployment, RevisionStatus.REMOVING, observed_at=now, **values)

    def mark_removed(self, deployment: Deployment, now: datetime) -> None:
        """The object and its pods were observed gone."""
        self._move(deployment, RevisionStatus.REMOVED, observed_at=now)

    def _move(self, deployment: Deployment, to: RevisionStatus, **values: object) -> None:
        """Raises IllegalTransition for a step that the lifecycle's table does not have.

        What happens to a revision after its verification has causes of its own: its trace ends here.
        """
        if deployment.traceparent is not None and deployment.status is RevisionStatus.VERIFYING:
            values["traceparent"] = None
        self._update(deployment, status=REVISION_STATUSES.advance(deployment.status, to), **values)

    def _update(self, deployment: Deployment, **values: object) -> None:
        changed = {"failures": 0, "suspected_at": None, **values}
        self.connection.execute(_UPDATE, {"deployment": deployment.id, **changed})

    def end_with_cluster(self, workload_ids: Collection[uuid.UUID], cluster: str, now: datetime) -> None:
        """Ends whatever these workloads may have on a cluster that was lost."""
        self.connection.execute(
            deployments.update()
            .where(deployments.c.workload_id.in_(workload_ids), deployments.c.cluster == cluster, may_be_present())
            .values(
                status=RevisionStatus.REMOVED,
                reason="ClusterLost",
                observed_at=now,
                suspected_at=None,
                updated_at=sa.func.now(),
            )
        )

    def supersede_before(self, workload_id: uuid.UUID, revision: int, but: Collection[uuid.UUID] = ()) -> None:
        """Retires the revisions that a newer one has replaced, but for some."""
        self.connection.execute(
            deployments.update()
            .where(
                deployments.c.workload_id == workload_id,
                deployments.c.revision < revision,
                deployments.c.id.not_in(but),
                may_be_present(),
            )
            .values(status=RevisionStatus.SUPERSEDED, suspected_at=None, updated_at=sa.func.now())
        )

    def _one(self, *conditions: sa.ColumnElement[bool]) -> Deployment | None:
        found = self._many(sa.select(deployments).where(*conditions))
        return found[0] if found else None

    def _many(self, statement: sa.Select[tuple[object, ...]]) -> list[Deployment]:
        return list(read_revisions(self.connection.execute(statement)))
