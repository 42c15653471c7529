"""How policies and their history are shown, from the JSON of the REST face."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from functions.cli.views.printing import Cell, Style, moment

HEADER = ("NAME", "PRIORITY", "MODE", "ENABLED", "RULES", "VALID", "PROBLEM")
HISTORY_HEADER = ("VERSION", "WHEN", "AUTHOR", "CHANGE", "WHAT")


def cells(policy: Mapping[str, Any], now: datetime) -> tuple[Cell, ...]:
    """A line of the table."""
    enabled: Cell = "yes" if policy["enabled"] else ("no", Style.BAD)
    if "problem" in policy:
        return (policy["name"], "", "", enabled, "", "", (problem(policy), Style.BAD))
    rules = ",".join([rule["type"] for rule in policy["rules"]] + ["deny_unmatched"] * policy["deny_unmatched"])
    mode = policy["mode"]
    return (
        policy["name"],
        str(policy["priority"]),
        (mode, Style.GOOD if mode == "enforce" else Style.BUSY),
        enabled,
        rules,
        _validity(policy.get("valid_from"), policy.get("valid_until"), now),
        "",
    )


def document_of(policy: Mapping[str, Any]) -> Any:
    """A document that can be put again; of a policy that cannot be read, what is stored."""
    return policy["document"] if "problem" in policy else policy


def problem(policy: Mapping[str, Any]) -> str:
    """Why a policy cannot be read, and what that means."""
    meaning = "denies every plan that takes something" if policy["enabled"] else "is disabled"
    return f"cannot be read and {meaning}: {policy['problem']}"


def history_cells(entry: Mapping[str, Any]) -> tuple[Cell, ...]:
    """A line of the history's table."""
    differences = "; ".join(entry["differences"])
    return (str(entry["version"]), entry["changedAt"], entry["author"], entry["change"], differences)


def _validity(begins: str | None, ends: str | None, now: datetime) -> Cell:
    """ "FROM..UNTIL", either end open; red when that is not now."""
    if begins is None and ends is None:
        return "always"
    since, until = (None if text is None else datetime.fromisoformat(text) for text in (begins, ends))
    valid = (since is None or since <= now) and (until is None or now < until)
    return f"{moment(since) or ''}..{moment(until) or ''}", Style.PLAIN if valid else Style.BAD
