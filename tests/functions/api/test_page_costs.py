"""What a page of a list costs, by the rows that PostgreSQL looks at, in a small table and in a large one."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from shared.models.account import AccountKind
from shared.models.identity import Role, RoleBinding
from shared.models.lifecycle import PlanStatus
from shared.models.page import PageRequest
from shared.models.plan import PlanFilter
from shared.models.reservation import LineFilter, ReservationState
from shared.operations.identity import accounts
from shared.store.tables import metadata
from shared.store.unit_of_work import Store, UnitOfWork
from tests.support.builders import TESTS, Deliver, connection_of
from tests.support.dead_letters import keep_letter

TABLES = ("workloads", "action_plans", "reservations", "dead_letters", "accounts", "role_bindings")


def copies(work: UnitOfWork, table: str, first: int, last: int) -> None:
    """Copies of the one row that was there first: of the team `many`, and older by a second each."""
    connection = connection_of(work)
    names = [column.name for column in metadata.tables[table].columns]
    changed = {
        "id": "md5(original.id::text || number)::uuid",
        "workload_id": "md5(number::text)::uuid",
        "event_id": "'copy-' || number",
        "team": "CASE WHEN number % 3 = 0 AND number <= 60 THEN 'few' ELSE 'many' END",
        "cluster": "CASE WHEN number <= 60 THEN 'local' ELSE 'far' END",
        "state": "CASE WHEN number <= 60 THEN 'held' ELSE 'committed' END",
        "status": "CASE number % 3 WHEN 0 THEN 'queued' ELSE 'executed' END",
        "priority": "number % 3",
        "queued_at": "original.created_at - number * interval '1 second'",
        "created_at": "original.created_at - number * interval '1 second'",
    }
    changed["account_id"] = changed["workload_id"]
    if table == "accounts":
        changed["id"], changed["name"] = changed["account_id"], "'copy-' || number"
    if table == "workloads":
        changed["id"], changed["name"] = changed["workload_id"], "'copy-' || number"
        changed["plan_id"] = "md5(original.plan_id::text || number)::uuid"
    if table == "dead_letters":
        changed["redriven_at"] = "CASE number % 2 WHEN 0 THEN now() END"
    columns = {name: changed.get(name, f"original.{name}") for name in names}
    connection.execute(
        sa.text(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
            f"FROM (SELECT * FROM {table} ORDER BY created_at DESC LIMIT 1) AS original, "
            "generate_series(CAST(:first AS int), :last) AS number"
        ),
        {"first": first, "last": last},
    )


def rows_read(work: UnitOfWork, page: Callable[[UnitOfWork], object]) -> float:
    """How many rows of tables and indexes PostgreSQL looks at for what a call asks."""
    connection, asked = connection_of(work), []

    def note(*call: Any) -> None:
        asked.append(call[2:4])

    sa.event.listen(connection, "before_cursor_execute", note)
    page(work)
    sa.event.remove(connection, "before_cursor_execute", note)

    def count(node: dict[str, Any]) -> float:
        own = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        return float(own * node["Actual Loops"]) + sum(map(count, node.get("Plans", ())))

    read = 0.0
    for statement, parameters in asked:
        explained = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}"
        [[plan]] = connection.exec_driver_sql(explained, parameters)
        read += count(plan[0]["Plan"])
    return read


@pytest.mark.slow
def test_a_page_looks_at_as_many_rows_of_a_large_table_as_of_a_small_one(
    store: Store, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    deliver.decide("one")
    keep_letter(store, "one")
    with store.begin() as work:
        account = accounts.create(work, AccountKind.USER, "one", None, TESTS)
        accounts.bind(work, account, RoleBinding(Role.VIEWER, "one"), TESTS)
    last, first_id = datetime.now(UTC), uuid.UUID(int=0)
    newest = PageRequest(20, "createdAt", descending=True, after=(last, first_id))
    asked: dict[str, Callable[[UnitOfWork], object]] = {
        "plans": lambda work: work.plans.page(PlanFilter(), PageRequest(20, "createdAt")),
        "plans behind": lambda work: work.plans.page(PlanFilter(), newest),
        "plans of a team": lambda work: work.plans.page(PlanFilter(team="search"), newest),
        "plans of my teams": lambda work: work.plans.page(PlanFilter(teams=frozenset({"search", "none"})), newest),
        "plans that await": lambda work: work.plans.page(PlanFilter(status=PlanStatus.AWAITING_APPROVAL), newest),
        "plans of a workload": lambda work: work.plans.page(PlanFilter(workload_id=first_id), newest),
        "lines": lambda work: work.ledger_records.reservation_page(LineFilter(), PageRequest(20, "workload")),
        "lines of a team": lambda work: work.ledger_records.reservation_page(
            LineFilter(team="search"), PageRequest(20, "team")
        ),
        "lines of a workload": lambda work: work.ledger_records.reservation_page(
            LineFilter(workload_id=first_id), PageRequest(20, "workload")
        ),
        "lines of a cluster": lambda work: work.ledger_records.reservation_page(
            LineFilter(cluster="local"), PageRequest(20, "workload")
        ),
        "lines that are held": lambda work: work.ledger_records.reservation_page(
            LineFilter(state=ReservationState.HELD), PageRequest(20, "workload")
        ),
        "queue": lambda work: work.queue.listed(LineFilter(), PageRequest(20)),
        "queue of a team": lambda work: work.queue.listed(LineFilter(team="few"), PageRequest(20)),
        "queue of my team": lambda work: work.queue.listed(LineFilter(teams=frozenset({"few"})), PageRequest(20)),
        "role bindings": lambda work: accounts.list_roles(work, PageRequest(5, "createdAt")),
        "role bindings of a team": lambda work: accounts.list_roles(work, PageRequest(5, "createdAt"), team="few"),
        "letters": lambda work: work.dead_letters.page(None, PageRequest(20, "createdAt")),
        "open letters": lambda work: work.dead_letters.page(False, newest),
    }
    small: dict[str, float] = {}
    large: dict[str, float] = {}
    for found, first, last_number in ((small, 1, 300), (large, 301, 5000)):
        with store.begin() as work:
            for table in TABLES:
                copies(work, table, first, last_number)
        with owner_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(f"VACUUM ANALYZE {', '.join(TABLES)}"))
        with store.read() as work:
            found |= {name: rows_read(work, page) for name, page in asked.items()}
    assert {name: (large[name], small[name]) for name in asked if large[name] > 1.2 * small[name] + 5} == {}
