"""How policy decisions are shown: those of a simulation, and their findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import typer
from pydantic import JsonValue

from functions.cli.views.printing import Cell, Style, moment, print_table
from shared.models.workload import WorkloadSpec
from shared.operations.simulate import Outlook, SimulatedWorkload, SimulationOutcome
from shared.policy.decision import Finding

_HEADER = ("WORKLOAD", "CLUSTER", "PLACED", "OUTCOME", "VERB", "REPLICAS", "GPUS", "USD/H", "POLICIES")
_DETAIL = ("WORKLOAD", "CLUSTER", "WHAT", "POLICY", "RULE", "LIMIT", "OBSERVED", "MESSAGE")
_STYLES = {
    SimulationOutcome.APPROVED: Style.GOOD,
    SimulationOutcome.QUEUED: Style.BUSY,
    SimulationOutcome.AWAITING_APPROVAL: Style.BUSY,
}


def print_simulation(simulated: Sequence[SimulatedWorkload]) -> None:
    """The decision on every cluster, and below what the decisions rest on and what would pass."""
    rows = [(one.spec, outlook) for one in simulated for outlook in one.outlooks]
    if not rows:
        return
    print_table(_HEADER, [_cells(spec, outlook) for spec, outlook in rows])
    details = [detail for spec, outlook in rows for detail in _details(spec, outlook)]
    if details:
        typer.echo("")
        print_table(_DETAIL, details)


def _cells(spec: WorkloadSpec, outlook: Outlook) -> tuple[Cell, ...]:
    outcome = (outlook.outcome, _STYLES.get(outlook.outcome, Style.BAD))
    head = (spec.full_name, outlook.cluster, "yes" if outlook.chosen else "no", outcome)
    if outlook.proposal is None:
        return (*head, "", "", "", "", "")
    plan = outlook.proposal.plan
    return (
        *head,
        plan.decision.verb,
        str(plan.amounts.replicas),
        str(plan.amounts.gpus),
        f"{plan.amounts.usd_per_hour:.2f}",
        ",".join(outlook.decision.determining),
    )


def _details(spec: WorkloadSpec, outlook: Outlook) -> Iterator[tuple[Cell, ...]]:
    where = (spec.full_name, outlook.cluster)
    decision = outlook.decision
    for what, findings, style in (
        ("violation", decision.violations, Style.BAD),
        ("dry run", decision.dry_run, Style.PLAIN),
    ):
        for one in findings:
            yield *where, (what, style), one.policy, one.rule, one.limit, one.observed, one.message
    for warning in decision.warnings:
        yield *where, ("warning", Style.BUSY), "", "", "", "", warning
    for suggestion in _suggestions(outlook):
        yield *where, ("would pass", Style.GOOD), "", "", "", "", suggestion
    if outlook.could_wait:
        yield *where, ("could wait", Style.BUSY), "", "", "", "", 'with "queue": true it waits for room'


def _suggestions(outlook: Outlook) -> list[str]:
    return [suggestion.message for suggestion in outlook.suggestions]


def outlook_as_json(spec: WorkloadSpec, outlook: Outlook) -> dict[str, JsonValue]:
    """The decision on one cluster for programs."""
    decision, plan = outlook.decision, outlook.proposal.plan if outlook.proposal else None
    return {
        "workload": spec.full_name,
        "id": str(spec.id),
        "cluster": outlook.cluster,
        "placed": outlook.chosen,
        "outcome": outlook.outcome.value,
        "verb": plan.decision.verb.value if plan else None,
        "generation": plan.generation if plan else None,
        "replicas": plan.amounts.replicas if plan else None,
        "gpus": plan.amounts.gpus if plan else None,
        "usdPerHour": str(plan.amounts.usd_per_hour) if plan else None,
        "violations": [finding_as_json(one) for one in decision.violations],
        "warnings": list(decision.warnings),
        "dryRun": [finding_as_json(one) for one in decision.dry_run],
        "determining": list(decision.determining),
        "couldWait": outlook.could_wait,
        "suggestions": [one.as_json() for one in outlook.suggestions],
    }


def finding_as_json(finding: Finding) -> dict[str, JsonValue]:
    """A finding for programs, in the words of the plan.denied event."""
    return {
        "policy": finding.policy,
        "rule": finding.rule,
        "field": finding.field,
        "limit": finding.limit,
        "observed": finding.observed,
        "message": finding.message,
        "until": moment(finding.until),
    }
