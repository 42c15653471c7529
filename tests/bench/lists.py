"""A page of every list of the API, with 1,000 workloads stored and with 100,000.

In both databases the team `rare` has 150 workloads, and what else is asked for is as rare. So both answer the same.
"""

from __future__ import annotations

import http.client
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from shared.identity import keys
from tests.bench import fleet, rest
from tests.support.builders import id_of

SIZES = (1_000, 100_000)
LIMIT = 1.2
REQUESTS = 45
_PAGE = 50

PATHS = (
    "/workloads",
    "/workloads?sort=-createdAt",
    "/workloads?team=rare",
    "/workloads?team=rare&sort=-createdAt",
    "/workloads?phase=denied",
    "/workloads?cluster=far",
    "/workloads?name=web",
    "/workloads?namespace=search",
    "/workloads?labelSelector=tier=rare",
    "/workloads/{id}/plans",
    "/workloads/{id}/deployments",
    "/workloads/{id}/timeline",
    "/action-plans",
    "/action-plans?sort=-createdAt",
    "/action-plans?team=rare",
    "/action-plans?status=awaiting_approval",
    "/action-plans?team=rare&status=awaiting_approval",
    "/action-plans?team=many&status=denied",
    "/action-plans?workload={id}",
    "/queue",
    "/queue?team=rare",
    "/queue?team=rare&sort=-position",
    "/reservations",
    "/reservations?sort=team",
    "/reservations?team=rare",
    "/reservations?cluster=far",
    "/reservations?team=rare&cluster=far",
    "/reservations?team=many&cluster=far",
    "/reservations?state=held",
    "/reservations?team=rare&state=held",
    "/reservations?workload={id}",
    "/usage",
    "/usage?team=rare",
    "/policies",
    "/clusters",
    "/prices",
    "/events/dead-letters",
    "/events/dead-letters?redriven=true",
    "/audit-logs",
    "/audit-logs?object={id}",
    "/audit-logs?action=workload.rejected",
    "/audit-logs?actor=user:ada",
    "/users",
    "/service-accounts",
    "/role-bindings",
    "/role-bindings?team=rare",
    "/source-bindings",
    "/namespace-bindings",
)
"""Every list, by its sorts and its filters, as an admin asks for it."""

OF_A_TEAM = tuple(
    path for path in PATHS if path.split("?")[0] in ("/workloads", "/action-plans", "/queue", "/reservations", "/usage")
)
"""Those that a viewer of the team `rare` alone asks for too."""

_RARE = 150
"""Rows of what is rare, in both databases."""

# `number` tells the copies of fleet.database apart: the first _RARE are rare, the others are of the team `many`.
_SHAPE = f"""
    CREATE TEMP TABLE numbered AS
        SELECT id, plan_id, row_number() OVER (ORDER BY md5(id::text)) AS number, name = 'web' AS first FROM workloads;
    CREATE INDEX ON numbered (id);
    CREATE INDEX ON numbered (plan_id);
    UPDATE workloads w
       SET team = CASE WHEN n.first THEN 'search' WHEN number <= {_RARE} THEN 'rare' ELSE 'many' END,
           namespace = CASE WHEN n.first THEN 'search' ELSE 'many' END,
           cluster = CASE WHEN number % (:count / 100) = 1 THEN 'far' ELSE cluster END,
           phase = CASE WHEN number % (:count / 100) = 2 THEN 'denied' ELSE phase END,
           spec = CASE WHEN number % (:count / 100) = 3
                  THEN jsonb_set(spec, '{{labels}}', '{{"tier": "rare"}}') ELSE spec END,
           created_at = now() - number * interval '1 second'
      FROM numbered n WHERE n.id = w.id;
    UPDATE action_plans p
       SET team = w.team, created_at = w.created_at,
           status = CASE WHEN number % 10 = 4 THEN 'queued' WHEN number % (:count / 100) = 5 THEN 'awaiting_approval'
                         WHEN number % (:count / 100) = 6 THEN 'denied' ELSE status END,
           queued_at = CASE WHEN number % 10 = 4 THEN w.created_at END, priority = number % 3
      FROM numbered n JOIN workloads w USING (id) WHERE p.workload_id = n.id;
    UPDATE reservations r
       SET team = w.team, cluster = w.cluster, state = CASE WHEN number % (:count / 100) = 7 THEN 'held' ELSE state END
      FROM numbered n JOIN workloads w USING (id) WHERE r.workload_id = n.id;
    INSERT INTO dead_letters (destination, source, event_id, type, attributes, body, body_hash, reason, redriven_at,
                              created_at)
    SELECT 'http://f', '/s', n, 't', '{{}}', '\\x', '\\x', '', CASE WHEN n % (:count / 100) <> 1 THEN now() END,
           now() - n * interval '1 second'
      FROM generate_series(1, :count) n;
    INSERT INTO audit_log (shard, sequence, action, subject, actor, team, transaction_id, body, previous_hash, hash)
    SELECT 99, n, CASE WHEN n % (:count / 100) = 1 THEN 'workload.rejected' ELSE 'plan.approved' END, md5(n::text),
           CASE WHEN n % (:count / 100) = 2 THEN 'user:ada' ELSE 'user:bob' END,
           CASE WHEN n % (:count / 100) = 3 THEN 'rare' ELSE 'many' END, 0, convert_to('{{}}', 'UTF8'), '\\x', '\\x'
      FROM generate_series(1, :count) n;
    INSERT INTO accounts (kind, name, created_at)
    SELECT kind, 'account-' || n, now() - n * interval '1 second'
      FROM generate_series(1, :count / 2) n, unnest(ARRAY['user', 'service_account']) kind;
    INSERT INTO role_bindings (account_id, role, team, created_at)
    SELECT id, 'viewer', CASE WHEN row_number() OVER (ORDER BY md5(name)) <= {_RARE} THEN 'rare' ELSE 'many' END,
           created_at
      FROM accounts;
    INSERT INTO usage (team, cluster, sku, replicas, cpu, memory, gpus, usd_per_hour)
    SELECT CASE WHEN n <= 20 THEN 'rare' ELSE 'many-' || n END, 'c-' || n, '', 1, 1, 1, 1, 1
      FROM generate_series(1, :count / 10) n
"""


@dataclass(frozen=True)
class ListCost:
    """The median seconds of one page, by how many workloads are stored."""

    caller: str
    path: str
    seconds: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return self.seconds[-1] / self.seconds[0]


def measure(said: Callable[[str], None]) -> list[ListCost]:
    """Asks the two for each page in turns, request by request, so that what else the machine does slows both alike."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sentinel-bench-")))
        keys.init(directory)
        callers: dict[str, list[Caller]] = {"admin": [], "viewer": []}
        for size in SIZES:
            said(f"lists: a database with {size} workloads")
            server = stack.enter_context(fleet.server(size))
            fleet.change(server.owner_url, _SHAPE, size)
            port = stack.enter_context(rest.served("api", server.url, directory))
            callers["admin"].append(Caller(port, rest.token(server.url, directory)))
            callers["viewer"].append(Caller(port, rest.token(server.url, directory, "rare")))
        said(f"lists: {REQUESTS} requests for each list, with each size")
        asked = [("admin", path) for path in PATHS] + [("viewer", path) for path in OF_A_TEAM]
        return [_cost(caller, path, callers[caller]) for caller, path in asked]


def in_turns(target: str, callers: Sequence[Caller], requests: int) -> tuple[float, ...]:
    """The median seconds of so many requests of each caller, asked in turns."""
    seconds: list[list[float]] = [[] for _ in callers]
    for number in range(-1, requests):
        for caller, found in zip(callers, seconds, strict=True):
            found.append(caller.ask(target))
            if number < 0:  # the first opens the connection
                found.clear()
    return tuple(statistics.median(found) for found in seconds)


def _cost(name: str, path: str, callers: Sequence[Caller]) -> ListCost:
    target = "/api/v1" + path.format(id=id_of("web"))
    target += f"{'&' if '?' in target else '?'}limit={_PAGE}"
    return ListCost(name, path, in_turns(target, callers, REQUESTS))


def table(costs: Sequence[ListCost]) -> Table:
    """The costs as people read them."""
    small, large = (f"{size:,}" for size in SIZES)
    shown = Table(title=f"A page of {_PAGE} of each list, by stored workloads", title_justify="left")
    for column in ("caller", "list", f"ms at {small}", f"ms at {large}", "ratio", "promised"):
        shown.add_column(column, justify="left" if column in ("caller", "list") else "right")
    for one in costs:
        first, last = (f"{seconds * 1000:.1f}" for seconds in one.seconds)
        shown.add_row(one.caller, one.path, first, last, f"{one.ratio:.2f}", f"<= {LIMIT}")
    return shown


class Caller:
    """Asks one api, and returns the seconds until the whole answer was read."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"authorization": f"Bearer {token}"}

    def ask(self, target: str) -> float:
        """Raises AssertionError for an answer other than 200."""
        started = time.perf_counter()
        self._connection.request("GET", target, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - started
        if answer.status != 200:
            raise AssertionError(f"{target} was answered {answer.status}: {body[:300]!r}")
        return seconds
