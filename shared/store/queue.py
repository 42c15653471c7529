"""The queue's view of action plans: those that wait, in their order, and by what they wait for.

`wait_keys` is made from `waits_for` whenever that is written, and has an index; see shared.policy.resources.keys_of.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from shared.models.lifecycle import SET_ASIDE_PLANS, PlanStatus
from shared.models.page import Page, PageRequest
from shared.models.plan import ActionPlan
from shared.models.reservation import LineFilter
from shared.policy.resources import keys_of
from shared.store.plans import plans_from
from shared.store.tables import action_plans, queue_cursor, workloads

_ONLY_ROW = 1


@dataclass(frozen=True)
class PlanPage:
    """Some plans of the queue in its order, the newest of their workloads or not. last: where the next page begins
    after; None when there is none.
    """

    plans: list[ActionPlan]
    last: uuid.UUID | None


@dataclass(frozen=True)
class QueueCursor:
    """How far the whole queue has been looked through. after: the last plan; None at its head.

    wanted: whether somebody asked for it, and the end is not reached. moved_at: when the last page was.
    """

    after: uuid.UUID | None = None
    wanted: bool = False
    moved_at: datetime | None = None


@dataclass(frozen=True)
class QueueRows:
    """The queue, inside one transaction."""

    connection: sa.Connection

    def first(self, limit: int) -> list[ActionPlan]:
        """The first plans of the queue, in its order. A plan that is not its workload's newest has left it."""
        return list(plans_from(self.connection.execute(_FIRST, {"most": limit})))

    def page(self, limit: int, after: uuid.UUID | None, keys: Collection[str] | None = None) -> PlanPage:
        """The plans that follow the place of another, or the first ones; those that wait for one of `keys`, if given.

        It is a place in the order: the plan may have left the queue since.
        """
        statement = _IN_ORDER.where(_QUEUED)
        if keys is not None:
            statement = statement.where(_waits_for(sa.cast(sa.literal(sorted(keys), ARRAY(sa.Text)), ARRAY(sa.Text))))
        if after is not None and (place := self.connection.execute(_PLACE, {"plan": after}).one_or_none()):
            statement = statement.where(_is_behind(place.priority, place.queued_at, after))
        rows = self.connection.execute(statement.limit(limit + 1)).all()
        return PlanPage(list(plans_from(rows[:limit])), rows[limit - 1].id if len(rows) > limit else None)

    def listed(self, wanted: LineFilter, request: PageRequest) -> Page[ActionPlan]:
        """A page of the plans that are their workloads' newest, in the order of the queue.

        The key of a row has its place in the list before the columns that the queue is ordered by: a page counts on.
        """
        statement = sa.select(action_plans).where(_QUEUED, _IS_FOUND_NEWEST)
        if wanted.team is not None:
            statement = statement.where(_COLUMNS.team == wanted.team)
        if wanted.teams is not None:
            statement = statement.where(_COLUMNS.team.in_(sorted(wanted.teams)))
        place, limit, backwards = 0, request.limit, request.descending
        if request.after is None:
            rows = self._rows(statement, limit + 1, backwards)
        else:
            place, priority, queued_at, plan_id = request.after
            time, shown_time = sa.tuple_(_COLUMNS.queued_at, _COLUMNS.id), sa.tuple_(sa.literal(queued_at), plan_id)
            following, other = (
                (time < shown_time, _COLUMNS.priority > priority)
                if backwards
                else (time > shown_time, _COLUMNS.priority < priority)
            )
            # Two ranges of the index: the rest of the same priority, and the other priorities.
            rows = self._rows(statement.where(_COLUMNS.priority == priority, following), limit + 1, backwards)
            if len(rows) <= limit:
                rows += self._rows(statement.where(other), limit + 1 - len(rows), backwards)
        shown = rows[:limit]
        more = len(rows) > limit
        last = (place + len(shown), shown[-1].priority, shown[-1].queued_at, shown[-1].id) if more else None
        return Page(list(plans_from(shown)), last)

    def _rows(self, statement: sa.Select[Any], limit: int, backwards: bool) -> list[sa.Row[Any]]:
        order: tuple[sa.ColumnElement[Any], ...] = (_COLUMNS.priority.desc(), _COLUMNS.queued_at, _COLUMNS.id)
        if backwards:
            order = (_COLUMNS.priority, _COLUMNS.queued_at.desc(), _COLUMNS.id.desc())
        return list(self.connection.execute(statement.order_by(*order).limit(limit)))

    def anyone(self) -> bool:
        """Whether any plan waits, for room or for a person's approval."""
        return bool(self.connection.execute(_ANYONE).scalar_one())

    def anyone_waits_for(self, keys: Collection[str]) -> bool:
        """Whether any plan waits for one of these."""
        return bool(self.connection.execute(_ANYONE_WAITS, {"keys": sorted(keys)}).scalar_one())

    def waited_for(self, keys: Collection[str]) -> set[str]:
        """All that those plans wait for which wait for one of these."""
        return set(self.connection.execute(_WAITED_FOR, {"keys": sorted(keys)}).scalars())

    def starved_ahead(
        self,
        plan: ActionPlan,
        now: datetime,
        keys: Collection[str],
        overtaken: int,
        passed: Collection[uuid.UUID] = (),
    ) -> tuple[ActionPlan | None, bool]:
        """The first plan ahead of another that waits for one of `keys` and was overtaken so often, but for `passed`.

        And whether any plan ahead waits for one of them, however often it was overtaken.
        """
        values = {**_place(plan, now), "keys": sorted(keys), "overtaken": overtaken, "passed": list(passed)}
        row = self.connection.execute(_STARVED_AHEAD, values).one()
        return next(iter(plans_from([row] if row.id else [])), None), row.contended

    def count_overtaking(self, plan: ActionPlan, now: datetime, keys: Collection[str]) -> None:
        """Counts that a plan was let past those ahead of it that wait for one of `keys`.

        Their rows are locked in one order, whoever counts which.
        """
        self.connection.execute(_COUNT_OVERTAKING, {**_place(plan, now), "keys": sorted(keys)})

    def update_entry(self, plan: ActionPlan, waits_for: Sequence[str], *, overtaken: int, reason: str) -> None:
        """Keeps what a plan in the queue was found to wait for, unless it has left or was overtaken since it was read.

        Never waits: a row that another transaction has locked is left as it is until the next scan of the queue.
        """
        columns = action_plans.c
        as_read = sa.select(columns.id).where(
            columns.id == plan.id, columns.status == PlanStatus.QUEUED, columns.overtaken == plan.overtaken
        )
        waits = {"waits_for": list(waits_for), "wait_keys": keys_of(waits_for)}
        self.connection.execute(
            action_plans.update()
            .where(columns.id.in_(as_read.with_for_update(key_share=True, skip_locked=True)))
            .values(**waits, overtaken=overtaken, reason=reason, updated_at=sa.func.now())
        )

    def lock(self, plan_ids: Collection[uuid.UUID]) -> list[ActionPlan]:
        """Those of several plans that are in the queue, locked; others skip them."""
        statement = sa.select(action_plans).where(action_plans.c.id.in_(plan_ids), _QUEUED).order_by(action_plans.c.id)
        return list(plans_from(self.connection.execute(statement.with_for_update(skip_locked=True))))

    def want_all(self) -> None:
        """Asks for a look at the whole queue, from its head; the tick begins with it."""
        self.move(QueueCursor(wanted=True))

    def want_rest(self, after: uuid.UUID | None) -> None:
        """Asks for a look at the queue from a place on; where a look at all of it is under way, that goes on."""
        statement = insert(queue_cursor).values(id=_ONLY_ROW, after=after, wanted=True, moved_at=None)
        self.connection.execute(
            statement.on_conflict_do_update(
                index_elements=["id"],
                set_={
                    "after": sa.case((queue_cursor.c.wanted, queue_cursor.c.after), else_=statement.excluded.after),
                    "wanted": True,
                    "moved_at": None,
                },
            )
        )

    def cursor(self) -> QueueCursor:
        """How far the queue has been looked through; nobody else moves it until this transaction ends."""
        row = self.connection.execute(_CURSOR).one_or_none()
        return QueueCursor() if row is None else QueueCursor(row.after, row.wanted, row.moved_at)

    def move(self, cursor: QueueCursor) -> None:
        """Keeps how far the queue has been looked through."""
        values = {"after": cursor.after, "wanted": cursor.wanted, "moved_at": cursor.moved_at}
        statement = insert(queue_cursor).values(id=_ONLY_ROW, **values)
        self.connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


# Built once: putting a statement together costs more than PostgreSQL needs to answer it.

_COLUMNS = action_plans.c
_KEYS = sa.cast(sa.bindparam("keys", type_=ARRAY(sa.Text)), ARRAY(sa.Text))
# As in the condition of the indexes: PostgreSQL has to see that it is the same.
_QUEUED = _COLUMNS.status == sa.literal_column(f"'{PlanStatus.QUEUED.value}'")
_IS_NEWEST = sa.exists().where(workloads.c.id == _COLUMNS.workload_id, workloads.c.plan_id == _COLUMNS.id)
# For the first plans of many. PostgreSQL makes a join of the condition above, and takes its columns for independent:
# it expects one row, and sorts the whole queue. With OFFSET it looks a workload up for each plan, in the queue's order.
_IS_FOUND_NEWEST = sa.exists(
    sa.select(sa.literal(1))
    .where(workloads.c.id == _COLUMNS.workload_id, workloads.c.plan_id == _COLUMNS.id)
    .correlate(action_plans)
    .offset(0)
)
_IN_ORDER = sa.select(action_plans).order_by(_COLUMNS.priority.desc(), _COLUMNS.queued_at, _COLUMNS.id)
_PLACE = sa.select(_COLUMNS.priority, _COLUMNS.queued_at).where(
    _COLUMNS.id == sa.bindparam("plan"), _COLUMNS.queued_at.is_not(None)
)
_FIRST = _IN_ORDER.where(_QUEUED, _IS_FOUND_NEWEST).limit(sa.bindparam("most", type_=sa.Integer))
_SET_ASIDE = _COLUMNS.status.in_([sa.literal_column(f"'{status.value}'") for status in SET_ASIDE_PLANS])
_ANYONE = sa.select(sa.exists().where(_SET_ASIDE))
_CURSOR = sa.select(queue_cursor).where(queue_cursor.c.id == _ONLY_ROW).with_for_update()


def _waits_for(keys: sa.ColumnElement[Sequence[str]]) -> sa.ColumnElement[bool]:
    waits: sa.ColumnElement[bool] = _COLUMNS.wait_keys.overlap(keys)
    return waits


def _is_behind(priority: int, queued_at: datetime, plan_id: uuid.UUID) -> sa.ColumnElement[bool]:
    """Whether a plan comes after a place in the order of the queue."""
    later = sa.tuple_(_COLUMNS.queued_at, _COLUMNS.id) > sa.tuple_(sa.literal(queued_at), plan_id)
    return sa.or_(_COLUMNS.priority < priority, sa.and_(_COLUMNS.priority == priority, later))


def _place(plan: ActionPlan, now: datetime) -> dict[str, object]:
    """A plan's place; one that is not in the queue comes last of its priority."""
    return {"ahead_of_priority": plan.priority, "ahead_of_time": plan.queued_at or now, "ahead_of": plan.id}


def _ahead() -> sa.ColumnElement[bool]:
    """Whether a plan comes before a place in the order of the queue, and waits for one of the keys."""
    priority: sa.BindParameter[int] = sa.bindparam("ahead_of_priority", type_=sa.Integer)
    place = sa.tuple_(
        sa.bindparam("ahead_of_time", type_=_COLUMNS.queued_at.type), sa.bindparam("ahead_of", type_=sa.Uuid)
    )
    earlier = sa.tuple_(_COLUMNS.queued_at, _COLUMNS.id) < place
    ahead = sa.or_(_COLUMNS.priority > priority, sa.and_(_COLUMNS.priority == priority, earlier))
    return sa.and_(_QUEUED, ahead, _waits_for(_KEYS))


_ANYONE_WAITS = sa.select(sa.exists().where(_QUEUED, _waits_for(_KEYS)))
_WAITED_FOR = sa.select(sa.func.unnest(_COLUMNS.wait_keys)).where(_QUEUED, _waits_for(_KEYS)).distinct()
_STARVED = (
    _IN_ORDER.where(
        _ahead(),
        _COLUMNS.overtaken >= sa.bindparam("overtaken", type_=sa.Integer),
        _COLUMNS.id != sa.all_(sa.bindparam("passed", type_=ARRAY(sa.Uuid))),
        _IS_NEWEST,
    )
    .limit(1)
    .subquery()
)
_ONE = sa.select(sa.exists().where(_ahead()).label("contended")).subquery()
_STARVED_AHEAD = sa.select(_ONE.c.contended, _STARVED).select_from(_ONE.outerjoin(_STARVED, sa.true()))
# A plan that has left the queue for a newer one is not counted: the decision on that one ends it right now.
_OVERTAKEN = sa.select(_COLUMNS.id).where(_ahead(), _IS_NEWEST).order_by(_COLUMNS.id)
_COUNT_OVERTAKING = (
    action_plans.update()
    .where(_COLUMNS.id.in_(_OVERTAKEN.with_for_update(key_share=True)))
    .values(overtaken=_COLUMNS.overtaken + 1, updated_at=sa.func.now())
)
