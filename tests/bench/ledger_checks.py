"""`ledger check` of many workloads: what it takes, and how much memory; and its comparison with what a cluster runs.

The driver is the one of production. Its API server is one page of JSON at a time, made in this process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from rich.table import Table

from shared.operations import cluster_check, ledger_check
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.bench import fleet
from tests.bench.sweeps import ApiLists, ListedCluster, first_workload

LIMITS = "<= 60 s, <= 200 MiB"

# Every second revision, and with it a surge that its plan was given.
_ROLL_OUT = (
    "UPDATE deployments SET status = 'verifying' WHERE ('x' || left(id::text, 1))::bit(4)::int < 8",
    "UPDATE action_plans SET surge = amounts",
    """
    UPDATE reservations SET replicas = r.replicas * 2, cpu = r.cpu * 2, memory = r.memory * 2, gpus = r.gpus * 2,
                            usd_per_hour = r.usd_per_hour * 2
      FROM reservations AS r JOIN deployments AS d ON d.workload_id = r.workload_id AND d.status = 'verifying'
     WHERE reservations.id = r.id
    """,
    """
    UPDATE usage SET (replicas, cpu, memory, gpus, usd_per_hour)
        = (SELECT sum(replicas), sum(cpu), sum(memory), sum(gpus), sum(usd_per_hour) FROM reservations)
    """,
)


@dataclass(frozen=True)
class LedgerChecks:
    """settled: all workloads are healthy. rolling_out: half of them are being verified and hold a surge.

    compared: with a cluster, while all are healthy.
    """

    workloads: int
    settled: fleet.Used
    compared: fleet.Used
    rolling_out: fleet.Used


def measure(said: Callable[[str], None], workloads: int = fleet.WORKLOADS) -> LedgerChecks:
    """Checks a right ledger twice."""
    said(f"ledger check of {workloads:,} workloads")
    with fleet.database(workloads) as url:
        settled = fleet.used(check, url)
        compared = fleet.used(compare, url, workloads)
        engine = connect(url)
        with engine.begin() as connection:
            for statement in _ROLL_OUT:
                connection.execute(sa.text(statement))
        engine.dispose()
        rolling_out = fleet.used(check, url)
    if settled.result or rolling_out.result or compared.result:
        results = (settled.result, rolling_out.result, compared.result)
        raise AssertionError("the ledger differs: {} and {} workloads, and {} from the cluster".format(*results))
    return LedgerChecks(workloads, settled, compared, rolling_out)


def check(url: str) -> int:
    """How many workloads differ."""
    store = Store(connect(url, pool_size=1, max_overflow=0))
    with store.read() as work:
        report = ledger_check.check(work)
    store.close()
    return len(report.workloads) + len(report.usage) + len(report.orphans)


def compare(url: str, workloads: int) -> int:
    """How many workloads a cluster runs otherwise than the ledger has reserved."""
    engine = connect(url, pool_size=1, max_overflow=0)
    cluster = ListedCluster(ApiLists(*first_workload(engine), workloads))
    report = cluster_check.check(Store(engine), cluster)
    engine.dispose()
    return len(report.discrepancies) + len(report.notes)


def table(found: LedgerChecks) -> Table:
    """The figures as people read them."""
    shown = Table(title=f"P7: ledger check of {found.workloads:,} workloads", title_justify="left")
    for column in ("workloads", "seconds", "MiB", "promised"):
        shown.add_column(column, justify="left" if column == "workloads" else "right")
    rows = {
        "all healthy": (found.settled, LIMITS),
        "half of them roll out": (found.rolling_out, LIMITS),
        "compared with a cluster": (found.compared, "<= 200 MiB"),
    }
    for text, (used, limits) in rows.items():
        shown.add_row(text, f"{used.seconds:.1f}", f"{used.mebibytes:.0f}", limits)
    return shown
