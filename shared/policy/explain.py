"""For a plan that was denied: the smallest changes that would pass, found by evaluating them.

Nothing is guessed: every suggestion is a plan that the same policies approve on the same kind of facts. In
the order of how little they change: the same later, fewer replicas, another cluster, another SKU. When none of these
passes alone, two of them may: first those that wait for what time mends, then fewer replicas elsewhere.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import JsonValue

from shared.models.moments import rfc3339
from shared.policy.decision import PolicyDecision


@dataclass(frozen=True)
class Change:
    """What to do otherwise; None leaves it as it is."""

    replicas: int | None = None
    sku: str | None = None
    cluster: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Suggestion:
    """A change that passes, in words."""

    change: Change
    message: str

    def as_json(self) -> dict[str, JsonValue]:
        """For machines; a change that it does not make is null."""
        change = self.change
        return {
            "message": self.message,
            "replicas": change.replicas,
            "sku": change.sku,
            "cluster": change.cluster,
            "at": rfc3339(change.at),
        }


_MAX_HOPS = 20

Decide = Callable[[Change], PolicyDecision]
"""The decision on the plan with a change made to it."""


def explain(
    denied: PolicyDecision, decide: Decide, *, replicas: int, skus: Sequence[str], clusters: Sequence[str]
) -> list[Suggestion]:
    """The changes that would pass, at most one of a kind. `skus` and `clusters` are the others to try, best first."""
    moved, other = [Change(cluster=name) for name in clusters], [Change(sku=sku) for sku in skus]
    at, mended = _in_time(denied, decide)
    later = Change(at=at) if at is not None else None
    found = [
        later if mended else None,
        _fewer(decide, Change(), replicas),
        _first(decide, moved),
        _first(decide, other),
    ]
    if not any(found) and later is not None:
        found = [
            _fewer(decide, later, replicas),
            _first(decide, [replace(change, at=at) for change in moved]),
            _first(decide, [replace(change, at=at) for change in other]),
        ]
    if not any(found):
        found = [_any_fewer(decide, moved, replicas), _any_fewer(decide, other, replicas)]
    return [Suggestion(change, _words(change, replicas)) for change in found if change is not None]


def _in_time(denied: PolicyDecision, decide: Decide) -> tuple[datetime | None, bool]:
    """When time has mended all that it mends, and whether that is everything.

    What is in the way by then, such as another freeze, is waited for too. None where time mends nothing.
    """
    decision, at = denied, None
    for _ in range(_MAX_HOPS):
        moments = [finding.until for finding in decision.violations if finding.until is not None]
        if not moments:
            return at, decision.approved
        at = max(moments)
        decision = decide(Change(at=at))
    return None, False


def _fewer(decide: Decide, base: Change, replicas: int) -> Change | None:
    """The most replicas that pass: fewer take up less of everything, so what passes is found by halving."""
    passing, failing = 0, replicas
    while failing - passing > 1:
        middle = (passing + failing) // 2
        if decide(replace(base, replicas=middle)).approved:
            passing = middle
        else:
            failing = middle
    return replace(base, replicas=passing) if passing else None


def _any_fewer(decide: Decide, bases: Iterable[Change], replicas: int) -> Change | None:
    """The same for the place that takes the most of them; the first of several."""
    found = [change for base in bases if (change := _fewer(decide, base, replicas)) is not None]
    return max(found, key=lambda change: change.replicas or 0, default=None)


def _first(decide: Decide, candidates: Iterable[Change]) -> Change | None:
    return next((change for change in candidates if decide(change).approved), None)


def _words(change: Change, replicas: int) -> str:
    parts = []
    if change.replicas is not None:
        noun = "replica" if change.replicas == 1 else "replicas"
        parts.append(f"ask for {change.replicas} {noun} instead of {replicas}")
    if change.cluster is not None:
        parts.append(f"run it on cluster {change.cluster}")
    if change.sku is not None:
        parts.append(f"ask for {change.sku} GPUs")
    if change.at is not None:
        parts.append(f"submit it again at {change.at.isoformat()}")
    return " and ".join(parts)
