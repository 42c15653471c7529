"""How policies and their history are shown."""

from __future__ import annotations

from datetime import datetime

from pydantic import JsonValue

from functions.cli.views.printing import Cell, Style, moment
from shared.operations.policies import ChangedPolicy, HistoryEntry
from shared.policy.documents import PolicyDocument
from shared.policy.policy_set import StoredPolicy
from shared.policy.vocabulary import Mode

HEADER = ("NAME", "PRIORITY", "MODE", "ENABLED", "VERSION", "RULES", "VALID", "PROBLEM")
HISTORY_HEADER = ("VERSION", "WHEN", "AUTHOR", "CHANGE", "WHAT")


def change_line(name: str, change: ChangedPolicy | None) -> str:
    """What became of a policy, in a line."""
    return f"{name} unchanged" if change is None else f"{name} {change.change}, version {change.version}"


def cells(policy: StoredPolicy, now: datetime) -> tuple[Cell, ...]:
    """A line of the table."""
    document = policy.document
    enabled: Cell = "yes" if policy.enabled else ("no", Style.BAD)
    if document is None:
        return (policy.name, "", "", enabled, str(policy.version), "", "", (problem(policy), Style.BAD))
    rules = ",".join([rule.type for rule in document.rules] + ["deny_unmatched"] * document.deny_unmatched)
    return (
        policy.name,
        str(document.priority),
        (document.mode, Style.GOOD if document.mode is Mode.ENFORCE else Style.BUSY),
        enabled,
        str(policy.version),
        rules,
        _validity(document, now),
        "",
    )


def as_json(policy: StoredPolicy) -> dict[str, JsonValue]:
    """The document; of one that cannot be read the problem."""
    if policy.document is None:
        return {"name": policy.name, "enabled": policy.enabled, "problem": policy.problem}
    return policy.as_json()


def problem(policy: StoredPolicy) -> str:
    """Why a policy cannot be read, and what that means."""
    meaning = "denies every plan that takes something" if policy.enabled else "is disabled"
    return f"cannot be read and {meaning}: {policy.problem}"


def history_cells(entry: HistoryEntry) -> tuple[Cell, ...]:
    """A line of the history's table."""
    version = entry.version
    when = moment(version.changed_at) or ""
    return (str(version.version), when, version.author, version.change, "; ".join(entry.differences))


def history_as_json(entry: HistoryEntry) -> dict[str, JsonValue]:
    """A version with its document."""
    version = entry.version
    return {
        "version": version.version,
        "changedAt": moment(version.changed_at),
        "author": version.author,
        "change": version.change.value,
        "differences": list(entry.differences),
        "document": version.document,
    }


def _validity(document: PolicyDocument, now: datetime) -> Cell:
    """ "FROM..UNTIL", either end open; red when that is not now."""
    if document.valid_from is None and document.valid_until is None:
        return "always"
    begins, ends = moment(document.valid_from) or "", moment(document.valid_until) or ""
    valid = (document.valid_from is None or document.valid_from <= now) and (
        document.valid_until is None or now < document.valid_until
    )
    return f"{begins}..{ends}", Style.PLAIN if valid else Style.BAD
