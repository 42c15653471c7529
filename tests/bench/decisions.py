"""Decisions a second, each with the commit of its reservation: 1, 4 and 8 processes, sharing no rule and sharing all.

Every decision is a plan.proposed through policy's endpoint core onto a durable PostgreSQL: inbox, locks, facts,
verdict, reservation, audit, reply, commit. Apart, each process decides for a team of its own; together, all of them
for one team, whose counters they must take turns at. What more processes bring is said beside what one does in the
same round.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

from rich.console import Console
from rich.table import Table

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.models.cluster import Cluster
from shared.operations.bindings import allow_all
from shared.policy.documents import PolicyDocument
from shared.policy.vocabulary import CountingScope, ScopeKind
from shared.store.database import connect
from shared.store.migrate import upgrade
from shared.store.unit_of_work import Store
from tests.support.builders import APPROVED, POLICY, TESTS, Deliver, told

PROCESSES = (1, 4, 8)
PLANS = 120
ROUNDS = 3
_WARM_UP = 5
_RULES = [{"type": "quota", "scope": "team", "gpus": 1_000_000}, {"type": "cost_ceiling", "usd_per_hour": "1000"}]

Request = tuple[dict[str, str], bytes]


@dataclass(frozen=True)
class Row:
    """Medians over the rounds. apart: whether the processes share no rule. milliseconds: of a decision, from its
    delivery to its answer. speedup: the rate beside that of one process in the same round.
    """

    processes: int
    apart: bool
    per_second: float
    milliseconds_p50: float
    milliseconds_p99: float
    speedup: float


@dataclass(frozen=True)
class _Run:
    per_second: float
    seconds: list[float]


def measure(
    said: Callable[[str], None] = lambda _: None,
    processes: tuple[int, ...] = PROCESSES,
    plans: int = PLANS,
    rounds: int = ROUNDS,
) -> list[Row]:
    """A row for each number of processes, apart and then together; `said` is told about each round."""
    kinds = [(count, apart) for apart in (True, False) for count in processes]
    runs: dict[tuple[int, bool], list[_Run]] = {kind: [] for kind in kinds}
    with _database() as url:
        store = Store(connect(url))
        for number in range(rounds):
            said(f"decisions with the ledger's commit, round {number + 1} of {rounds}")
            for count, apart in kinds:
                label = f"r{number}-{count}-{'apart' if apart else 'together'}"
                runs[count, apart].append(_run(store, url, label, count, apart, plans))
        store.close()
    return [_row(count, apart, runs[count, apart], runs[processes[0], apart]) for count, apart in kinds]


def table(rows: list[Row]) -> Table:
    """The rows as people read them."""
    shown = Table(title="Policy decisions a second, each with its ledger commit", title_justify="left")
    for column in ("processes", "", "a second", "p50 ms", "p99 ms", "speedup"):
        shown.add_column(column, justify="right" if column else "left")
    for row in rows:
        kind = "teams that share no rule" if row.apart else "all in one team"
        figures = (row.per_second, row.milliseconds_p50, row.milliseconds_p99)
        shown.add_row(str(row.processes), kind, *(f"{figure:.1f}" for figure in figures), f"{row.speedup:.2f}")
    return shown


@contextmanager
def _database() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as name, EmbeddedPostgres(Path(name)) as server:
        upgrade(server.owner_url)
        store = Store(connect(server.url))
        with store.begin() as work:
            work.catalogue.register_cluster(Cluster("local", {"region": "eu"}, None))
            allow_all(work, TESTS)
            work.policies.put(PolicyDocument.model_validate({"name": "bench", "rules": _RULES}), "bench")
        store.close()
        yield server.url


def _run(store: Store, url: str, label: str, count: int, apart: bool, plans: int) -> _Run:
    """All processes decide their share of the plans at once, after they have warmed up."""
    teams = [f"{label}-{number if apart else 0}" for number in range(count)]
    shares = [
        _proposals(store, f"{label}-{number}", team, _WARM_UP + plans // count) for number, team in enumerate(teams)
    ]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    barrier = context.Barrier(count)
    running, pipes = [], []
    for share in shares:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_decide, args=(url, share, barrier, theirs), daemon=True)
        process.start()
        theirs.close()
        running.append(process)
        pipes.append(ours)
    told_by_each: list[list[tuple[float, float]]] = [pipe.recv() for pipe in pipes]
    for process in running:
        process.join()
    _check_ledger(store, teams, sum(len(share) for share in shares))
    moments = [moment for moments in told_by_each for moment in moments]
    elapsed = max(end for _, end in moments) - min(start for start, _ in moments)
    return _Run(len(moments) / elapsed, [end - start for start, end in moments])


def _proposals(store: Store, prefix: str, team: str, count: int) -> list[Request]:
    """What intake says to `count` new workloads of a team, as a broker delivers it to policy."""
    deliver = Deliver(store)
    answers = (deliver.submit(f"{prefix}-{number}", team=team, replicas=1) for number in range(count))
    return [Deliver.forwarded(answer) for answer in answers]


def _decide(url: str, share: list[Request], barrier: Barrier, result: Connection) -> None:
    """One process: when each of its decisions began and ended, by a clock that all processes share."""
    engine = connect(url, pool_size=2)
    deliver = Deliver(Store(engine))
    for request in share[:_WARM_UP]:
        deliver.raw(POLICY, *request)
    moments = []
    barrier.wait(60)
    for request in share[_WARM_UP:]:
        started = time.monotonic()
        answer = deliver.raw(POLICY, *request)
        moments.append((started, time.monotonic()))
        if told(answer).type != APPROVED:
            raise AssertionError(f"the plan is within every limit, and was not approved: {answer.outcome}")
    result.send(moments)
    engine.dispose()


def _check_ledger(store: Store, teams: list[str], plans: int) -> None:
    """Every decision must be in the books, or it was no decision."""
    with store.read() as work:
        scopes = [CountingScope(ScopeKind.TEAM, team) for team in sorted(set(teams))]
        usages = [work.ledger.usage([scope])[scope] for scope in scopes]
    held = sum(lines.replicas for usage in usages for lines in usage.by_sku.values())
    if held != plans:
        raise AssertionError(f"{plans} plans of one replica were approved, and {held} replicas are held")


def _row(count: int, apart: bool, runs: list[_Run], singles: list[_Run]) -> Row:
    seconds = sorted(second for run in runs for second in run.seconds)
    return Row(
        processes=count,
        apart=apart,
        per_second=statistics.median(run.per_second for run in runs),
        milliseconds_p50=1000 * statistics.median(seconds),
        milliseconds_p99=1000 * seconds[int(len(seconds) * 0.99)],
        speedup=statistics.median(
            run.per_second / single.per_second for run, single in zip(runs, singles, strict=True)
        ),
    )


if __name__ == "__main__":
    Console().print(table(measure(print)))
