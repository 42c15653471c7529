"""For a plan that was denied: the smallest changes that would pass, found by evaluating them.

Nothing is guessed: every suggestion is a plan that the same policies approve on the same kind of facts. In
the order of how little they change: the same later, fewer replicas, another cluster, another SKU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

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


_MAX_HOPS = 20

Judge = Callable[[Change], PolicyDecision]
"""The decision on the plan with a change made to it."""


def explain(
    denied: PolicyDecision, judge: Judge, *, replicas: int, skus: Sequence[str], clusters: Sequence[str]
) -> list[Suggestion]:
    """The changes that would pass, at most one of a kind. `skus` and `clusters` are the others to try, best first."""
    found = [_later(denied, judge), _fewer(judge, replicas)]
    found.append(_first(judge, [(Change(cluster=name), f"run it on cluster {name}") for name in clusters]))
    found.append(_first(judge, [(Change(sku=sku), f"ask for {sku} GPUs") for sku in skus]))
    return [suggestion for suggestion in found if suggestion is not None]


def _later(denied: PolicyDecision, judge: Judge) -> Suggestion | None:
    """When time has mended all of it; what is in the way by then, such as another freeze, is waited for too."""
    decision = denied
    for _ in range(_MAX_HOPS):
        moments = [finding.until for finding in decision.violations if finding.until is not None]
        if not moments or len(moments) < len(decision.violations):
            return None
        at = max(moments)
        decision = judge(Change(at=at))
        if decision.approved:
            return Suggestion(Change(at=at), f"submit it again at {at.isoformat()}")
    return None


def _fewer(judge: Judge, replicas: int) -> Suggestion | None:
    """The most replicas that pass: fewer take up less of everything, so what passes is found by halving."""
    passing, failing = 0, replicas
    while failing - passing > 1:
        middle = (passing + failing) // 2
        if judge(Change(replicas=middle)).approved:
            passing = middle
        else:
            failing = middle
    if passing == 0:
        return None
    noun = "replica" if passing == 1 else "replicas"
    return Suggestion(Change(replicas=passing), f"ask for {passing} {noun} instead of {replicas}")


def _first(judge: Judge, candidates: Sequence[tuple[Change, str]]) -> Suggestion | None:
    return next((Suggestion(change, words) for change, words in candidates if judge(change).approved), None)
