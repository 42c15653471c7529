"""How policy decisions are shown, from the JSON of the REST face: those of a simulation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

from functions.cli.views.printing import Cell, Style, money, print_table

_HEADER = ("WORKLOAD", "CLUSTER", "PLACED", "OUTCOME", "VERB", "REPLICAS", "GPUS", "USD/H", "POLICIES")
_DETAIL = ("WORKLOAD", "CLUSTER", "WHAT", "POLICY", "RULE", "LIMIT", "OBSERVED", "MESSAGE")
_STYLES = {"approved": Style.GOOD, "queued": Style.BUSY, "awaiting_approval": Style.BUSY}


def print_outlooks(outlooks: Sequence[Mapping[str, Any]]) -> None:
    """The decision on every cluster, and below what the decisions rest on and what would pass."""
    if not outlooks:
        return
    print_table(_HEADER, [_cells(one) for one in outlooks])
    details = [detail for one in outlooks for detail in _details(one)]
    if details:
        typer.echo("")
        print_table(_DETAIL, details)


def _cells(outlook: Mapping[str, Any]) -> tuple[Cell, ...]:
    outcome = (outlook["outcome"], _STYLES.get(outlook["outcome"], Style.BAD))
    head = (outlook["workload"], outlook["cluster"], "yes" if outlook["placed"] else "no", outcome)
    if outlook["verb"] is None:
        return (*head, "", "", "", "", "")
    return (
        *head,
        outlook["verb"],
        str(outlook["replicas"]),
        str(outlook["gpus"]),
        money(outlook["usdPerHour"]),
        ",".join(outlook["determining"]),
    )


def _details(outlook: Mapping[str, Any]) -> Iterator[tuple[Cell, ...]]:
    where = (outlook["workload"], outlook["cluster"])
    for what, findings, style in (
        ("violation", outlook["violations"], Style.BAD),
        ("dry run", outlook["dryRun"], Style.PLAIN),
    ):
        for one in findings:
            yield *where, (what, style), *(one[name] for name in ("policy", "rule", "limit", "observed", "message"))
    for warning in outlook["warnings"]:
        yield *where, ("warning", Style.BUSY), "", "", "", "", warning
    for suggestion in outlook["suggestions"]:
        yield *where, ("would pass", Style.GOOD), "", "", "", "", suggestion["message"]
    if outlook["couldWait"]:
        yield *where, ("could wait", Style.BUSY), "", "", "", "", 'with "queue": true it waits for room'
