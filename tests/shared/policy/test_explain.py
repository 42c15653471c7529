"""Suggestions are evaluated, not guessed: each passes, and fewer replicas are as many as pass."""

from collections.abc import Callable
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.models.amounts import Amounts
from shared.policy.decision import PlanView, PolicyDecision
from shared.policy.evaluate import evaluate
from shared.policy.explain import Change, Decide, explain
from shared.policy.facts import ActionQuery, Facts, ScopeUsage, ServiceLevel
from shared.policy.policy_set import PolicySet, StoredPolicy
from shared.policy.vocabulary import ScopeKind
from tests.support.policies import COUNTED, HOUR, NOW, known, policies, stored, usage, view

ONE = Amounts(1, 1000, 1024**3, 1, Decimal(1))


def plan_of(replicas: int, sku: str = "L4", cluster: str = "eu") -> PlanView:
    return view(lines={sku: ONE.times(replicas)}, cluster=cluster)


def decider(
    found: list[StoredPolicy], facts: Callable[[PlanView], Facts], replicas: int, now: datetime = NOW
) -> Decide:
    """Judges `replicas` of L4 on eu, with changes."""
    compiled = PolicySet(found)

    def decide(change: Change) -> PolicyDecision:
        plan = plan_of(
            replicas if change.replicas is None else change.replicas, change.sku or "L4", change.cluster or "eu"
        )
        at = change.at or now
        return evaluate(plan, compiled.matching(plan, at), facts(plan).at(at, now), at)

    return decide


def held(plan: PlanView) -> Facts:
    """Every scope holds three, but for the cluster `us`, which is empty."""
    scopes = {plan.counting(kind): usage(3) for kind in COUNTED}
    if plan.cluster == "us":
        scopes[plan.counting(ScopeKind.CLUSTER)] = usage(0)
    return replace(known(plan), usage=scopes)


@settings(max_examples=20)
@given(st.lists(policies(mode="enforce", enabled=True, selector={}), min_size=1, max_size=3), st.integers(1, 12))
def test_every_suggestion_passes_and_fewer_replicas_are_as_many_as_pass(
    found: list[StoredPolicy], replicas: int
) -> None:
    decide = decider(found, held, replicas)
    denied = decide(Change())
    if denied.approved:
        return
    suggestions = explain(denied, decide, replicas=replicas, skus=["H100", "T4"], clusters=["us", "ap"])
    for suggestion in suggestions:
        assert decide(suggestion.change).approved
    passing = [n for n in range(1, replicas) if decide(Change(replicas=n)).approved]
    if passing:
        assert Change(replicas=passing[-1]) in [suggestion.change for suggestion in suggestions]
    alone = [Change(cluster=name) for name in ("us", "ap")] + [Change(sku=sku) for sku in ("H100", "T4")]
    if passing or any(decide(change).approved for change in alone):
        assert all(_parts(suggestion.change) == 1 for suggestion in suggestions), "the smallest change that passes"


def _parts(change: Change) -> int:
    return sum(part is not None for part in astuple(change))


def changes(found: list[StoredPolicy], replicas: int, *, skus: list[str], clusters: list[str]) -> list[str]:
    decide = decider(found, held, replicas)
    return [s.message for s in explain(decide(Change()), decide, replicas=replicas, skus=skus, clusters=clusters)]


def test_what_time_mends_only_in_part_needs_another_change_too() -> None:
    frozen, quota = freeze("2026-06-15T00:00:00"), stored("q", {"type": "quota", "scope": "cluster", "gpus": 5})
    assert changes([frozen, quota], 4, skus=["H100"], clusters=["ap", "us"]) == [
        "ask for 2 replicas instead of 4 and submit it again at 2026-06-16T00:00:00+00:00",
        "run it on cluster us and submit it again at 2026-06-16T00:00:00+00:00",
    ]


def test_fewer_replicas_elsewhere_when_neither_helps_alone() -> None:
    here, everywhere = [
        stored("here", {"type": "quota", "scope": "cluster", "gpus": 0}, selector={"clusters": ["eu"]}),
        stored("all", {"type": "quota", "scope": "team", "gpus": 5}),
    ]
    assert changes([here, everywhere], 4, skus=["H100"], clusters=["us", "ap"]) == [
        "ask for 2 replicas instead of 4 and run it on cluster us"
    ]


def test_what_one_change_cannot_mend_and_two_cannot_has_no_suggestion() -> None:
    image = stored("image", {"type": "image", "allowed_registries": ["quay.io"]})
    assert changes([image, freeze("2026-06-15T00:00:00")], 4, skus=["H100"], clusters=["us"]) == []


def test_fewer_replicas_another_cluster_and_another_sku() -> None:
    found = [
        stored("cluster", {"type": "quota", "scope": "cluster", "gpus": 5}),
        stored("sku", {"type": "quota", "scope": "plan", "gpus_by_sku": {"L4": 4}}),
    ]
    decide = decider(found, held, 4)
    said = [s.message for s in explain(decide(Change()), decide, replicas=4, skus=["H100"], clusters=["ap", "us"])]
    assert said == ["ask for 2 replicas instead of 4", "run it on cluster us"]
    decide = decider([found[1]], held, 6)
    said = [s.message for s in explain(decide(Change()), decide, replicas=6, skus=["H100"], clusters=["us"])]
    assert said == ["ask for 4 replicas instead of 6", "ask for H100 GPUs"]


def test_one_replica_is_in_the_singular() -> None:
    decide = decider([stored("a", {"type": "quota", "scope": "plan", "gpus": 1})], held, 2)
    assert [s.message for s in explain(decide(Change()), decide, replicas=2, skus=[], clusters=[])] == [
        "ask for 1 replica instead of 2"
    ]


def test_what_nothing_mends_has_no_suggestion() -> None:
    decide = decider([stored("a", {"type": "image", "allowed_registries": ["quay.io"]})], held, 2)
    assert explain(decide(Change()), decide, replicas=2, skus=["H100"], clusters=["us"]) == []


def later(found: list[StoredPolicy], facts: Callable[[PlanView], Facts], now: datetime = NOW) -> datetime | None:
    decide = decider(found, facts, 2, now)
    suggestions = explain(decide(Change()), decide, replicas=1, skus=[], clusters=[])
    return next((s.change.at for s in suggestions), None)


def freeze(start: str, **window: str) -> StoredPolicy:
    name = "freeze-" + start[5:10]
    return stored(name, {"type": "change_freeze", "windows": [{"start": start, "duration": "P1D", **window}]})


def test_after_a_freeze_and_the_one_that_follows_it() -> None:
    assert later([freeze("2026-06-15T00:00:00")], held) == datetime(2026, 6, 16, tzinfo=UTC)
    both = [freeze("2026-06-15T00:00:00"), freeze("2026-06-16T00:00:00")]
    assert later(both, held) == datetime(2026, 6, 17, tzinfo=UTC)


def test_a_freeze_without_end_has_no_time_after_it() -> None:
    assert later([freeze("2026-06-01T00:00:00", recurrence="FREQ=DAILY")], held) is None


def test_after_the_window_of_a_rate_limit() -> None:
    def busy(plan: PlanView) -> Facts:
        query = ActionQuery(plan.counting(ScopeKind.TEAM), (), HOUR)
        return known(plan, actions={query: (NOW - timedelta(minutes=50), NOW - timedelta(minutes=20))})

    limit = {"type": "rate_limit", "actions": 2, "window": "PT1H"}
    assert later([stored("a", limit)], busy) == NOW + timedelta(minutes=10)
    assert later([stored("a", {**limit, "actions": 1})], busy) == NOW + timedelta(minutes=40)


def test_service_that_is_good_now_counts_as_good_later() -> None:
    def good(plan: PlanView) -> Facts:
        return known(plan, service={HOUR: ServiceLevel(1.0, 10, 0, {}, NOW)})

    found = [freeze("2026-06-15T00:00:00"), stored("up", {"type": "sla", "min_uptime": 0.9, "window": "PT1H"})]
    assert later(found, good) == datetime(2026, 6, 16, tzinfo=UTC)


def test_a_quota_and_a_freeze_are_not_mended_by_time_alone() -> None:
    assert later([freeze("2026-06-15T00:00:00"), stored("q", {"type": "quota", "gpus": 4})], held) is None


def test_after_the_policy_that_denies_has_ended() -> None:
    image = stored("image", {"type": "image", "allowed_registries": ["quay.io"]}, valid_until="2026-06-20T00:00:00Z")
    assert later([image], held) == datetime(2026, 6, 20, tzinfo=UTC)
    nothing_else = stored("none", deny_unmatched=True, valid_until="2026-06-20T00:00:00Z")
    assert later([nothing_else], held) == datetime(2026, 6, 20, tzinfo=UTC)
    thawed = freeze("2026-06-15T00:00:00")
    assert thawed.document is not None
    sooner = stored("sooner", thawed.document.rules[0].model_dump(mode="json"), valid_until="2026-06-15T18:00:00Z")
    assert later([sooner], held) == datetime(2026, 6, 15, 18, tzinfo=UTC)


def test_a_month_that_is_too_dear_as_a_whole_has_its_day_too() -> None:
    policy = stored("a", {"type": "cost_ceiling", "scope": "team", "usd_per_month": 700})

    def spent(plan: PlanView) -> Facts:
        return replace(known(plan), usage={plan.counting(ScopeKind.TEAM): usage(0, spent=800)})

    assert later([policy], spent) == datetime(2026, 8, 1, tzinfo=UTC) - 350 * HOUR


SHAPES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"type": "change_freeze", "windows": [{"start": "2026-06-15T00:00:00", "duration": "P1D"}]},
        {"type": "change_freeze", "windows": [{"start": "2026-06-15T22:00:00", "duration": "PT5H"}]},
        {
            "type": "change_freeze",
            "windows": [{"start": "2026-06-01T08:00:00", "duration": "PT9H", "recurrence": "FREQ=DAILY;COUNT=20"}],
        },
        {"type": "rate_limit", "actions": 1, "window": "PT1H"},
        {"type": "rate_limit", "actions": 2, "window": "PT10H"},
        {"type": "cost_ceiling", "scope": "team", "usd_per_month": 1200},
        {"type": "cost_ceiling", "scope": "team", "usd_per_month": 3000},
        {"type": "quota", "scope": "plan", "gpus": 1},
        {"type": "image", "allowed_registries": ["quay.io"]},
    ]
)
HOURS = st.integers(-30, 90).map(lambda hours: (NOW + hours * HOUR).isoformat())


@st.composite
def limited(draw: st.DrawFn) -> StoredPolicy:
    """A policy that begins and ends, or does not."""
    limits: dict[str, Any] = {"valid_from": draw(st.none() | HOURS), "valid_until": draw(st.none() | HOURS)}
    if limits["valid_from"] and limits["valid_until"]:
        limits["valid_from"], limits["valid_until"] = sorted(limits.values())
        assume(limits["valid_from"] != limits["valid_until"])
    return stored(draw(st.sampled_from("pqrs")), *draw(st.lists(SHAPES, min_size=1, max_size=2)), **limits)


@pytest.mark.slow
@settings(max_examples=20)
@given(st.lists(limited(), min_size=1, max_size=3), st.sampled_from([0, 1000, 2900]))
def test_the_time_that_is_named_is_the_first_that_passes(found: list[StoredPolicy], spent: int) -> None:
    def so_far(plan: PlanView) -> Facts:
        taken = tuple(NOW - minutes * timedelta(minutes=1) for minutes in (400, 40, 13))
        queries = [ActionQuery(plan.counting(ScopeKind.TEAM), (), window) for window in (HOUR, 10 * HOUR)]
        scope = ScopeUsage({"H100": Amounts(usd_per_hour=Decimal(1))}, Decimal(spent))
        return known(
            plan,
            usage={plan.counting(ScopeKind.TEAM): scope},
            actions={query: tuple(t for t in taken if t > NOW - query.window) for query in queries},
        )

    decide = decider(found, so_far, 2)
    assume(not decide(Change()).approved)
    at = later(found, so_far)
    assert at is None or decide(Change(at=at)).approved
    until = datetime(2026, 7, 31, tzinfo=UTC) if at is None else at
    hours = range(1, -(-(until - NOW) // HOUR))
    assert not any(decide(Change(at=NOW + n * HOUR)).approved for n in hours)


@given(st.integers(0, 800), st.integers(0, 3), st.integers(0, 31 * 24 - 1), st.integers(1, 2000))
def test_a_monthly_ceiling_passes_at_the_minute_that_is_named_and_not_before(
    spent: int, running: int, hours: int, ceiling: int
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC) + hours * HOUR
    policy = stored("a", {"type": "cost_ceiling", "scope": "team", "usd_per_month": ceiling})

    def so_far(plan: PlanView) -> Facts:
        scope = ScopeUsage({"H100": Amounts(usd_per_hour=Decimal(running))}, Decimal(spent))
        return replace(known(plan), usage={plan.counting(ScopeKind.TEAM): scope})

    decide = decider([policy], so_far, 2, now)
    assume(not decide(Change()).approved)
    at = later([policy], so_far, now)
    if at is None:  # what runs is too dear by itself: not even the last minute of a February passes
        assert running * 28 * 24 >= ceiling
        return
    assert decide(Change(at=at)).approved
    before = at - timedelta(minutes=1)
    assert before <= now or not decide(Change(at=before)).approved
