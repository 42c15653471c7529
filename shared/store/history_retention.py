"""Deletes plans, policy decisions and revisions that are over and old; the audit log keeps what happened.

1. A plan goes when it has ended and nothing names it: no workload, no reservation, no revision.
2. A decision goes when its plan is gone.
3. Of a workload the oldest revisions go, up to the first that stays: none is left whose successors are gone. These
   stay: what may be on a cluster, the newest ten, and what a rollback may go back to or a rollout may count. While a
   plan of the workload has not ended, all of its revisions stay.

Each table is walked by its key, a page at a time, and then from its beginning again. A cursor row says where the walk
goes on. Whoever has it locked does the page; another tick leaves it alone, so no two work on the same page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from shared.models.lifecycle import WITHDRAWN_REVISIONS, PlanStatus, RevisionStatus
from shared.models.retention import NEWEST_REVISIONS
from shared.store.revisions import may_be_present
from shared.store.rows import one_of
from shared.store.tables import action_plans, deployments, policy_decisions, reservations, retention_cursors, workloads

if TYPE_CHECKING:
    from datetime import timedelta

_OVER = (PlanStatus.DENIED, PlanStatus.EXECUTED, PlanStatus.FAILED, PlanStatus.SUPERSEDED)


def forget(connection: sa.Connection, age: timedelta, limit: int) -> None:
    """Looks at the next page of each table, at most `limit` rows, and deletes what has been over for `age`."""
    for walk in _WALKS:
        walk.forget_page(connection, age, limit)


@dataclass(frozen=True)
class _Walk:
    """How a table is walked. key: the columns of its order, each with the cursor's. may_go: what is looked at.

    goes: those of the rows `:ids` that go.
    """

    table: sa.Table
    key: tuple[tuple[sa.Column[Any], sa.Column[Any]], ...]
    may_go: tuple[sa.ColumnElement[bool], ...]
    goes: sa.Select[Any]

    def forget_page(self, connection: sa.Connection, age: timedelta, limit: int) -> None:
        """Deletes from the page at the cursor, and moves the cursor behind it; at the end, to the beginning."""
        name = self.table.name
        connection.execute(_ADD_CURSOR, {"name": name})
        cursor = connection.execute(_CURSOR, {"name": name}).mappings().one_or_none()
        if cursor is None:
            return  # another tick is at this page
        page = connection.execute(self._page(cursor, limit), {"age": age}).mappings().all()
        if page:
            going = one_of(self.table.c.id, self.goes)
            connection.execute(sa.delete(self.table).where(going), {"age": age, "ids": [row["id"] for row in page]})
        last = page[-1] if len(page) == limit else None
        place = {kept.name: None if last is None else last[column.name] for column, kept in self.key}
        statement = retention_cursors.update().where(retention_cursors.c.table_name == name)
        connection.execute(statement.values(**place, updated_at=sa.func.now()))

    def _page(self, cursor: sa.RowMapping, limit: int) -> sa.Select[Any]:
        columns = [column for column, _ in self.key]
        statement = sa.select(self.table.c.id, *columns).where(*self.may_go).order_by(*columns).limit(limit)
        if any(cursor[kept.name] is None for _, kept in self.key):
            return statement
        place = (sa.literal(cursor[kept.name], kept.type) for _, kept in self.key)
        return statement.where(sa.tuple_(*columns) > sa.tuple_(*place))


_IDS = sa.bindparam("ids", type_=ARRAY(sa.Uuid))
_BEFORE = sa.func.now() - sa.bindparam("age", type_=sa.Interval)


def _plans_that_go() -> sa.Select[Any]:
    plan = action_plans.c
    of_workload = sa.or_(workloads.c.plan_id == plan.id, workloads.c.queued_plan_id == plan.id)
    named = (
        sa.exists().where(workloads.c.id == plan.workload_id, of_workload),
        sa.exists().where(reservations.c.plan_id == plan.id),
        sa.exists().where(deployments.c.plan_id == plan.id),
    )
    over = (plan.status.in_(_OVER), plan.updated_at < _BEFORE)
    return _locked(plan.id, plan.id == sa.any_(_IDS), *over, *(~one for one in named))


def _decisions_that_go() -> sa.Select[Any]:
    decision = policy_decisions.c
    has_plan = sa.exists().where(action_plans.c.id == decision.plan_id)
    return _locked(decision.id, decision.id == sa.any_(_IDS), ~has_plan)


def _revisions_that_go() -> sa.Select[Any]:
    """Those before the first of their workload that stays, which a window over the page finds.

    The page may begin within a workload. What there is of that before the page has stayed.
    """
    revision = deployments.c
    over = (sa.not_(may_be_present()), revision.updated_at < _BEFORE)
    paged = sa.select(revision.workload_id, sa.func.min(revision.revision).label("first"))
    of_page = paged.where(revision.id == sa.any_(_IDS)).group_by(revision.workload_id).cte("of_page")
    bounds = _bounds(of_page)
    beyond_bound = sa.or_(
        bounds.c.stay,
        revision.revision >= sa.func.coalesce(bounds.c.newest, 0),
        sa.and_(revision.kind != "Job", revision.revision >= bounds.c.needed),
    )
    stays = sa.or_(sa.not_(sa.and_(*over)), beyond_bound)
    so_far = sa.func.bool_or(stays).over(partition_by=revision.workload_id, order_by=revision.revision)
    page = (
        sa.select(revision.id, so_far.label("stays"))
        .join(bounds, bounds.c.workload_id == revision.workload_id)
        .where(revision.id == sa.any_(_IDS))
        .cte("page")
    )
    going = sa.select(page.c.id).where(sa.not_(page.c.stays))
    return _locked(revision.id, revision.id.in_(going), *over)


def _bounds(of_page: sa.CTE) -> sa.CTE:
    """For each workload of the page: whether all stay, and the revisions from which on they do.

    newest: the last but nine, NULL where there are fewer. needed: the newest that was healthy, or was withdrawn: a
    rollback goes back no further, and what is older no rollout counts.
    """
    other = deployments.alias()
    mine = other.c.workload_id == of_page.c.workload_id
    begins_before = sa.exists().where(mine, other.c.revision < of_page.c.first)
    is_planned = sa.exists().where(
        action_plans.c.workload_id == of_page.c.workload_id, action_plans.c.status.not_in(_OVER)
    )
    newest = sa.select(other.c.revision).where(mine).order_by(other.c.revision.desc())
    was_good = sa.and_(other.c.healthy_at.is_not(None), other.c.status != RevisionStatus.FAILED)
    needed = sa.select(sa.func.coalesce(sa.func.max(other.c.revision), 0)).where(
        mine, sa.or_(was_good, other.c.status.in_(WITHDRAWN_REVISIONS))
    )
    return sa.select(
        of_page.c.workload_id,
        sa.or_(begins_before, is_planned).label("stay"),
        newest.offset(NEWEST_REVISIONS - 1).limit(1).scalar_subquery().label("newest"),
        needed.scalar_subquery().label("needed"),
    ).cte("bounds")


def _locked(key: sa.Column[Any], *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The keys of rows that meet the conditions. What another transaction works on is left to it."""
    return sa.select(key).where(*conditions).with_for_update(of=key.table, skip_locked=True)


_CURSOR_OF = retention_cursors.c
_BY_AGE = (_CURSOR_OF.after_moment, _CURSOR_OF.after_id)
_WALKS = (
    _Walk(
        action_plans,
        tuple(zip((action_plans.c.created_at, action_plans.c.id), _BY_AGE, strict=True)),
        (action_plans.c.created_at < _BEFORE,),
        _plans_that_go(),
    ),
    _Walk(
        policy_decisions,
        tuple(zip((policy_decisions.c.created_at, policy_decisions.c.id), _BY_AGE, strict=True)),
        (policy_decisions.c.created_at < _BEFORE,),
        _decisions_that_go(),
    ),
    _Walk(
        deployments,
        (
            (deployments.c.workload_id, _CURSOR_OF.after_id),
            (deployments.c.revision, _CURSOR_OF.after_revision),
        ),
        (),
        _revisions_that_go(),
    ),
)
_NAME = sa.bindparam("name", type_=sa.Text)
# Only where there is none: an insert would wait for whoever moves the cursor.
_ADD_CURSOR = (
    insert(retention_cursors)
    .from_select(["table_name"], sa.select(_NAME).where(~sa.exists().where(_CURSOR_OF.table_name == _NAME)))
    .on_conflict_do_nothing()
)
_CURSOR = sa.select(retention_cursors).where(_CURSOR_OF.table_name == _NAME).with_for_update(skip_locked=True)
