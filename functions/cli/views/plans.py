"""How action plans are shown, from the JSON of the REST face."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from functions.cli.views.printing import Cell, Style, age, money

HEADER = (
    *("ID", "WORKLOAD", "TEAM", "VERB", "CLUSTER", "REPLICAS", "GPUS", "USD/H", "STATUS"),
    *("PROPOSED BY", "APPROVED BY", "AGE"),
)
DETAIL_HEADER = ("WHAT", "POLICY", "RULE", "LIMIT", "OBSERVED", "MESSAGE")
_STYLES = {"approved": Style.GOOD, "executed": Style.GOOD, "denied": Style.BAD, "failed": Style.BAD}
_QUIET = "superseded"


def cells(plan: Mapping[str, Any], now: datetime) -> tuple[Cell, ...]:
    """A line of the table."""
    approval = plan["approval"] or {}
    return (
        plan["id"],
        plan["workload"],
        plan["team"],
        plan["verb"],
        plan["cluster"],
        str(plan["replicas"]),
        str(plan["gpus"]),
        money(plan["usdPerHour"]),
        (plan["status"], _style(plan["status"])),
        plan["proposedBy"],
        approval.get("grantedBy") or "",
        age(plan["createdAt"], now),
    )


def details(plan: Mapping[str, Any]) -> list[tuple[Cell, ...]]:
    """What the decision on a plan rests on, and what would pass."""
    return [*_findings(plan["decision"] or {}), *_suggestions(plan["wouldPass"] or ())]


def _findings(decision: Mapping[str, Any]) -> Iterator[tuple[Cell, ...]]:
    for what, name, style in (("violation", "violations", Style.BAD), ("dry run", "dryRun", Style.PLAIN)):
        for one in decision.get(name, ()):
            yield (what, style), *(str(one[part]) for part in ("policy", "rule", "limit", "observed", "message"))
    for warning in decision.get("warnings", ()):
        yield ("warning", Style.BUSY), "", "", "", "", warning


def _suggestions(suggestions: Any) -> Iterator[tuple[Cell, ...]]:
    for one in suggestions:
        yield ("would pass", Style.GOOD), "", "", "", "", one["message"]


def _style(status: str) -> Style:
    return Style.PLAIN if status == _QUIET else _STYLES.get(status, Style.BUSY)
