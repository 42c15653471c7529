"""Runs the cases of a policy suite: production's evaluation, compared with the expected decision."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from uuid import UUID

from shared.models.amounts import Amounts
from shared.models.plan import Approval, Verb
from shared.models.pod import Security
from shared.models.workload import WorkloadType, workload_id
from shared.policy.decision import Finding, PlanView, PolicyDecision
from shared.policy.documents import PolicyDocument
from shared.policy.evaluate import evaluate, facts_needed
from shared.policy.facts import ActionQuery, Facts, FactsNeeded, ScopeUsage, ServiceLevel
from shared.policy.policy_set import PolicySet, StoredPolicy
from shared.policy.resources import ANY_SKU
from shared.policy.suites import (
    Action,
    AnyAction,
    Case,
    Expectation,
    ExpectedFinding,
    FactsPart,
    Holding,
    PlanPart,
    PolicyFile,
    Suite,
    SuiteApproval,
    SuiteService,
    Sums,
    UnreadablePolicy,
    Usage,
)
from shared.policy.vocabulary import PolicyModel

Part = TypeVar("Part", bound=PolicyModel)
_PLAN_ID = UUID(int=1)


class DuplicatePolicy(ValueError):
    """Two policies of a suite have one name, which no store holds."""


@dataclass(frozen=True)
class Mismatch:
    """What was expected of one part of a decision, and what it was; a list has an item a line."""

    part: str
    expected: tuple[str, ...]
    observed: tuple[str, ...]


@dataclass(frozen=True)
class CaseOutcome:
    """The result of a case. unstated_warnings: those of a case that says nothing about warnings."""

    decision: PolicyDecision
    mismatches: tuple[Mismatch, ...]
    unstated_warnings: tuple[str, ...]


def policies_of(suite: Suite, read: Callable[[str], Iterable[PolicyDocument]]) -> PolicySet:
    """A suite's policies, compiled. read: the documents in a file that it names. Raises DuplicatePolicy."""
    found: list[StoredPolicy] = []
    for entry in suite.policies:
        match entry:
            case PolicyFile():
                found += [StoredPolicy(document.name, document) for document in read(entry.file)]
            case UnreadablePolicy():
                found.append(StoredPolicy(entry.unreadable, None, "as the suite says"))
            case PolicyDocument():
                found.append(StoredPolicy(entry.name, entry))
    names = [policy.name for policy in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DuplicatePolicy(f"there are two policies with the name {twice[0]!r}")
    return PolicySet(found)


def run(suite: Suite, policies: PolicySet, case: Case) -> CaseOutcome:
    """The decision on a case, and where it is not what was expected."""
    now = case.now or suite.now
    known = _merged(suite.facts, case.facts)
    plan = _plan(_merged(suite.plan, case.plan), known, now)
    matching = policies.matching(plan, now)
    needs = facts_needed(plan, matching, capped=known.capacity is not None)
    decision = evaluate(plan, matching, _facts(known, needs, now), now)
    unstated = decision.warnings if case.expect.warnings is None else ()
    return CaseOutcome(decision, tuple(_mismatches(case.expect, plan, decision)), unstated)


def _merged(base: Part, over: Part) -> Part:
    fields = _patched(base.model_dump(exclude_unset=True), over.model_dump(exclude_unset=True))
    return type(base).model_validate(fields)


def _patched(base: Any, over: Any) -> Any:
    """RFC 7396."""
    if not isinstance(over, dict):
        return over
    merged = dict(base) if isinstance(base, dict) else {}
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _patched(merged.get(key), value)
    return merged


def _plan(part: PlanPart, known: FactsPart, now: datetime) -> PlanView:
    name, team, namespace = part.name or "case", part.team or "default", part.namespace or "default"
    return PlanView(
        plan_id=_PLAN_ID,
        workload_id=workload_id(team, namespace, name),
        name=name,
        verb=part.verb or Verb.DEPLOY,
        type=part.type or WorkloadType.INFERENCE,
        team=team,
        namespace=namespace,
        cluster=part.cluster or "local",
        labels={key: value for key, value in (part.labels or {}).items() if value is not None},
        image=part.image or "nginx:1.29",
        security=part.security or Security(),
        host_paths=part.host_paths or (),
        lines=_lines(part.takes),
        held=_lines(part.holds),
        created_at=None if known.created_at is None else _moment(known.created_at, now),
        queue=part.queue or False,
        tolerations=part.tolerations or (),
        node_selector=part.node_selector or (),
        approval=_approval(known.approval, now),
    )


def _approval(part: SuiteApproval | None, now: datetime) -> Approval | None:
    return None if part is None else Approval(_moment(part.requested_at, now), part.granted_by or "")


def _lines(holding: Holding | None) -> dict[str, Amounts]:
    if holding is None:
        return {}
    parts: dict[str, Sums | None] = {ANY_SKU: holding, **(holding.by_sku or {})}
    lines = {sku: _amounts(sums) for sku, sums in parts.items() if sums is not None}
    return {sku: amounts for sku, amounts in lines.items() if amounts != Amounts()}


def _amounts(sums: Sums) -> Amounts:
    return Amounts(sums.replicas or 0, sums.cpu or 0, sums.memory or 0, sums.gpus or 0, sums.usd_per_hour or Decimal(0))


def _facts(known: FactsPart, needs: FactsNeeded, now: datetime) -> Facts:
    usage, actions, service = known.usage or {}, known.actions or {}, known.service or {}
    return Facts(
        usage={s: _usage(found) for s in needs.counted if (found := usage.get(s.kind)) is not None},
        actions={q: _times(times, q, now) for q in needs.actions if (times := actions.get(q.scope.kind)) is not None},
        service={w: _level(level, now) for w in needs.windows if (level := service.get(w)) is not None},
        priced_on=known.prices.priced_on if known.prices else None,
        capacity=None if known.capacity is None else {s: n for s, n in known.capacity.items() if n is not None},
    )


def _usage(usage: Usage) -> ScopeUsage:
    return ScopeUsage(_lines(usage), usage.month_to_date_usd or Decimal(0))


def _times(actions: Sequence[AnyAction], query: ActionQuery, now: datetime) -> tuple[datetime, ...]:
    taken = [action if isinstance(action, Action) else Action(at=action) for action in actions]
    times = (_moment(a.at, now) for a in taken if not query.verbs or a.verb is None or a.verb in query.verbs)
    within = sorted(time for time in times if now - query.window < time <= now)
    return tuple(within[: max(0, len(within) - query.skip)])


def _level(service: SuiteService, now: datetime) -> ServiceLevel:
    return ServiceLevel(
        uptime=service.uptime,
        requests=service.requests or 0.0,
        errors=service.errors or 0.0,
        latency_seconds={p: s for p, s in (service.latency_seconds or {}).items() if s is not None},
        newest=_moment(service.newest, now),
    )


def _moment(when: datetime | timedelta, now: datetime) -> datetime:
    return now - when if isinstance(when, timedelta) else when


def _mismatches(expect: Expectation, plan: PlanView, decision: PolicyDecision) -> Iterable[Mismatch]:
    said = "approved" if decision.approved else "denied"
    if expect.decision != said:
        yield Mismatch("decision", (expect.decision,), (said, *map(_shown, decision.violations)))
    for part, wanted, found in (
        ("violations", expect.violations, decision.violations),
        ("dry_run", expect.dry_run, decision.dry_run),
    ):
        if wanted is not None and not _pair_off(wanted, found):
            yield Mismatch(part, tuple(map(_wanted, wanted)), tuple(map(_shown, found)))
    if expect.warnings is not None and not _all_told(expect.warnings, decision.warnings):
        yield Mismatch("warnings", expect.warnings, decision.warnings)
    if expect.determining is not None and expect.determining != decision.determining:
        yield Mismatch("determining", expect.determining, decision.determining)
    if expect.waits is not None and expect.waits is not decision.waits:
        yield Mismatch("waits", (str(expect.waits).lower(),), (str(decision.waits).lower(),))
    awaits = decision.approve_by(queue=plan.queue) is not None
    if expect.awaits_approval is not None and expect.awaits_approval is not awaits:
        yield Mismatch("awaits_approval", (str(expect.awaits_approval).lower(),), (str(awaits).lower(),))


def _pair_off(wanted: Sequence[ExpectedFinding], found: Sequence[Finding]) -> bool:
    """Whether each of them goes with another one."""
    if not wanted:
        return not found
    first, rest = wanted[0], wanted[1:]
    return any(_fits(first, f) and _pair_off(rest, [*found[:i], *found[i + 1 :]]) for i, f in enumerate(found))


def _fits(wanted: ExpectedFinding, finding: Finding) -> bool:
    return all(
        value is None or (value in finding.message if name == "message" else _same(value, getattr(finding, name)))
        for name, value in wanted
    )


def _same(wanted: object, found: object) -> bool:
    """40 and 40.000000 are the same amount of money."""
    if wanted == found:
        return True
    try:
        return Decimal(str(wanted)) == Decimal(str(found))
    except InvalidOperation:
        return False


def _all_told(wanted: Sequence[str], found: Sequence[str]) -> bool:
    return all(any(part in warning for warning in found) for part in wanted) and all(
        any(part in warning for part in wanted) for warning in found
    )


def _wanted(finding: ExpectedFinding) -> str:
    return ", ".join(f"{name} {value}" for name, value in finding if value is not None) or "any"


def _shown(finding: Finding) -> str:
    values = [(name, getattr(finding, name)) for name in ExpectedFinding.model_fields]
    return ", ".join(f"{name} {value}" for name, value in values if value)
