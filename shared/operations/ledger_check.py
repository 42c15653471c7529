"""The ledger against Sentinel's own revisions and plans, and the repair of what differs.

The check reads one moment. PostgreSQL passes over the workloads that are obviously right, and the others are read a
page at a time: its memory does not grow with the number of workloads. A repair is one transaction for each workload,
under the workload's lock and on what is true by then: what has become right meanwhile is left alone. Usage is repaired
after the reservations, row by row, to their sum.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

from shared.models.amounts import NOTHING, Amounts
from shared.models.changes import changes
from shared.models.reservation import Reservation, UsageKey
from shared.rollout import occupancy
from shared.rollout.reconciliation import (
    Discrepancy,
    WorkloadAccount,
    awaits_execution,
    corrected_lines,
    discrepancies,
)

if TYPE_CHECKING:
    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.store.ledger_records import AccountHolder
    from shared.store.unit_of_work import Store, UnitOfWork

HOLD = timedelta(minutes=10)
"""How long a hold that was lost is given anew; its plan is executed before, or evaluated again."""

_PAGE = 500
_FIRST = uuid.UUID(int=0)


class _OfWorkload(Protocol):
    @property
    def workload_id(self) -> uuid.UUID: ...


R = TypeVar("R", bound=_OfWorkload)


@dataclass(frozen=True)
class WorkloadDiscrepancy:
    """A workload that has reserved too much or too little."""

    workload_id: uuid.UUID
    label: str
    line: Discrepancy


@dataclass(frozen=True)
class UsageDiscrepancy:
    """What usage counts for a (team, cluster, SKU), and the sum of its reservations."""

    key: UsageKey
    counted: Amounts
    reserved: Amounts


@dataclass(frozen=True)
class LedgerReport:
    """Everything that differs. orphans: reservations of workloads that do not exist."""

    workloads: Sequence[WorkloadDiscrepancy]
    orphans: Sequence[Reservation]
    usage: Sequence[UsageDiscrepancy]

    def __bool__(self) -> bool:
        return bool(self.workloads or self.orphans or self.usage)


def check(work: UnitOfWork) -> LedgerReport:
    """What differs, as one transaction sees it: by workload id, and by team, cluster and SKU."""
    wrong = [
        WorkloadDiscrepancy(account.workload_id, account.label, line)
        for account in _accounts_in_question(work)
        for line in discrepancies(account)
    ]
    return LedgerReport(wrong, work.ledger_records.without_workload(), list(_miscounted(work)))


def repair(store: Store, report: LedgerReport, actor: Actor) -> None:
    """Corrects the ledger where the report says that it is wrong."""
    for workload_id in sorted({found.workload_id for found in report.workloads}):
        with store.begin() as work:
            _repair_workload(work, workload_id, actor)
    for orphan in report.orphans:
        with store.begin() as work:
            _release(work, orphan, actor)
    with store.read() as work:
        miscounted = list(_miscounted(work))
    for found in miscounted:
        with store.begin() as work:
            _recount(work, found.key, actor)


def _accounts_in_question(work: UnitOfWork) -> Iterator[WorkloadAccount]:
    """Every workload whose reservation has to be looked at: by id."""
    last = _FIRST
    while holders := work.ledger_records.in_question(last, _PAGE):
        yield from _accounts_of(work, holders)
        last = holders[-1].id


def _accounts_of(work: UnitOfWork, holders: Sequence[AccountHolder]) -> Iterator[WorkloadAccount]:
    ids = [holder.id for holder in holders]
    lines = _by_workload(work.ledger_records.lines_of(ids))
    live = _by_workload(work.deployments.live_of(ids, manifests=False))
    reserved_for = {line.plan_id for those in lines.values() for line in those}
    rolling_out = {one.plan_id for those in live.values() for one in those if occupancy.is_rolling_out(one)}
    accounted = reserved_for | rolling_out
    plan_ids = accounted | {holder.plan_id for holder in holders}
    plans = work.plans.get_many(plan_ids)
    plans_of = _by_workload(plan for _, plan in sorted(plans.items()) if plan.id in accounted)
    ended = {one.id: one for one in (*work.deployments.ended_since(plan_ids), *work.deployments.replaced(ids))}
    ended_of = _by_workload(ended.values())
    for holder in holders:
        reserved: dict[str, dict[str, Amounts]] = {}
        for line in lines.get(holder.id, ()):
            reserved.setdefault(line.cluster, {})[line.sku] = line.amounts
        yield WorkloadAccount(
            workload_id=holder.id,
            label=holder.label,
            team=holder.team,
            kind=holder.kind,
            newest_plan=plans.get(holder.plan_id),
            reserved=reserved,
            plans=plans_of.get(holder.id, ()),
            live=live.get(holder.id, ()),
            ended=ended_of.get(holder.id, ()),
        )


def _by_workload(records: Iterable[R]) -> dict[uuid.UUID, list[R]]:
    found: dict[uuid.UUID, list[R]] = {}
    for record in records:
        found.setdefault(record.workload_id, []).append(record)
    return found


def _miscounted(work: UnitOfWork) -> Iterator[UsageDiscrepancy]:
    counted, reserved = work.ledger_records.counted(), work.ledger_records.reserved()
    for key in sorted(counted.keys() | reserved.keys()):
        if counted.get(key, NOTHING) != reserved.get(key, NOTHING):
            yield UsageDiscrepancy(key, counted.get(key, NOTHING), reserved.get(key, NOTHING))


def _repair_workload(work: UnitOfWork, workload_id: uuid.UUID, actor: Actor) -> None:
    if work.workloads.get(workload_id, lock=True) is None:
        return
    [account] = _accounts_of(work, [work.ledger_records.holder(workload_id)])
    wrong = discrepancies(account)
    for cluster in sorted({line.cluster for line in wrong}):
        right = Reservation(workload_id, cluster, account.team, corrected_lines(account, cluster))
        plan_id = account.newest_plan.id if account.newest_plan else workload_id
        if awaits_execution(account, cluster) and right.lines:
            work.ledger.hold(right, plan_id, work.now + HOLD)
        else:
            work.ledger.settle([(right, plan_id)])
    if wrong:
        lines: list[JsonValue] = [_as_json(line) for line in wrong]
        held = {f"{line.cluster}/{line.sku}": line.reserved.as_json() for line in wrong}
        expected = {f"{line.cluster}/{line.sku}": line.expected.as_json() for line in wrong}
        work.audit("ledger.repaired", str(workload_id), actor, lines=lines, changes=changes(held, expected))


def _release(work: UnitOfWork, orphan: Reservation, actor: Actor) -> None:
    nothing = Reservation(orphan.workload_id, orphan.cluster, orphan.team, {})
    work.ledger.settle([(nothing, orphan.workload_id)])
    lines: dict[str, JsonValue] = {sku: amounts.as_json() for sku, amounts in orphan.lines.items()}
    subject, changed = str(orphan.workload_id), changes(lines, None)
    work.audit("ledger.repaired", subject, actor, cluster=orphan.cluster, released=lines, changes=changed)


def _recount(work: UnitOfWork, key: UsageKey, actor: Actor) -> None:
    """Under the row's lock nobody else counts, so the sum is that of all who have counted."""
    before = work.ledger_records.lock_usage(key)
    after = work.ledger_records.reserved_at(key)
    if before == after:
        return
    work.ledger_records.set_usage(key, after)
    subject = f"usage/{key.team}/{key.cluster}/{key.sku}"
    counted, reserved = before.as_json(), after.as_json()
    changed = changes(counted, reserved)
    work.audit("ledger.repaired", subject, actor, counted=counted, reserved=reserved, changes=changed)


def _as_json(line: Discrepancy) -> dict[str, JsonValue]:
    return {
        "cluster": line.cluster,
        "sku": line.sku,
        "held": line.reserved.as_json(),
        "expected": line.expected.as_json(),
    }
