"""The evaluation: (plan, policies, facts, now) -> decision. Pure.

1. The policies are those that match, by (1) priority, higher first, (2) name, (3) id; see policy_set.
2. Each rule says what the plan breaks. A fact that is missing or stale, an error in a rule, or a policy that cannot
   be read breaks an enforcing policy: deny by default.
3. The findings of an enforcing policy are violations, and those of a policy in mode warn are warnings. Those of a
   policy in dry_run are only recorded. While an exception lasts, the findings for its grantee are warnings.
4. A plan reduces harm if it rolls back, reschedules, removes or scales down. Rules that exempt such plans only warn
   about them, and so do missing facts. Rules on service levels exempt scale-ups too.
5. No matching policy approves, with the warning `no_policy_matched`, unless one that matches denies the unmatched. A
   dry-run policy is no match: that it exists changes nothing.
6. What a rule wants a person to approve is a violation until somebody has: the plan awaits that when nothing else
   denies it; see shared.policy.rules.approval.
7. What the plan's cluster has too few GPUs for is a violation too, of no policy; see shared.policy.capacity.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.policy import capacity
from shared.policy.context import EvaluationContext, MissingFact
from shared.policy.decision import NO_POLICY_MATCHED, Finding, PlanView, PolicyDecision
from shared.policy.documents import PolicyDocument, PolicyException
from shared.policy.facts import ActionQuery, Facts, FactsNeeded, most_of
from shared.policy.policy_set import StoredPolicy
from shared.policy.rules import Rule
from shared.policy.vocabulary import Mode, ScopeKind


@dataclass
class _Findings:
    """The findings of one evaluation, by what they lead to."""

    violations: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    dry_run: list[Finding] = field(default_factory=list)


def facts_needed(plan: PlanView, policies: Iterable[StoredPolicy], *, capped: bool = False) -> FactsNeeded:
    """The facts to load before these policies can be evaluated.

    capped: whether the plan counts in the GPUs of its cluster.
    """
    usage: set[ScopeKind] = set()
    windows: set[timedelta] = set()
    prices = False
    kinds = [policy.document.fact_kinds for policy in policies if policy.document is not None]
    for wanted in kinds:
        usage |= wanted.usage
        windows |= wanted.windows
        prices = prices or wanted.prices
    return FactsNeeded(
        usage=frozenset([plan.counting(kind) for kind in usage]),
        actions=frozenset(
            [
                ActionQuery(plan.counting(kind), verbs, window, most, skip)
                for (kind, verbs, window, skip), most in most_of(wanted.actions for wanted in kinds).items()
                if not verbs or plan.verb in verbs
            ]
        ),
        windows=frozenset(windows if plan.created_at is not None else ()),
        prices=prices,
        capacity=plan.counting(ScopeKind.CLUSTER) if capped else None,
    )


def evaluate(plan: PlanView, policies: Sequence[StoredPolicy], facts: Facts, now: datetime) -> PolicyDecision:
    """The decision; `policies` are those that match, in their order."""
    context = EvaluationContext(plan, facts, now)
    found = _Findings()
    effective = [policy for policy in policies if _takes_effect(policy)]
    for policy in policies:
        document = policy.document
        if document is None:
            _unreadable(policy, plan, found)
            continue
        if document.deny_unmatched and not any(_rules(other) for other in effective if other is not policy):
            finding = _finding(document, "deny_unmatched", "selector", "no other policy matches this plan")
            _record(document, finding, context, exempt=plan.reduces_harm, found=found)
        for rule in document.rules:
            _check(document, rule, context, found)
    found.violations += capacity.check(context)
    if not effective:
        found.warnings.append(NO_POLICY_MATCHED)
    approved = not found.violations
    determining = (p.name for p in effective) if approved else (f.policy for f in found.violations if f.policy)
    return PolicyDecision(
        approved=approved,
        violations=tuple(found.violations),
        warnings=tuple(found.warnings),
        determining=tuple(dict.fromkeys(determining)),
        dry_run=tuple(found.dry_run),
        waits=not approved and all(finding.waits_for for finding in found.violations),
    )


def _takes_effect(policy: StoredPolicy) -> bool:
    """Whether the policy counts as a match. A policy in dry_run changes nothing, so it does not."""
    return policy.document is None or policy.document.mode is not Mode.DRY_RUN


def _rules(policy: StoredPolicy) -> bool:
    return policy.document is None or bool(policy.document.rules)


def _check(document: PolicyDocument, rule: Rule, context: EvaluationContext, found: _Findings) -> None:
    plan = context.plan
    try:
        for exceeded in rule.check(context):
            finding = Finding(
                document.name,
                rule.type,
                exceeded.field,
                exceeded.limit,
                exceeded.observed,
                exceeded.message,
                _soonest(exceeded.until, document.valid_until),
                exceeded.waits_for,
                exceeded.approve_by,
            )
            _record(document, finding, context, exempt=_exempt(rule, plan), found=found)
    except MissingFact as missing:
        finding = _finding(document, rule.type, "facts", str(missing))
        _record(document, finding, context, exempt=plan.reduces_harm or _exempt(rule, plan), found=found)
    except (ArithmeticError, LookupError, ValueError, TypeError) as error:
        finding = _finding(
            document, rule.type, "rule", f"the rule failed, which denies: {type(error).__name__}: {error}"
        )
        _record(document, finding, context, exempt=_exempt(rule, plan), found=found)


def _exempt(rule: Rule, plan: PlanView) -> bool:
    return (rule.exempts_harm_reduction and plan.reduces_harm) or (rule.exempts_scale_up and plan.scales_up)


def _record(
    document: PolicyDocument, finding: Finding, context: EvaluationContext, *, exempt: bool, found: _Findings
) -> None:
    exception = _exception_for(document, context.plan, context.now)
    if document.mode is Mode.DRY_RUN:
        if not exempt and exception is None:
            found.dry_run.append(finding)
    elif document.mode is Mode.WARN or exempt:
        found.warnings.append(f"{finding.policy}: {finding.message}")
    elif exception is not None:
        reason = f"excepted until {exception.until.isoformat()}: {exception.why}"
        found.warnings.append(f"{finding.policy}: {finding.message} ({reason})")
    else:
        found.violations.append(finding)


def _exception_for(document: PolicyDocument, plan: PlanView, now: datetime) -> PolicyException | None:
    mine = {f"team:{plan.team}", f"namespace:{plan.namespace}", f"workload:{plan.full_name}"}
    return next((e for e in document.exceptions if e.who in mine and now < e.until), None)


def _unreadable(policy: StoredPolicy, plan: PlanView, found: _Findings) -> None:
    message = f"policy {policy.name} cannot be read and denies until it is mended or disabled: {policy.problem}"
    if plan.reduces_harm:
        found.warnings.append(f"{policy.name}: {message}")
        return
    found.violations.append(Finding(policy.name, "document", "", "", "", message))


def _finding(document: PolicyDocument, rule: str, field_name: str, message: str) -> Finding:
    return Finding(document.name, rule, field_name, "", "", message, document.valid_until)


def _soonest(mended: datetime | None, ends: datetime | None) -> datetime | None:
    """When time alone mends a finding: what was found, or that its policy ends."""
    return min((moment for moment in (mended, ends) if moment is not None), default=None)
