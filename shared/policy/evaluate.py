"""The evaluation: (plan, policies, facts, now) -> decision. Pure.

1. The policies are those that match, by (1) priority, higher first, (2) name, (3) id; see policy_set.
2. Each rule says what the plan breaks. A fact that is missing or stale, an error in a rule, or a policy that cannot
   be read breaks an enforcing policy: deny by default.
3. What an enforcing policy finds are violations; a warning policy's are warnings; a dry-run policy's are
   recorded and nothing else. While an exception lasts, its grantee's findings are warnings.
4. A plan that reduces harm (rollback, remove, scale-down) is never denied by rules that spare it, nor for missing
   facts: these are warnings. Rules on service levels spare scale-ups too.
5. No matching policy approves, with the warning `no_policy_matched`, unless one that matches denies the unmatched. A
   dry-run policy is no match: that it exists changes nothing.
6. What the plan's cluster has too few GPUs for is a violation too, of no policy; see shared.policy.capacity.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.policy import capacity
from shared.policy.context import EvaluationContext, MissingFact
from shared.policy.decision import NO_POLICY_MATCHED, Finding, PlanView, PolicyDecision
from shared.policy.documents import PolicyDocument, PolicyException
from shared.policy.facts import ActionQuery, ActionsWanted, Facts, Needs
from shared.policy.policy_set import StoredPolicy
from shared.policy.rules import Rule
from shared.policy.vocabulary import Mode, ScopeKind


@dataclass
class _Tally:
    """What has been found so far."""

    violations: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    dry_run: list[Finding] = field(default_factory=list)


def needs_of(plan: PlanView, policies: Iterable[StoredPolicy], *, capped: bool = False) -> Needs:
    """The facts to load before these policies can be evaluated.

    capped: whether the plan counts in the GPUs of its cluster.
    """
    usage: set[ScopeKind] = set()
    actions: set[ActionsWanted] = set()
    windows: set[timedelta] = set()
    prices = False
    for policy in policies:
        if policy.document is not None:
            wanted = policy.document.wants
            usage |= wanted.usage
            actions |= wanted.actions
            windows |= wanted.windows
            prices = prices or wanted.prices
    return Needs(
        usage=frozenset([plan.counting(kind) for kind in usage]),
        actions=frozenset(
            [
                ActionQuery(plan.counting(kind), verbs, window)
                for kind, verbs, window in actions
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
    tally = _Tally()
    speaking = [policy for policy in policies if _has_a_say(policy)]
    for policy in policies:
        document = policy.document
        if document is None:
            _unreadable(policy, plan, tally)
            continue
        if document.deny_unmatched and not any(_rules(other) for other in speaking if other is not policy):
            finding = _finding(document, "deny_unmatched", "selector", "no other policy matches this plan")
            _file(document, finding, context, spared=plan.reduces, tally=tally)
        for rule in document.rules:
            _check(document, rule, context, tally)
    tally.violations += capacity.check(context)
    if not speaking:
        tally.warnings.append(NO_POLICY_MATCHED)
    approved = not tally.violations
    determining = (p.name for p in speaking) if approved else (f.policy for f in tally.violations if f.policy)
    return PolicyDecision(
        approved=approved,
        violations=tuple(tally.violations),
        warnings=tuple(tally.warnings),
        determining=tuple(dict.fromkeys(determining)),
        dry_run=tuple(tally.dry_run),
        waits=not approved and all(finding.waits_for for finding in tally.violations),
    )


def _has_a_say(policy: StoredPolicy) -> bool:
    """Policies in dry run have none: that they exist changes nothing."""
    return policy.document is None or policy.document.mode is not Mode.DRY_RUN


def _rules(policy: StoredPolicy) -> bool:
    return policy.document is None or bool(policy.document.rules)


def _check(document: PolicyDocument, rule: Rule, context: EvaluationContext, tally: _Tally) -> None:
    plan = context.plan
    try:
        for breach in rule.check(context):
            finding = Finding(
                document.name,
                rule.type,
                breach.field,
                breach.limit,
                breach.observed,
                breach.message,
                _soonest(breach.until, document.valid_until),
                breach.waits_for,
            )
            _file(document, finding, context, spared=_spared(rule, plan), tally=tally)
    except MissingFact as missing:
        finding = _finding(document, rule.type, "facts", str(missing))
        _file(document, finding, context, spared=plan.reduces or _spared(rule, plan), tally=tally)
    except (ArithmeticError, LookupError, ValueError, TypeError) as error:
        finding = _finding(
            document, rule.type, "rule", f"the rule failed, which denies: {type(error).__name__}: {error}"
        )
        _file(document, finding, context, spared=_spared(rule, plan), tally=tally)


def _spared(rule: Rule, plan: PlanView) -> bool:
    return (rule.spares_reducing and plan.reduces) or (rule.spares_scale_up and plan.scales_up)


def _file(
    document: PolicyDocument, finding: Finding, context: EvaluationContext, *, spared: bool, tally: _Tally
) -> None:
    exception = _exception_for(document, context.plan, context.now)
    if document.mode is Mode.DRY_RUN:
        if not spared and exception is None:
            tally.dry_run.append(finding)
    elif document.mode is Mode.WARN or spared:
        tally.warnings.append(f"{finding.policy}: {finding.message}")
    elif exception is not None:
        reason = f"excepted until {exception.until.isoformat()}: {exception.why}"
        tally.warnings.append(f"{finding.policy}: {finding.message} ({reason})")
    else:
        tally.violations.append(finding)


def _exception_for(document: PolicyDocument, plan: PlanView, now: datetime) -> PolicyException | None:
    mine = {f"team:{plan.team}", f"namespace:{plan.namespace}", f"workload:{plan.full_name}"}
    return next((e for e in document.exceptions if e.who in mine and now < e.until), None)


def _unreadable(policy: StoredPolicy, plan: PlanView, tally: _Tally) -> None:
    message = f"policy {policy.name} cannot be read and denies until it is mended or disabled: {policy.problem}"
    if plan.reduces:
        tally.warnings.append(f"{policy.name}: {message}")
        return
    tally.violations.append(Finding(policy.name, "document", "", "", "", message))


def _finding(document: PolicyDocument, rule: str, field_name: str, message: str) -> Finding:
    return Finding(document.name, rule, field_name, "", "", message, document.valid_until)


def _soonest(mended: datetime | None, ends: datetime | None) -> datetime | None:
    """When time alone mends a finding: what was found, or that its policy ends."""
    return min((moment for moment in (mended, ends) if moment is not None), default=None)
