"""How discrepancies of the ledger are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from functions.cli.views.printing import Cell, Style
from shared.models.amounts import NOTHING, Amounts
from shared.models.quantities import format_bytes, format_millicores
from shared.operations.cluster_check import ClusterReport
from shared.operations.ledger_check import LedgerReport

HEADER = ("WHAT", "WHO", "CLUSTER", "SKU", "LEDGER", "EXPECTED", "WHY")


@dataclass(frozen=True)
class LedgerLine:
    """One thing that differs; `expected` is None where only the cluster can be repaired."""

    what: str
    who: str
    cluster: str
    sku: str
    ledger: Amounts
    expected: Amounts | None
    why: str


def of_ledger(report: LedgerReport) -> Iterator[LedgerLine]:
    """A line for each reservation and each row of usage that is wrong."""
    for one in report.workloads:
        line = one.line
        amount = "more" if line.expected.within(line.reserved) else "less"
        why = f"holds {amount} than its revisions and plans take"
        yield LedgerLine("reservation", one.label, line.cluster, line.sku, line.reserved, line.expected, why)
    for orphan in report.orphans:
        for sku, amounts in sorted(orphan.lines.items()):
            why = "there is no such workload"
            yield LedgerLine("reservation", str(orphan.workload_id), orphan.cluster, sku, amounts, NOTHING, why)
    for wrong in report.usage:
        team, cluster, sku = wrong.key
        why = "is not the sum of its reservations"
        yield LedgerLine("usage", f"team {team}", cluster, sku, wrong.counted, wrong.reserved, why)


def of_clusters(report: ClusterReport) -> Iterator[LedgerLine]:
    """A line for each workload that runs more or less than the ledger says."""
    for one in report.discrepancies:
        reserved = one.reserved_replicas
        if one.occupying:
            why = f"{one.occupying} pods hold resources; {reserved} replicas are reserved"
        else:
            why = f"nothing is left of what {reserved} replicas are reserved for; verification proposes it again"
        yield LedgerLine("cluster", one.label, one.cluster, one.sku, Amounts(replicas=reserved), None, why)


def cells(one: LedgerLine) -> tuple[Cell, ...]:
    """A line of the table."""
    expected = "" if one.expected is None else _amounts(one.expected)
    return (one.what, one.who, one.cluster, one.sku, (_amounts(one.ledger), Style.BAD), expected, one.why)


def as_json(one: LedgerLine) -> dict[str, JsonValue]:
    """A line for programs."""
    return {
        "what": one.what,
        "who": one.who,
        "cluster": one.cluster,
        "sku": one.sku,
        "ledger": _amounts_as_json(one.ledger),
        "expected": None if one.expected is None else _amounts_as_json(one.expected),
        "why": one.why,
    }


def _amounts(amounts: Amounts) -> str:
    """Without spaces, so that a line's columns can be told apart."""
    parts = {
        "replicas": amounts.replicas and str(amounts.replicas),
        "cpu": amounts.cpu and format_millicores(amounts.cpu),
        "memory": amounts.memory and format_bytes(amounts.memory),
        "gpus": amounts.gpus and str(amounts.gpus),
        "usd/h": amounts.usd_per_hour and f"{amounts.usd_per_hour:f}",
    }
    return ",".join(f"{name}={value}" for name, value in parts.items() if value) or "nothing"


def _amounts_as_json(amounts: Amounts) -> dict[str, JsonValue]:
    fields = amounts.as_json()
    return {"usdPerHour": fields.pop("usd_per_hour"), **fields}
