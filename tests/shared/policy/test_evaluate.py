"""What holds for any plan, policies and facts; and what the case files cannot show."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.models.amounts import NOTHING, Amounts
from shared.models.plan import Verb
from shared.policy.context import EvaluationContext
from shared.policy.decision import PlanView
from shared.policy.evaluate import evaluate, facts_needed
from shared.policy.facts import ActionQuery, Facts, ScopeUsage, ServiceLevel
from shared.policy.policy_set import PolicySet, StoredPolicy, selects
from shared.policy.queue import missing_resources
from shared.policy.rules.amounts import CostCeiling, Quota
from shared.policy.rules.base import ExceededLimit
from shared.policy.rules.hardening import SecurityRule
from shared.policy.vocabulary import Mode, ScopeKind
from tests.support.policies import (
    AMOUNT_RULES,
    HOUR,
    NOW,
    amounts,
    decide,
    known,
    policies,
    situations,
    stored,
    usage,
    view,
)

MOMENT = timedelta(microseconds=1)
LEVEL = ServiceLevel(uptime=1.0, requests=10.0, errors=0.0, latency_seconds={}, newest=NOW)


def enforced(plan: PlanView, found: list[StoredPolicy]) -> Iterator[CostCeiling | Quota]:
    for policy in found:
        assert policy.document is not None
        if policy.document.mode is Mode.ENFORCE and policy.document.enabled and selects(policy.document.selector, plan):
            for rule in policy.document.rules:
                assert isinstance(rule, CostCeiling | Quota)
                yield rule


def added_up(plan: PlanView, facts: Facts, scope: ScopeKind, sku: str | None = None) -> tuple[Amounts, Amounts]:
    """What the plan takes of a scope, and what the scope holds then; by one SKU and any, if given."""

    def total(by_sku: object) -> Amounts:
        assert isinstance(by_sku, dict)
        return sum((a for name, a in by_sku.items() if sku is None or name in (sku, "")), NOTHING)

    if scope is ScopeKind.PLAN:
        return total(plan.lines), total(plan.lines)
    others = total(facts.usage[plan.counting(scope)].by_sku) - total(plan.held)
    return total(plan.lines), others + total(plan.lines)


@given(situations(AMOUNT_RULES))
def test_approved_means_that_nothing_it_takes_is_over_an_enforced_limit(
    drawn: tuple[PlanView, list[StoredPolicy], Facts],
) -> None:
    plan, found, facts = drawn
    decision = decide(plan, found, facts)
    if plan.reduces_harm:
        assert decision.approved
    if plan.reduces_harm or not decision.approved:
        return
    for rule in enforced(plan, found):
        takes, after = added_up(plan, facts, rule.scope)
        if isinstance(rule, CostCeiling):
            assert rule.usd_per_hour is not None
            assert after.usd_per_hour <= rule.usd_per_hour or not takes.usd_per_hour
            continue
        for resource, limit in rule.limits:
            takes, after = added_up(plan, facts, rule.scope, resource.sku)
            assert getattr(after, resource.name) <= limit or not getattr(takes, resource.name)


@given(situations())
def test_a_denial_says_what_it_rests_on_and_an_approval_has_no_violations(
    drawn: tuple[PlanView, list[StoredPolicy], Facts],
) -> None:
    decision = decide(*drawn)
    assert decision.approved is (decision.violations == ())
    if not decision.approved:
        assert decision.determining == tuple(dict.fromkeys(f.policy for f in decision.violations if f.policy))
        assert all(finding.message for finding in decision.violations)
    assert not (decision.approved and decision.waits)


@given(situations(), policies())
def test_one_more_policy_never_approves_what_was_denied(
    drawn: tuple[PlanView, list[StoredPolicy], Facts], more: StoredPolicy
) -> None:
    plan, found, facts = drawn
    if not decide(plan, found, facts).approved:
        assert not decide(plan, [*found, more], facts).approved


@given(situations(), policies(mode="dry_run", enabled=True))
def test_a_dry_run_policy_changes_nothing_but_the_record(
    drawn: tuple[PlanView, list[StoredPolicy], Facts], more: StoredPolicy
) -> None:
    plan, found, facts = drawn
    before, after = decide(plan, found, facts), decide(plan, [*found, more], facts)
    assert replace(after, dry_run=()) == replace(before, dry_run=())


@given(situations(), st.randoms())
def test_the_order_in_which_policies_and_facts_come_changes_nothing(
    drawn: tuple[PlanView, list[StoredPolicy], Facts], random: Random
) -> None:
    plan, found, facts = drawn
    shuffled = sorted(found, key=lambda _: random.random())
    turned = replace(facts, usage=dict(reversed(list(facts.usage.items()))))
    turned_plan = replace(plan, lines=dict(reversed(list(plan.lines.items()))))
    names = {(p.name, p.id) for p in found}
    if len(names) == len(found):  # policies of one name and id have no order
        assert decide(turned_plan, shuffled, turned) == decide(plan, found, facts)


@given(situations())
def test_only_security_denies_what_reduces_harm(drawn: tuple[PlanView, list[StoredPolicy], Facts]) -> None:
    plan, found, facts = drawn
    if plan.reduces_harm:
        assert {finding.rule for finding in decide(plan, found, facts).violations} <= {"security"}


@given(situations())
def test_the_facts_that_are_named_are_all_that_are_read(drawn: tuple[PlanView, list[StoredPolicy], Facts]) -> None:
    plan, found, facts = drawn
    matching = PolicySet(found).matching(plan, NOW)
    needs = facts_needed(plan, matching, capped=plan.adds_gpus)
    least = Facts(
        {scope: known_usage for scope, known_usage in facts.usage.items() if scope in needs.counted},
        {query: times for query, times in facts.actions.items() if query in needs.actions},
        {window: level for window, level in facts.service.items() if window in needs.windows},
        facts.priced_on if needs.prices else None,
        facts.capacity if needs.capacity else None,
    )
    assert evaluate(plan, matching, least, NOW) == evaluate(plan, matching, facts, NOW)


def test_needs_are_those_of_the_plan() -> None:
    limits = [{"type": "quota", "scope": scope, "gpus": 1} for scope in ScopeKind]
    rates = [{"type": "rate_limit", "actions": 1, "window": "PT1H", "verbs": [verb]} for verb in ("deploy", "scale")]
    service = {"type": "slo", "min_success_rate": 0.9, "burn_rates": "workbook", "window": "PT1H"}
    found = [stored("a", *limits, *rates), stored("b", service), StoredPolicy("x", None, "bad")]
    plan = view()
    needs = facts_needed(plan, found)
    team = plan.counting(ScopeKind.TEAM)
    assert {scope.kind for scope in needs.usage} == set(ScopeKind) - {ScopeKind.PLAN}
    assert needs.actions == {ActionQuery(team, (Verb.DEPLOY,), HOUR)}
    assert (needs.windows, needs.prices) == (frozenset(), False)
    assert needs.locked == needs.usage | {team}
    eu = plan.counting(ScopeKind.CLUSTER)
    capped = facts_needed(plan, [], capped=True)
    assert (capped.usage, capped.counted, capped.locked) == (frozenset(), frozenset([eu]), frozenset([eu]))
    old = facts_needed(view(created_at=NOW - timedelta(days=9)), found)
    assert {timedelta(minutes=5), HOUR, timedelta(days=3)} < old.windows
    assert facts_needed(plan, [stored("c", {"type": "cost_ceiling", "scope": "plan", "usd_per_hour": 1})]).prices


def test_what_only_a_quota_refuses_waits_for_its_scope() -> None:
    plan = view()
    quota = {"type": "quota", "gpus": 4}
    decision = decide(plan, [stored("a", quota)], known(plan, 3))
    assert decision.waits
    assert [str(one) for one in missing_resources(decision.violations)] == ["team/search gpus"]
    ceiling = stored("b", {"type": "cost_ceiling", "usd_per_hour": 1})
    assert not decide(plan, [stored("a", quota), ceiling], known(plan, 3)).waits
    assert not decide(plan, [stored("a", quota), StoredPolicy("x", None, "bad")], known(plan, 3)).waits
    assert not decide(plan, [stored("a", {"type": "quota", "gpus": 1})], known(plan)).waits
    assert not decide(plan, [stored("a", {"type": "quota", "scope": "plan", "gpus": 1})], known(plan)).waits


def test_a_scope_never_holds_less_than_nothing_beside_the_plan() -> None:
    plan = view(held={"L4": amounts(9)})
    facts = Facts({plan.counting(ScopeKind.TEAM): usage(3)})
    assert not decide(plan, [stored("a", {"type": "quota", "gpus": 1})], facts).approved


class Broken(SecurityRule):
    """A rule with a defect."""

    def check(self, context: EvaluationContext) -> Iterator[ExceededLimit]:
        yield from ()
        raise LookupError("a key")


class BrokenQuota(Quota):
    """A rule with a defect that spares what reduces harm."""

    def check(self, context: EvaluationContext) -> Iterator[ExceededLimit]:
        yield from ()
        raise ZeroDivisionError("by zero")


@pytest.mark.parametrize("mode", Mode)
def test_a_rule_that_fails_denies_where_it_is_enforced(mode: Mode) -> None:
    policy = stored("a", {"type": "security"}, mode=mode)
    assert policy.document is not None
    broken = policy.document.model_copy(update={"rules": (Broken(type="security"),)})
    decision = decide(view(verb=Verb.ROLLBACK), [replace(policy, document=broken)], Facts())
    said = "the rule failed, which denies: LookupError: a key"
    assert [finding.message for finding in decision.violations] == [said] * (mode is Mode.ENFORCE)
    assert list(decision.warnings) == {Mode.WARN: [f"a: {said}"], Mode.DRY_RUN: ["no_policy_matched"]}.get(mode, [])
    assert len(decision.dry_run) == (mode is Mode.DRY_RUN)


@pytest.mark.parametrize(
    ("verb", "reduces"), [("rollback", True), ("reschedule", True), ("remove", True), ("update", False)]
)
def test_what_takes_a_workload_off_a_bad_revision_or_node_reduces_harm(verb: str, *, reduces: bool) -> None:
    assert view(verb=Verb(verb)).reduces_harm is reduces


def test_a_rule_that_fails_spares_what_it_spares() -> None:
    policy = stored("a", {"type": "quota", "gpus": 1})
    assert policy.document is not None
    broken = policy.document.model_copy(update={"rules": (BrokenQuota(type="quota", gpus=1),)})
    assert decide(view(verb=Verb.ROLLBACK), [replace(policy, document=broken)], Facts()).approved
    assert not decide(view(), [replace(policy, document=broken)], Facts()).approved


def test_actions_outside_of_the_window_do_not_count_whoever_loaded_them() -> None:
    plan = view()
    query = ActionQuery(plan.counting(ScopeKind.TEAM), (), HOUR)
    policy = stored("a", {"type": "rate_limit", "actions": 1, "window": "PT1H"})
    assert decide(plan, [policy], Facts(actions={query: (NOW - 2 * HOUR, NOW - HOUR)})).approved
    assert not decide(plan, [policy], Facts(actions={query: (NOW - 2 * HOUR, NOW - HOUR + MOMENT)})).approved


def test_telemetry_that_is_no_number_denies() -> None:
    plan = view(created_at=NOW - timedelta(days=1))
    facts = known(plan, service={HOUR: replace(LEVEL, uptime=float("nan"))})
    assert not decide(plan, [stored("a", {"type": "sla", "min_uptime": 0.1, "window": "PT1H"})], facts).approved
    facts = known(plan, service={HOUR: replace(LEVEL, errors=float("nan"))})
    assert not decide(plan, [stored("a", {"type": "slo", "min_success_rate": 0.1, "window": "PT1H"})], facts).approved


def test_the_scopes_of_a_plan() -> None:
    plan = view()
    assert [str(plan.counting(kind)) for kind in ScopeKind] == [
        f"plan/{plan.plan_id}", f"workload/{plan.workload_id}", "team/search", "cluster/eu", "global/",
    ]  # fmt: skip


def test_usage_later_in_the_month_and_in_the_next() -> None:
    running = ScopeUsage({"L4": amounts(2)}, Decimal(100))
    assert running.at(NOW + 3 * HOUR, NOW).month_to_date_usd == 106
    assert running.at(NOW + timedelta(days=16), NOW).month_to_date_usd == 2 * 12
    assert running.at(NOW, NOW) == running
