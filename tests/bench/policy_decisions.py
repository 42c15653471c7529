"""Policy decisions beside cedarpy: how long one takes as policies grow, scoped (one policy a team) and unscoped.

Both sides hold what they prepared: Sentinel a compiled PolicySet, the plan and the facts, Cedar a parsed PolicySet,
the request and parsed entities. Both hold the same plan against the same limits, a quota of GPUs and a ceiling of
dollars; Cedar gets the sums in its request, since it has no aggregates. A decision is matching, naming the facts that
are needed, and evaluating.
"""

import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

import cedarpy
from rich.console import Console
from rich.table import Table

from shared.models.amounts import Amounts
from shared.models.plan import Verb
from shared.models.pod import Security
from shared.models.workload import WorkloadType
from shared.policy.decision import PlanView
from shared.policy.documents import PolicyDocument
from shared.policy.evaluate import evaluate, facts_needed
from shared.policy.facts import Facts, ScopeUsage
from shared.policy.policy_set import PolicySet, StoredPolicy
from shared.policy.vocabulary import ScopeKind

SIZES = (1, 10, 100, 1_000, 10_000)
ROUNDS = 7
_SECONDS_A_ROUND = 0.1
_MOST_A_ROUND = 2_000
MOST_OF_CEDAR = 0.05
"""What a decision at 1,000 scoped policies may cost of Cedar's."""
MOST_GROWTH = 1.5
"""What a decision at 10,000 scoped policies may cost of one at 1,000."""

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
_TEAM = "team-0"
_AMOUNTS = Amounts(2, 8000, 16 * 1024**3, 2, Decimal("2.24"))


@dataclass(frozen=True)
class Row:
    """One number of policies: microseconds a decision, a figure a round.

    Rounds go through all numbers and both sides, so that figures of one round can be compared on a busy machine.
    """

    policies: int
    scoped: bool
    sentinel: tuple[float, ...]
    cedar: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Sentinel's time over Cedar's."""
        return _ratio(self.sentinel, self.cedar)

    def growth(self, smaller: "Row") -> float:
        """Sentinel's time over its time with fewer policies."""
        return _ratio(self.sentinel, smaller.sentinel)


def measure(sizes: tuple[int, ...] = SIZES, rounds: int = ROUNDS) -> list[Row]:
    """A row for each number of policies, scoped and then unscoped."""
    kinds = [(size, scoped) for scoped in (True, False) for size in sizes]
    sides = [side for kind in kinds for side in (_sentinel(*kind), _cedar(*kind))]
    counts = [_count(side) for side in sides]
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, count, found in zip(sides, counts, times, strict=True):
            found.append(_seconds(side, count) / count * 1e6)
    pairs = zip(times[::2], times[1::2], strict=True)
    return [Row(*kind, tuple(ours), tuple(theirs)) for kind, (ours, theirs) in zip(kinds, pairs, strict=True)]


def table(rows: list[Row]) -> Table:
    """The rows as people read them, and what is promised of them."""
    shown = Table(title="P1: policy decisions, medians in microseconds")
    for column in ("policies", "", "sentinel", "cedarpy", "ratio", "promise"):
        shown.add_column(column, justify="left" if column in ("", "promise") else "right")
    for row in rows:
        kind = "scoped" if row.scoped else "unscoped"
        times = [f"{statistics.median(found):.1f}" for found in (row.sentinel, row.cedar)]
        shown.add_row(f"{row.policies:,}", kind, *times, f"{row.ratio:.3f}", _promise(row, rows))
    return shown


def _promise(row: Row, rows: list[Row]) -> str:
    if not row.scoped or row.policies not in (1_000, 10_000):
        return ""
    if row.policies == 1_000:
        return _kept(row.ratio, MOST_OF_CEDAR, "of cedarpy")
    thousand = next((other for other in rows if other.scoped and other.policies == 1_000), row)
    return _kept(row.growth(thousand), MOST_GROWTH, "of 1,000 policies")


def _kept(ratio: float, limit: float, what: str) -> str:
    return f"{ratio:.3f} {what}, at most {limit:g}: {'kept' if ratio <= limit else 'BROKEN'}"


def _ratio(ours: tuple[float, ...], theirs: tuple[float, ...]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _count(decide: Callable[[], bool]) -> int:
    """How many decisions make a round; the first one warms up."""
    decide()
    return max(1, min(_MOST_A_ROUND, int(_SECONDS_A_ROUND / max(_seconds(decide, 1), 1e-9))))


def _seconds(decide: Callable[[], bool], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        if not decide():
            raise AssertionError("the plan is within every limit, and was denied")
    return time.perf_counter() - started


def _sentinel(size: int, scoped: bool) -> Callable[[], bool]:
    policies = PolicySet(_policy(number, scoped) for number in range(size))
    plan, facts = _plan(), _facts()

    def decide() -> bool:
        matching = policies.matching(plan, NOW)
        facts_needed(plan, matching)
        return evaluate(plan, matching, facts, NOW).approved

    return decide


def _policy(number: int, scoped: bool) -> StoredPolicy:
    document = {
        "name": f"policy-{number}",
        "selector": {"teams": [f"team-{number}"]} if scoped else {},
        "rules": [{"type": "quota", "gpus": 16 + number}, {"type": "cost_ceiling", "usd_per_hour": 40 + number}],
    }
    return StoredPolicy(f"policy-{number}", PolicyDocument.model_validate(document), id=uuid.UUID(int=number))


def _plan() -> PlanView:
    return PlanView(
        plan_id=uuid.UUID(int=1),
        workload_id=uuid.UUID(int=2),
        name="test-inference",
        verb=Verb.DEPLOY,
        type=WorkloadType.INFERENCE,
        team=_TEAM,
        namespace="search",
        cluster="local",
        labels={"tier": "gold", "app": "search"},
        image="nginx:1.29",
        security=Security(),
        host_paths=(),
        lines={"L4": _AMOUNTS},
        held={},
    )


def _facts() -> Facts:
    plan = _plan()
    usage = ScopeUsage({"L4": _AMOUNTS, "H100": _AMOUNTS}, Decimal(100))
    scopes = {plan.counting(kind): usage for kind in (ScopeKind.TEAM, ScopeKind.WORKLOAD)}
    return Facts(usage=scopes, priced_on=date(2026, 1, 1))


def _cedar(size: int, scoped: bool) -> Callable[[], bool]:
    policies = cedarpy.PolicySet.from_str("\n".join(_cedar_policy(number, scoped) for number in range(size)))
    entities = cedarpy.Entities.from_json_str("[]")
    request = {
        "principal": {"type": "Team", "id": _TEAM},
        "action": {"type": "Action", "id": "deploy"},
        "resource": {"type": "Workload", "id": "test-inference"},
        "context": {"gpus": 6, "cents_per_hour": 672},
    }

    def decide() -> bool:
        return cedarpy.is_authorized(request, policies, entities).allowed

    return decide


def _cedar_policy(number: int, scoped: bool) -> str:
    principal = f'principal == Team::"team-{number}"' if scoped else "principal"
    limits = f"context.gpus > {16 + number} || context.cents_per_hour > {100 * (40 + number)}"
    permit = "permit (principal, action, resource);\n" if number == 0 else ""
    return f"{permit}forbid ({principal}, action, resource) when {{ {limits} }};"


if __name__ == "__main__":
    Console().print(table(measure()))
