"""`python -m tests.bench [BENCHMARK] [--json]`: runs one or all, and prints tables with the promises, or JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import (
    agents,
    chain,
    cold,
    commands,
    decisions,
    duplicates,
    flood,
    idle_gpus,
    ledger_checks,
    lists,
    neighbours,
    policy_decisions,
    queues,
    rest,
    scrapes,
    sweeps,
    telemetry,
    traces,
)
from tests.bench.chain import Chains
from tests.bench.cold import CHAIN, LIMIT, LIMITS, OTHERS, ROUNDS, ColdStarts

Benchmark = Callable[[Callable[[str], None]], tuple[Any, list[Table]]]

_TOP_IMPORTS = 6
_WIDTH = 120  # where there is no terminal to ask


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    benchmarks: dict[str, Benchmark] = {
        "cold": _cold,
        "chain": _chain,
        "commands": _commands,
        "duplicates": _duplicates,
    }
    benchmarks |= {"policy": _policy, "decisions": _decisions, "ledger": _ledger, "queue": _queue}
    benchmarks |= {"neighbours": _neighbours, "sweep": _sweep, "rest": _rest, "lists": _lists, "agent": _agent}
    benchmarks |= {"metrics": _metrics, "telemetry": _telemetry, "flood": _flood}
    benchmarks |= {"tracing": _tracing, "idle": _idle}
    parser.add_argument("what", nargs="?", choices=tuple(benchmarks), help="one of them (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # without byte code, every process would compile first
    os.environ.setdefault("LOG_LEVEL", "warning")
    console, notes = Console(width=None if sys.stdout.isatty() else _WIDTH), Console(stderr=True)

    def said(text: str) -> None:
        notes.print(text, style="dim", highlight=False)

    document: dict[str, Any] = {}
    for name, run in benchmarks.items():
        if options.what in (None, name):
            figures, tables = run(said)
            document[name] = figures
            for table in () if options.json else tables:
                console.print(table, "")
    if options.json:
        print(json.dumps(document, indent=2))
    return 0


def _cold(said: Callable[[str], None]) -> tuple[dict[str, Any], list[Table]]:
    found = cold.measure(said)
    return _cold_figures(found), [_cold_table(found), _imports_table(found)]


def _cold_figures(found: ColdStarts) -> dict[str, Any]:
    functions = {
        name: {
            "milliseconds": statistics.median(seconds) * 1000,
            "ratio": found.ratio(name),
            "limit": LIMITS.get(name, LIMIT),
            "imports_milliseconds": found.imports[name].total,
        }
        for name, seconds in found.functions.items()
    }
    return {"hello_milliseconds": statistics.median(found.hello) * 1000, "functions": functions}


def _cold_table(found: ColdStarts) -> Table:
    table = Table(
        title=f"P2: cold start, exec to first handled event (median of {ROUNDS}, alternating)", title_justify="left"
    )
    for column in ("function", "ms", "min", "max", "ratio", "promised"):
        table.add_column(column, justify="left" if column == "function" else "right")
    rows = {"functions-framework hello": found.hello, **{n: found.functions[n] for n in (*CHAIN, *OTHERS)}}
    for name, seconds in rows.items():
        own = name in found.functions
        ratio = f"{found.ratio(name):.2f}" if own else "1"
        milliseconds = (f"{value * 1000:.0f}" for value in (statistics.median(seconds), min(seconds), max(seconds)))
        table.add_row(name, *milliseconds, ratio, f"<= {LIMITS.get(name, LIMIT)}" if own else "")
    return table


def _imports_table(found: ColdStarts) -> Table:
    table = Table(title="Import budget until the first event is handled, ms under -X importtime", title_justify="left")
    for column in ("function", "total", "most of it"):
        table.add_column(column, justify="right" if column == "total" else "left")
    for name in (*CHAIN, *OTHERS):
        budget = found.imports[name]
        most = ", ".join(f"{package} {own:.0f}" for package, own in budget.packages[:_TOP_IMPORTS])
        table.add_row(name, f"{budget.total:.0f}", most)
    return table


def _chain(said: Callable[[str], None]) -> tuple[dict[str, Any], list[Table]]:
    found = asyncio.run(chain.measure(said))
    return asdict(found), [_chain_table(found)]


def _chain_table(found: Chains) -> Table:
    title = (
        "P3, P8, P10: the chain beside null handlers with the same hops"
        f" ({chain.ONE_BY_ONE} one by one, {chain.BURSTS} bursts of {chain.AT_ONCE}, alternating)"
    )
    table = Table(title=title, title_justify="left")
    for column in ("", "Sentinel", "null", "ratio", "promised"):
        table.add_column(column, justify="left" if not column else "right")
    rows = (
        ("singly: submitted -> applied p50, ms", "applied_p50", 1000.0),
        ("singly: submitted -> healthy p50, ms", "done_p50", 1000.0),
        ("burst: submitted -> healthy p50, ms", "burst_p50", 1000.0),
        ("burst: submitted -> healthy p99, ms", "burst_p99", 1000.0),
        ("burst: workloads a second", "workloads_per_second", 1.0),
        ("burst: events a second", "events_per_second", 1.0),
        ("burst: CPU of a workload, ms", "cpu_per_workload", 1000.0),
    )
    for text, name, factor in rows:
        ours, theirs = getattr(found.sentinel, name), getattr(found.null, name)
        promised = " ".join(chain.LIMITS.get(name, ()))
        table.add_row(text, f"{ours * factor:,.1f}", f"{theirs * factor:,.1f}", f"{ours / theirs:.2f}", promised)
    table.add_row(
        "outbox: transaction -> published p50, ms",
        f"{found.outbox_p50 * 1000:,.1f}",
        "",
        "",
        " ".join(chain.OUTBOX_LIMIT),
    )
    return table


def _commands(said: Callable[[str], None]) -> tuple[dict[str, Any], list[Table]]:
    found = asyncio.run(commands.measure(said))
    return asdict(found), [commands.table(found)]


def _duplicates(said: Callable[[str], None]) -> tuple[dict[str, Any], list[Table]]:
    found = duplicates.measure(said)
    return asdict(found), [duplicates.table(found)]


def _policy(said: Callable[[str], None]) -> tuple[list[dict[str, Any]], list[Table]]:
    said("policy decisions beside cedarpy")
    found = policy_decisions.measure()
    return [{**asdict(row), "ratio": row.ratio} for row in found], [policy_decisions.table(found)]


def _decisions(said: Callable[[str], None]) -> tuple[list[dict[str, Any]], list[Table]]:
    found = decisions.measure(said)
    return [asdict(row) for row in found], [decisions.table(found)]


def _ledger(said: Callable[[str], None]) -> tuple[dict[str, Any], list[Table]]:
    found = ledger_checks.measure(said)
    return asdict(found), [ledger_checks.table(found)]


def _queue(said: Callable[[str], None]) -> tuple[list[dict[str, Any]], list[Table]]:
    found = queues.measure(said)
    return [asdict(row) for row in found], [queues.table(found)]


def _neighbours(said: Callable[[str], None]) -> tuple[dict[str, Any], list[Table]]:
    found = asyncio.run(neighbours.measure(said))
    return {**asdict(found), "ratio": found.ratio}, [neighbours.table(found)]


def _sweep(said: Callable[[str], None]) -> tuple[dict[str, Any], list[Table]]:
    found = sweeps.measure(said)
    return asdict(found), [sweeps.table(found)]


def _agent(said: Callable[[str], None]) -> tuple[dict[str, Any], list[Table]]:
    found = agents.measure(said)
    ratios = {"ratio": found.sample / found.bare_woken, "reading_ratio": found.reading / found.bare}
    return {**asdict(found), **ratios}, [agents.table(found)]


def _flood(said: Callable[[str], None]) -> tuple[dict[str, Any], list[Table]]:
    found = asyncio.run(flood.measure(said))
    return asdict(found), [flood.table(found)]


def _telemetry(said: Callable[[str], None]) -> tuple[dict[str, Any], list[Table]]:
    found = telemetry.measure(said)
    return {**asdict(found), "ratio": found.ratio(found.http, found.ready)}, [telemetry.table(found)]


def _idle(said: Callable[[str], None]) -> tuple[list[dict[str, Any]], list[Table]]:
    found = idle_gpus.measure(said)
    return [{**asdict(one), "ratio": one.ratio} for one in found], [idle_gpus.table(found)]


def _tracing(said: Callable[[str], None]) -> tuple[dict[str, Any], list[Table]]:
    found = asyncio.run(traces.measure(said))
    return asdict(found), [traces.table(found)]


def _rest(said: Callable[[str], None]) -> tuple[dict[str, Any], list[Table]]:
    found = rest.measure(said)
    numbers = {kind: {name: asdict(one) for name, one in both.items()} for kind, both in found.items()}
    return numbers, [rest.table(found)]


def _lists(said: Callable[[str], None]) -> tuple[list[dict[str, Any]], list[Table]]:
    costs = lists.measure(said)
    return [{**asdict(one), "ratio": one.ratio} for one in costs], [lists.table(costs)]


def _metrics(said: Callable[[str], None]) -> tuple[list[dict[str, Any]], list[Table]]:
    costs = scrapes.measure(said)
    return [{**asdict(one), "ratio": one.ratio} for one in costs], [scrapes.table(costs)]


if __name__ == "__main__":
    sys.exit(main())
