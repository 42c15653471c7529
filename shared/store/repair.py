"""The ledger against what Sentinel's own revisions and plans say, and the way back where they differ.

Reading is one moment. Mending is one transaction for each workload, under its lock and on what is true by then: what
has come right meanwhile is left alone. Usage is mended after the reservations, row by row, to their sum.
"""

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.dialects.postgresql import insert

from shared.models.actor import Actor
from shared.models.amounts import NOTHING, Amounts
from shared.models.lifecycle import LIVE_REVISIONS, PLANS_UNDER_WAY
from shared.models.reservation import Reservation
from shared.rollout.accounts import Account, LineDifference, awaits_execution, corrected, differences
from shared.store.ledger import accrued
from shared.store.rows import AMOUNT_COLUMNS, amounts_from, amounts_to_columns, amounts_to_json
from shared.store.tables import action_plans, deployments, reservations, usage, workloads
from shared.store.unit_of_work import Store, UnitOfWork

HOLD = timedelta(minutes=10)
"""How long a hold that was lost is given anew; execution comes for it before, or has it judged again."""

_PAGE = 500
_LINE = ("team", "cluster", "sku")


@dataclass(frozen=True)
class WorkloadDifference:
    """A workload that holds too much or too little."""

    workload_id: uuid.UUID
    label: str
    line: LineDifference


@dataclass(frozen=True)
class Stray:
    """Lines that are held for a workload that does not exist."""

    reservation: Reservation


@dataclass(frozen=True)
class UsageDifference:
    """What a (team, cluster, SKU) is counted with, and the sum of its reservations."""

    team: str
    cluster: str
    sku: str
    counted: Amounts
    reserved: Amounts


@dataclass(frozen=True)
class Report:
    """Everything that differs."""

    workloads: Sequence[WorkloadDifference]
    strays: Sequence[Stray]
    usage: Sequence[UsageDifference]

    def __bool__(self) -> bool:
        return bool(self.workloads or self.strays or self.usage)


def compare(work: UnitOfWork) -> Report:
    """What differs, as one transaction sees it: by workload id, and by team, cluster and SKU."""
    wrong = [
        WorkloadDifference(account.workload_id, account.label, line)
        for account in accounts(work)
        for line in differences(account)
    ]
    return Report(wrong, list(_strays(work)), list(_miscounted(work)))


def mend(store: Store, report: Report, actor: Actor) -> None:
    """Makes the ledger right where the report says that it is wrong."""
    for workload_id in sorted({found.workload_id for found in report.workloads}):
        with store.begin() as work:
            _mend_workload(workload_id, work, actor)
    for stray in report.strays:
        with store.begin() as work:
            _release(stray.reservation, work, actor)
    with store.read() as work:
        miscounted = list(_miscounted(work))
    for found in miscounted:
        with store.begin() as work:
            _recount(found, work, actor)


def accounts(work: UnitOfWork, only: uuid.UUID | None = None) -> Iterator[Account]:
    """Every workload that holds something, should, or may: by id."""
    last = uuid.UUID(int=0)
    while ids := _page(work, last) if only is None else [only]:
        yield from _load(work, ids)
        if only is not None:
            return
        last = ids[-1]


def _page(work: UnitOfWork, after: uuid.UUID) -> Sequence[uuid.UUID]:
    own = workloads.c.id
    concerned = sa.or_(
        sa.exists().where(reservations.c.workload_id == own),
        sa.exists().where(deployments.c.workload_id == own, deployments.c.status.in_(LIVE_REVISIONS)),
        sa.exists().where(action_plans.c.id == workloads.c.plan_id, action_plans.c.status.in_(PLANS_UNDER_WAY)),
    )
    statement = sa.select(own).where(own > after, concerned).order_by(own).limit(_PAGE)
    return work.connection.execute(statement).scalars().all()


def _load(work: UnitOfWork, ids: Collection[uuid.UUID]) -> Iterator[Account]:
    found = work.workloads.get_many(ids)
    lines = work.connection.execute(sa.select(reservations).where(reservations.c.workload_id.in_(ids))).mappings().all()
    held_for: dict[uuid.UUID, set[uuid.UUID]] = {}
    for row in lines:
        held_for.setdefault(row["workload_id"], set()).add(row["plan_id"])
    plan_ids = {row["plan_id"] for row in lines} | {workload.plan_id for workload in found.values()}
    plans = work.plans.get_many(plan_ids)
    live = work.deployments.live_of(ids)
    ended = {one.id: one for one in (*work.deployments.ended_since(plan_ids), *work.deployments.replaced(ids))}
    for key, workload in sorted(found.items()):
        held: dict[str, dict[str, Amounts]] = {}
        for row in (row for row in lines if row["workload_id"] == key):
            held.setdefault(row["cluster"], {})[row["sku"]] = amounts_from(row)
        spec = workload.spec
        yield Account(
            workload_id=key,
            label=f"{spec.team}/{spec.namespace}/{spec.name}",
            team=spec.team,
            kind=spec.type.kind,
            newest=plans.get(workload.plan_id),
            held=held,
            plans=[plans[plan_id] for plan_id in sorted(held_for.get(key, set()) & plans.keys())],
            live=[revision for revision in live if revision.workload_id == key],
            ended=[revision for revision in ended.values() if revision.workload_id == key],
        )


def _strays(work: UnitOfWork) -> Iterator[Stray]:
    orphaned = ~sa.exists().where(workloads.c.id == reservations.c.workload_id)
    statement = sa.select(reservations).where(orphaned).order_by(reservations.c.workload_id, reservations.c.cluster)
    found: dict[tuple[uuid.UUID, str, str], dict[str, Amounts]] = {}
    for row in work.connection.execute(statement).mappings():
        key = (row["workload_id"], row["cluster"], row["team"])
        found.setdefault(key, {})[row["sku"]] = amounts_from(row)
    for (workload_id, cluster, team), lines in found.items():
        yield Stray(Reservation(workload_id, cluster, team, lines))


def _miscounted(work: UnitOfWork) -> Iterator[UsageDifference]:
    counted, reserved = _sums(work, usage), _sums(work, reservations)
    for key in sorted(counted.keys() | reserved.keys()):
        if counted.get(key, NOTHING) != reserved.get(key, NOTHING):
            yield UsageDifference(*key, counted.get(key, NOTHING), reserved.get(key, NOTHING))


def _sums(work: UnitOfWork, table: sa.Table) -> dict[tuple[str, str, str], Amounts]:
    columns = [table.c[name] for name in _LINE]
    sums = [sa.func.sum(table.c[name]).label(name) for name in AMOUNT_COLUMNS]
    found = work.connection.execute(sa.select(*columns, *sums).group_by(*columns)).mappings()
    return {(row["team"], row["cluster"], row["sku"]): amounts_from(row) for row in found}


def _mend_workload(workload_id: uuid.UUID, work: UnitOfWork, actor: Actor) -> None:
    if work.workloads.get(workload_id, lock=True) is None:
        return
    for account in accounts(work, only=workload_id):
        wrong = differences(account)
        for cluster in sorted({line.cluster for line in wrong}):
            right = Reservation(workload_id, cluster, account.team, corrected(account, cluster))
            plan_id = account.newest.id if account.newest else workload_id
            if awaits_execution(account, cluster) and right.lines:
                work.ledger.hold(right, plan_id, work.now + HOLD)
            else:
                work.ledger.settle([(right, plan_id)])
        if wrong:
            told: list[JsonValue] = [_told(line) for line in wrong]
            work.audit("ledger.repaired", str(workload_id), actor, lines=told)


def _release(reservation: Reservation, work: UnitOfWork, actor: Actor) -> None:
    nothing = Reservation(reservation.workload_id, reservation.cluster, reservation.team, {})
    work.ledger.settle([(nothing, reservation.workload_id)])
    lines: dict[str, JsonValue] = {sku: amounts_to_json(amounts) for sku, amounts in reservation.lines.items()}
    subject = str(reservation.workload_id)
    work.audit("ledger.repaired", subject, actor, cluster=reservation.cluster, released=lines)


def _recount(found: UsageDifference, work: UnitOfWork, actor: Actor) -> None:
    """Under the row's lock nobody else counts, so the sum is that of all who have counted."""
    key = {"team": found.team, "cluster": found.cluster, "sku": found.sku}
    empty = insert(usage).values(**key, **amounts_to_columns(NOTHING))
    work.connection.execute(empty.on_conflict_do_nothing(index_elements=list(_LINE)))
    row = sa.and_(*(usage.c[name] == value for name, value in key.items()))
    before = amounts_from(work.connection.execute(sa.select(usage).where(row).with_for_update()).mappings().one())
    after = _reserved(work, key)
    if before == after:
        return
    changed = {**amounts_to_columns(after), "accrued_usd": accrued(), "accrued_at": sa.func.now()}
    work.connection.execute(usage.update().where(row).values(**changed, updated_at=sa.func.now()))
    work.audit(
        "ledger.repaired",
        f"usage/{found.team}/{found.cluster}/{found.sku}",
        actor,
        counted=amounts_to_json(before),
        reserved=amounts_to_json(after),
    )


def _reserved(work: UnitOfWork, key: dict[str, str]) -> Amounts:
    sums: list[sa.ColumnElement[Any]] = [
        sa.func.coalesce(sa.func.sum(reservations.c[name]), 0).label(name) for name in AMOUNT_COLUMNS
    ]
    statement = sa.select(*sums).where(*(reservations.c[name] == value for name, value in key.items()))
    return amounts_from(work.connection.execute(statement).mappings().one())


def _told(line: LineDifference) -> dict[str, JsonValue]:
    return {
        "cluster": line.cluster,
        "sku": line.sku,
        "held": amounts_to_json(line.held),
        "expected": amounts_to_json(line.expected),
    }
