"""What an event says, in a few words for a timeline. Pure."""

from __future__ import annotations

from pydantic import BaseModel

from events import CATALOGUE
from events.deployment import DeploymentApplied, DeploymentRemoved, WithReason
from events.plan import PlanApproved, PlanData, PlanDenied, PlanProposed
from events.telemetry import GpuFault, GpuIdle
from events.workload import WorkloadRejected, WorkloadSubmitted, WorkloadWithdrawn
from knative.local.broker.wire import Record
from shared.models.plan import Decision


def description_of(record: Record) -> str:
    """An event in a few words; "" for one that says nothing of its own. Raises ValidationError, KeyError."""
    return _description(CATALOGUE[record.attributes["type"]].data.model_validate_json(record.data or b"{}"))


def workload_name(record: Record) -> str | None:
    """The workload's name, where the data holds it. Raises ValidationError, KeyError."""
    data = CATALOGUE[record.attributes["type"]].data.model_validate_json(record.data or b"{}")
    match data:
        case WorkloadSubmitted() | WorkloadWithdrawn() | WorkloadRejected():
            return data.name
        case _:
            return None


def _description(data: BaseModel) -> str:
    match data:
        case WorkloadSubmitted():
            gpu = data.resources.gpu
            each = f", {gpu.count} {gpu.sku or 'GPU'} each" if gpu.count else ""
            return f"{data.image}, {_count(data.most_replicas, 'replica')}{each}, team {data.team}"
        case WorkloadWithdrawn():
            return "shall go"
        case WorkloadRejected():
            return "; ".join(f"{error.field}: {error.message}" for error in data.errors)
        case PlanDenied():
            return "; ".join(finding.message for finding in data.violations)
        case PlanProposed():
            price = f", {data.usd_per_hour:.2f} USD/h" if data.usd_per_hour else ""
            return f"{_decided(data.decision)}{price}, by {data.source}"
        case PlanApproved():
            return ", ".join((_decided(data.decision), *data.warnings))
        case WithReason():
            return f"{data.reason}: {data.message}"
        case DeploymentApplied() | DeploymentRemoved():
            return f"{data.kind} {data.namespace}/{data.name}, revision {data.revision}"
        case PlanData():
            return _decided(data.decision)
        case GpuFault():
            return f"{data.state}, blames the {data.blame}: {data.message}"
        case GpuIdle():
            return f"{_count(data.gpus, 'GPU')} idle, {data.usd_per_hour:.2f} USD/h"
        case _:
            return ""


def _decided(decision: Decision) -> str:
    if decision.revision is not None:
        return f"{decision.verb} to revision {decision.revision} on {decision.cluster}"
    if decision.verb.applies:
        return f"{decision.verb} {_count(decision.replicas, 'replica')} on {decision.cluster}"
    return f"{decision.verb} from {decision.cluster}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
