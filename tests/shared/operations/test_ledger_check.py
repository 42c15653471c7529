"""The check of the ledger and its repair, beside whatever else happens."""

import threading
import uuid
from collections.abc import Callable
from functools import partial
from operator import methodcaller

import sqlalchemy as sa

from shared.models.actor import Actor
from shared.models.lifecycle import PlanStatus, RevisionStatus
from shared.models.reservation import Reservation, UsageKey
from shared.operations import ledger_check
from shared.operations.ledger_check import LedgerReport
from shared.store.tables import reservations, usage, workloads
from shared.store.unit_of_work import Store
from tests.functions.policy_evaluation.test_handler import runs
from tests.support.builders import (
    POLICY,
    TESTS,
    Deliver,
    connection_of,
    id_of,
    in_parallel,
    revision_of,
    rows,
    set_columns,
)

ADA = Actor.operator("ada")
L4 = UsageKey("search", "local", "L4")


def damage(store: Store, how: Callable[[sa.Connection], object]) -> None:
    with store.begin() as work:
        how(connection_of(work))


def checked(store: Store) -> LedgerReport:
    with store.read() as work:
        return ledger_check.check(work)


def test_a_report_names_what_is_wrong_and_a_repair_names_its_actor(store: Store, deliver: Deliver) -> None:
    deliver.decide()
    assert not checked(store)
    damage(store, lambda c: c.execute(reservations.update().values(gpus=9)))
    report = checked(store)
    [line] = [found.line for found in report.workloads]
    [counted] = report.usage
    assert (line.cluster, line.sku, line.reserved.gpus, line.expected.gpus) == ("local", "L4", 9, 2)
    assert (counted.key, counted.counted.gpus, counted.reserved.gpus) == (L4, 2, 9)
    ledger_check.repair(store, report, ADA)
    assert not checked(store)
    with store.begin() as work:
        repaired = [row for row in work.audit_entries(str(id_of())) if row.action == "ledger.repaired"]
    assert [row.actor for row in repaired] == ["operator:ada"]
    assert repaired[0].detail["lines"][0]["held"]["gpus"] == 9
    assert {"field": "local/L4.gpus", "before": 9, "after": 2} in repaired[0].detail["changes"]["changed"]


def test_a_rollout_is_read_only_when_its_line_is_out_of_bounds(store: Store, deliver: Deliver) -> None:
    """It may hold 2 replicas, and 3 with its surge."""
    deliver.decide()
    runs(store)
    deliver.decide(image="nginx:1.30")
    with store.begin() as work:
        workload = work.workloads.get(id_of())
        assert workload is not None
        plan = work.plans.get(workload.plan_id)
        assert plan is not None
        [first] = work.deployments.live(workload.id)
        set_columns(work, "action_plans", plan.id, status=PlanStatus.EXECUTED)
        set_columns(work, "deployments", first.id, status=RevisionStatus.SUPERSEDED)
        work.deployments.add(revision_of(workload, plan, RevisionStatus.VERIFYING))
    for held, right in ((3, 3), (2, 2), (4, 3), (1, 2)):
        damage(store, methodcaller("execute", reservations.update().values(replicas=held)))
        with store.read() as work:
            read = [holder.id for holder in work.ledger_records.in_question(uuid.UUID(int=0), 10)]
        assert read == ([] if held == right else [id_of()])
        assert [found.line.expected.replicas for found in checked(store).workloads] == [right] * len(read)


def test_a_reservation_of_no_workload_is_an_orphan(store: Store, deliver: Deliver) -> None:
    deliver.decide()
    damage(store, lambda c: c.execute(workloads.delete()))
    report = checked(store)
    [orphan] = report.orphans
    assert (orphan.workload_id, orphan.cluster, list(orphan.lines)) == (id_of(), "local", ["L4"])
    ledger_check.repair(store, report, ADA)
    assert not checked(store)
    with store.begin() as work:
        released = work.audit_entries(str(id_of()))[-1]
    assert released.action == "ledger.repaired"
    assert released.detail["changes"]["before"] is not None
    assert released.detail["changes"]["after"] is None


def test_what_has_become_right_meanwhile_is_left_alone(store: Store, deliver: Deliver) -> None:
    deliver.decide()
    damage(store, lambda c: c.execute(usage.update().values(gpus=9)))
    report = checked(store)
    damage(store, lambda c: c.execute(usage.update().values(gpus=2)))
    ledger_check.repair(store, report, TESTS)
    assert not checked(store)
    with store.begin() as work:
        assert work.audit_entries("usage/search/local/L4") == []


def test_a_repair_beside_decisions_leaves_the_ledger_right(
    store: Store, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    deliver.decide()
    proposals = [deliver.submit(f"w-{number}") for number in range(6)]
    damage(store, lambda c: c.execute(usage.update().values(gpus=9)))
    damage(store, lambda c: c.execute(reservations.update().values(gpus=7)))
    report = checked(store)
    decisions = [partial(deliver.forward, POLICY, proposal) for proposal in proposals]
    repairs = [partial(ledger_check.repair, store, report, TESTS)] * 3
    in_parallel(*decisions[:3], *repairs, *decisions[3:])
    assert not checked(store)
    assert [row["gpus"] for row in rows(owner_engine, "usage") if row["sku"] == "L4"] == [14]


def test_a_recount_waits_for_who_is_counting(store: Store, deliver: Deliver) -> None:
    deliver.decide()
    damage(store, lambda c: c.execute(usage.update().values(gpus=9)))
    report = checked(store)
    with store.begin() as work:
        more = work.ledger.reserved(id_of(), "local")["L4"].times(3)
        work.ledger.settle([(Reservation(id_of(), "local", "search", {"L4": more}), id_of())])
        repairing = threading.Thread(target=ledger_check.repair, args=(store, report, TESTS))
        repairing.start()
        repairing.join(0.3)  # it waits for this transaction, wherever it is by now
        assert repairing.is_alive()
    repairing.join()
    assert list(checked(store).usage) == []
