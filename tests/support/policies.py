"""Plans, policies and facts in a line each, and strategies that draw them."""

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from shared.models.amounts import Amounts
from shared.models.plan import Verb
from shared.models.pod import Security
from shared.models.workload import WorkloadType
from shared.policy.decision import PlanView, PolicyDecision
from shared.policy.documents import PolicyDocument
from shared.policy.evaluate import evaluate
from shared.policy.facts import ActionQuery, Facts, ScopeUsage, ServiceLevel
from shared.policy.policy_set import PolicySet, StoredPolicy
from shared.policy.vocabulary import CountingScope, ScopeKind

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
WORKLOAD = uuid.UUID(int=7)
COUNTED = (ScopeKind.WORKLOAD, ScopeKind.TEAM, ScopeKind.CLUSTER, ScopeKind.GLOBAL)
HOUR = timedelta(hours=1)


def amounts(count: int) -> Amounts:
    """As many replicas with one GPU, one core and one GiB each, at a dollar an hour."""
    return Amounts(count, 1000 * count, 1024**3 * count, count, Decimal(count))


def view(**fields: Any) -> PlanView:
    """A plan to deploy two replicas of search/prod/ranker with one L4 each on eu; `fields` replace."""
    given: dict[str, Any] = {
        "plan_id": uuid.UUID(int=1),
        "workload_id": WORKLOAD,
        "name": "ranker",
        "verb": Verb.DEPLOY,
        "type": WorkloadType.INFERENCE,
        "team": "search",
        "namespace": "prod",
        "cluster": "eu",
        "labels": {"tier": "gold"},
        "image": "ghcr.io/search/ranker:1",
        "security": Security(),
        "host_paths": (),
        "lines": {"L4": amounts(2)},
        "held": {},
    }
    return PlanView(**{**given, **fields})


def stored(name: str, *rules: dict[str, Any], number: int = 0, **fields: Any) -> StoredPolicy:
    """A stored policy; `number` makes its id."""
    document = PolicyDocument.model_validate({"name": name, "rules": rules, **fields})
    return StoredPolicy(name, document, id=uuid.UUID(int=number))


def usage(count: int, spent: int = 0) -> ScopeUsage:
    """What a scope holds that holds `amounts(count)` of L4."""
    return ScopeUsage({"L4": amounts(count)} if count else {}, Decimal(spent))


def known(plan: PlanView, count: int = 0, **fields: Any) -> Facts:
    """The same usage in every scope of a plan, and fresh prices."""
    scopes = {plan.counting(kind): usage(count) for kind in COUNTED}
    return Facts(**{"usage": scopes, "priced_on": date(2026, 6, 1), **fields})


def decide(plan: PlanView, policies: list[StoredPolicy], facts: Facts, now: datetime = NOW) -> PolicyDecision:
    return evaluate(plan, PolicySet(policies).matching(plan, now), facts, now)


# Strategies ---------------------------------------------------------------------------------------------------------

SKUS = st.sampled_from(["", "L4", "H100"])
LINES = st.dictionaries(SKUS, st.integers(0, 6).map(amounts), max_size=3)
WORDS = st.sampled_from(["a", "b", "c"])
LABELS = st.dictionaries(st.sampled_from(["tier", "app", "stage"]), WORDS, max_size=3)
CREATED = st.sampled_from([None, NOW - timedelta(minutes=30), NOW - timedelta(days=3)])
PLANS = st.builds(
    view,
    verb=st.sampled_from(Verb),
    type=st.sampled_from(WorkloadType),
    team=WORDS,
    namespace=WORDS,
    cluster=WORDS,
    labels=LABELS,
    lines=LINES,
    held=LINES,
    created_at=CREATED,
    queue=st.booleans(),
)


def _some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Nothing half of the time."""
    return st.just([]) | st.lists(values, min_size=1, max_size=2, unique=True)


def _expression(key: str, operator: str, values: list[str]) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": values if operator in ("In", "NotIn") else []}


EXPRESSIONS = st.builds(
    _expression,
    st.sampled_from(["tier", "app", "stage"]),
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.lists(WORDS, min_size=1, max_size=2, unique=True),
)
SELECTORS = st.fixed_dictionaries(
    {},
    optional={
        "matchLabels": st.dictionaries(st.sampled_from(["tier", "app"]), WORDS, max_size=2),
        "matchExpressions": st.lists(EXPRESSIONS, max_size=1),
        "verbs": _some(st.sampled_from(Verb)),
        "types": _some(st.sampled_from(WorkloadType)),
        "teams": _some(WORDS),
        "namespaces": _some(WORDS),
        "clusters": _some(WORDS),
        "skus": _some(st.sampled_from(["l4", "H100", "T4"])),
    },
)

LIMITS = st.integers(0, 15)
AMOUNT_RULES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda s, n: {"type": "cost_ceiling", "scope": s, "usd_per_hour": n}, st.sampled_from(ScopeKind), LIMITS),
    st.builds(lambda s, n: {"type": "quota", "scope": s, "gpus": n}, st.sampled_from(ScopeKind), LIMITS),
    st.builds(lambda s, n: {"type": "quota", "scope": s, "replicas": n}, st.sampled_from(ScopeKind), LIMITS),
    st.builds(lambda s, n: {"type": "quota", "scope": s, "gpus_by_sku": {"L4": n}}, st.sampled_from(ScopeKind), LIMITS),
)
RULES: st.SearchStrategy[dict[str, Any]] = AMOUNT_RULES | st.sampled_from(
    [
        {"type": "cost_ceiling", "scope": "team", "usd_per_month": 3000},
        {"type": "rate_limit", "actions": 2, "window": "PT1H"},
        {"type": "rate_limit", "actions": 1, "window": "PT10M", "scope": "workload", "verbs": ["update", "scale"]},
        {"type": "sla", "min_uptime": 0.9, "window": "PT1H"},
        {"type": "slo", "min_success_rate": 0.9, "window": "PT1H"},
        {"type": "change_freeze", "windows": [{"start": "2026-06-15T00:00:00", "duration": "P1D"}]},
        {"type": "image", "allowed_registries": ["docker.io"]},
        {"type": "security"},
    ]
)


@st.composite
def policies(draw: st.DrawFn, /, rules: st.SearchStrategy[dict[str, Any]] = RULES, **fields: Any) -> StoredPolicy:
    """Any policy; every now and then one that contradicts itself is drawn again, without its label expressions."""
    document = {
        "name": draw(st.sampled_from(["p", "q", "r", "s"])),
        "priority": draw(st.integers(0, 2)),
        "mode": draw(st.sampled_from(["enforce", "warn", "dry_run"])),
        "enabled": draw(st.integers(0, 5)) > 0,
        "selector": draw(SELECTORS),
        "rules": draw(st.lists(rules, min_size=1, max_size=3)),
        **fields,
    }
    number = draw(st.integers(0, 1_000_000))
    try:
        return StoredPolicy(document["name"], PolicyDocument.model_validate(document), id=uuid.UUID(int=number))
    except ValueError:
        document["selector"].pop("matchExpressions")
        return StoredPolicy(document["name"], PolicyDocument.model_validate(document), id=uuid.UUID(int=number))


UNREADABLE = st.builds(lambda n: StoredPolicy("x", None, "bad", uuid.UUID(int=n)), st.integers(0, 1_000_000))
TIMES = st.lists(st.integers(0, 90).map(lambda m: NOW - timedelta(minutes=m)), max_size=4).map(
    lambda t: tuple(sorted(t))
)
LEVELS = st.builds(
    ServiceLevel,
    uptime=st.none() | st.sampled_from([0.5, 0.9, 1.0]),
    requests=st.just(10.0),
    errors=st.sampled_from([0.0, 1.0, 5.0]),
    latency_seconds=st.just({99: 0.5}),
    newest=st.sampled_from([None, NOW, NOW - HOUR]),
)
_ACTIONS = ((ScopeKind.TEAM, (), HOUR), (ScopeKind.WORKLOAD, (Verb.UPDATE, Verb.SCALE), timedelta(minutes=10)))


@st.composite
def facts(draw: st.DrawFn, /, plan: PlanView) -> Facts:
    """What is known about a plan: anything may be missing, and a scope holds at least what the workload does."""
    scopes: dict[CountingScope, ScopeUsage] = {}
    for kind in draw(st.lists(st.sampled_from(COUNTED), unique=True)):
        by_sku = dict(plan.held)
        for sku, more in draw(LINES).items():
            by_sku[sku] = by_sku.get(sku, Amounts()) + more
        scopes[plan.counting(kind)] = ScopeUsage(by_sku, Decimal(draw(st.integers(0, 3000))))
    queries = [ActionQuery(plan.counting(kind), verbs, window) for kind, verbs, window in _ACTIONS]
    return Facts(
        usage=scopes,
        actions={query: draw(TIMES) for query in draw(st.lists(st.sampled_from(queries), unique=True))},
        service=draw(st.dictionaries(st.just(HOUR), LEVELS)),
        priced_on=draw(st.sampled_from([None, date(2026, 6, 1), date(2020, 1, 1)])),
        capacity=draw(st.none() | st.dictionaries(SKUS.filter(bool), st.integers(0, 8))),
    )


@st.composite
def situations(
    draw: st.DrawFn, /, rules: st.SearchStrategy[dict[str, Any]] = RULES
) -> tuple[PlanView, list[StoredPolicy], Facts]:
    """A plan, policies and facts."""
    plan = draw(PLANS)
    return plan, draw(st.lists(policies(rules) | UNREADABLE, max_size=5)), draw(facts(plan))
