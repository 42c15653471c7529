"""Old plans, decisions and revisions go, a page at a time; whatever anything still needs stays."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from shared.models.amounts import NOTHING
from shared.models.lifecycle import Phase, PlanStatus, RevisionStatus
from shared.store.tables import action_plans, deployments, policy_decisions, reservations, retention_cursors, workloads
from shared.store.unit_of_work import Store
from tests.support.builders import connection_of

KEPT = timedelta(days=400)
OLD = timedelta(days=401)
YOUNG = timedelta(days=399)

HEALTHY, SUPERSEDED, FAILED = RevisionStatus.HEALTHY, RevisionStatus.SUPERSEDED, RevisionStatus.FAILED


@dataclass
class History:
    """The rows of workloads, written past the chain, as old as a test says."""

    store: Store
    owner: uuid.UUID = field(default_factory=uuid.uuid4)

    def workload(self, **named: uuid.UUID) -> None:
        """named: plan_id or queued_plan_id."""
        row = {"team": "search", "namespace": "search", "name": str(self.owner), "generation": 1, "spec": {}}
        row |= {"usd_per_replica_hour": 0, "phase": Phase.HEALTHY, "cluster": "local", "plan_id": uuid.uuid4()}
        self._add(workloads, self.owner, timedelta(), **(row | named))

    def plan(self, status: PlanStatus = PlanStatus.EXECUTED, age: timedelta = OLD) -> uuid.UUID:
        """A plan with a decision on it."""
        plan = uuid.uuid4()
        row = {"workload_id": self.owner, "generation": 1, "source": "user", "decision": {}, "status": status}
        self._add(action_plans, plan, age, **row, amounts=NOTHING.as_json(), surge=NOTHING.as_json())
        documents: dict[str, list[str]] = {name: [] for name in ("violations", "warnings", "determining")}
        decided = {"plan_id": plan, "workload_id": self.owner, "approved": True, "facts": {}, "duration_us": 1}
        self._add(policy_decisions, uuid.uuid4(), age, **decided, **documents)
        return plan

    def reservation(self, plan: uuid.UUID) -> None:
        row = {"workload_id": self.owner, "cluster": "local", "sku": "", "team": "search", "state": "committed"}
        amounts = dict.fromkeys(("replicas", "cpu", "memory", "gpus", "usd_per_hour"), 0)
        self._add(reservations, uuid.uuid4(), OLD, plan_id=plan, **row, **amounts)

    def revisions(
        self,
        *statuses: RevisionStatus,
        healthy: int = 0,
        age: timedelta = OLD,
        kind: str = "Deployment",
        uid: str | None = None,
    ) -> None:
        """From 1 on, each of an executed plan of its own. healthy: the newest that was healthy once."""
        for number, status in enumerate(statuses, 1):
            row = {"workload_id": self.owner, "revision": number, "generation": 1, "plan_id": self.plan(age=age)}
            row |= {"cluster": "local", "kind": kind, "namespace": "search", "name": "web", "uid": uid, "manifest": {}}
            was_healthy = sa.func.now() - age if number <= healthy else None
            amounts = NOTHING.as_json()
            self._add(deployments, uuid.uuid4(), age, **row, amounts=amounts, status=status, healthy_at=was_healthy)

    def forget(self, pages: int = 1, limit: int = 100) -> None:
        for _ in range(pages):
            with self.store.begin() as work:
                work.forget_history(KEPT, limit)

    def plans(self) -> set[uuid.UUID]:
        return set(self._column(action_plans.c.id))

    def decided(self) -> set[uuid.UUID]:
        """The plans on which there is a decision."""
        return set(self._column(policy_decisions.c.plan_id))

    def numbers(self) -> list[int]:
        """The revisions that are left."""
        return sorted(self._column(deployments.c.revision, deployments.c.workload_id == self.owner))

    def _add(self, table: sa.Table, key: uuid.UUID, age: timedelta, **row: Any) -> None:
        kept = {name: sa.func.now() - age for name in ("created_at", "updated_at")}
        with self.store.begin() as work:
            connection_of(work).execute(table.insert().values(id=key, **row, **kept))

    def _column(self, column: sa.Column[Any], *where: sa.ColumnElement[bool]) -> list[Any]:
        with self.store.begin() as work:
            return list(connection_of(work).execute(sa.select(column).where(*where)).scalars())


@pytest.fixture
def history(store: Store) -> History:
    return History(store)


def test_an_old_plan_that_has_ended_goes_with_the_decisions_on_it(history: History) -> None:
    for status in (PlanStatus.DENIED, PlanStatus.EXECUTED, PlanStatus.FAILED, PlanStatus.SUPERSEDED):
        history.plan(status)
    young = history.plan(age=YOUNG)
    history.forget()
    assert history.plans() == {young}
    assert history.decided() == {young}


def test_a_plan_that_has_not_ended_stays(history: History) -> None:
    over = (PlanStatus.DENIED, PlanStatus.EXECUTED, PlanStatus.FAILED, PlanStatus.SUPERSEDED)
    open_plans = {history.plan(status) for status in PlanStatus if status not in over}
    history.forget()
    assert history.plans() == open_plans
    assert history.decided() == open_plans


def test_a_plan_that_something_names_stays(history: History) -> None:
    newest, queued, reserved, unnamed = (history.plan() for _ in range(4))
    history.workload(plan_id=newest, queued_plan_id=queued)
    history.reservation(reserved)
    history.revisions(HEALTHY, healthy=1)
    [applied] = history.plans() - {newest, queued, reserved, unnamed}
    history.forget()
    assert history.plans() == {newest, queued, reserved, applied}
    assert history.decided() == {newest, queued, reserved, applied}


def test_the_newest_ten_revisions_stay_with_their_plans_and_decisions(history: History) -> None:
    history.revisions(*[SUPERSEDED] * 12, HEALTHY, healthy=13)
    history.forget(2)
    assert history.numbers() == list(range(4, 14))
    assert len(history.plans()) == len(history.decided()) == 10


def test_a_young_revision_stays(history: History) -> None:
    history.revisions(*[SUPERSEDED] * 12, HEALTHY, healthy=13, age=YOUNG)
    history.forget()
    assert len(history.numbers()) == 13


def test_a_revision_that_may_be_on_a_cluster_stays_with_all_that_are_newer(history: History) -> None:
    """Without the removal after it, a rollback would go back to what ran before the removal."""
    history.revisions(
        SUPERSEDED, RevisionStatus.COMPLETED, RevisionStatus.REMOVED, *[SUPERSEDED] * 9, HEALTHY, healthy=13
    )
    history.forget()
    assert history.numbers() == list(range(2, 14))


def test_what_a_rollback_may_go_back_to_stays(history: History) -> None:
    history.revisions(*[SUPERSEDED] * 15, RevisionStatus.UNHEALTHY, healthy=3)
    history.forget()
    assert history.numbers() == list(range(3, 17))


def test_what_was_before_a_removal_goes_though_nothing_was_healthy_since(history: History) -> None:
    history.revisions(*[SUPERSEDED] * 4, RevisionStatus.REMOVED, *[SUPERSEDED] * 10, RevisionStatus.UNHEALTHY)
    history.forget()
    assert history.numbers() == list(range(5, 17))


def test_of_jobs_the_newest_ten_stay_though_none_is_ever_healthy(history: History) -> None:
    history.revisions(*[SUPERSEDED] * 12, RevisionStatus.COMPLETED, kind="Job")
    history.forget()
    assert history.numbers() == list(range(4, 14))


@pytest.mark.parametrize("status", [PlanStatus.QUEUED, PlanStatus.PROPOSED])
def test_all_revisions_stay_while_a_plan_has_not_ended(history: History, status: PlanStatus) -> None:
    history.revisions(*[SUPERSEDED] * 12, HEALTHY, healthy=13)
    history.plan(status)
    history.forget()
    assert len(history.numbers()) == 13


def test_a_page_may_begin_within_a_workload(history: History) -> None:
    """What is before the page has stayed, so the rest stays; where it has gone, the rest may go."""
    history.revisions(*[SUPERSEDED] * 19, HEALTHY, healthy=20)
    history.forget(4, limit=4)
    assert history.numbers() == list(range(11, 21))
    other = History(history.store)
    other.revisions(RevisionStatus.COMPLETED, *[SUPERSEDED] * 18, HEALTHY, healthy=20)
    history.forget(20, limit=4)
    assert len(other.numbers()) == 20


def test_a_tick_looks_at_one_page_and_the_next_tick_goes_on(history: History) -> None:
    history.plan(PlanStatus.QUEUED)
    for _ in range(4):
        history.plan()
    history.forget(limit=2)
    assert len(history.plans()) == 4
    history.forget(limit=2)
    assert len(history.plans()) == 2
    history.forget(limit=2)
    assert len(history.plans()) == 1


def test_the_walk_begins_again_behind_the_last_row(history: History) -> None:
    stays = history.plan(PlanStatus.QUEUED)
    history.forget(2, limit=1)
    with history.store.begin() as work:
        over = action_plans.update().where(action_plans.c.id == stays).values(status=PlanStatus.DENIED)
        connection_of(work).execute(over.values(updated_at=sa.func.now() - OLD))
    history.forget(limit=1)
    assert history.plans() == set()


def test_ticks_at_once_leave_the_page_to_the_first(history: History) -> None:
    """The second neither waits nor looks at the page, and the cursor moves once."""
    for _ in range(4):
        history.plan()
    history.forget(limit=1)
    with history.store.begin() as first, history.store.begin() as second:
        first.forget_history(KEPT, 1)
        connection_of(second).execute(sa.text("SET LOCAL lock_timeout = '1ms'"))
        second.forget_history(KEPT, 1)
    assert len(history.plans()) == 2
    with history.store.begin() as work:
        names = connection_of(work).execute(sa.select(retention_cursors.c.table_name)).scalars()
        assert set(names) == {"action_plans", "policy_decisions", "deployments"}


def test_a_row_that_another_transaction_works_on_is_left_to_it(history: History) -> None:
    plan = history.plan()
    with history.store.begin() as work:
        again = action_plans.update().where(action_plans.c.id == plan).values(status=PlanStatus.WAITING)
        connection_of(work).execute(again)
        history.forget()
    history.forget()
    assert history.plans() == {plan}
