"""What intake does with a submission or a withdrawal: it calls the operation, and tells of its result.

A submission that cannot be planned ends in a `workload.rejected` that names every bad field. It never fails the
caller's request, because the caller may long be gone.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from events import CATALOGUE
from events.rollout import proposal
from events.workload import BadField, WorkloadRejected, WorkloadSubmitted, WorkloadWithdrawn
from shared.errors import OperationRefused
from shared.eventing.event import Event, Outgoing
from shared.eventing.processing import bad_fields
from shared.models.actor import Actor
from shared.models.bindings import Bindings, SourceAction
from shared.models.plan import ActionPlan
from shared.models.workload import WorkloadSpec, workload_id
from shared.operations.bindings import BindingCache, check_source
from shared.operations.submit import SubmitWorkload, record_rejection, submit
from shared.operations.withdraw import WithdrawWorkload, withdraw

if TYPE_CHECKING:
    from shared.store.unit_of_work import UnitOfWork

ACCEPTS = CATALOGUE.of(WorkloadSubmitted, WorkloadWithdrawn)

MAX_ERRORS = 100
MAX_NAME = 253

M = TypeVar("M", bound=BaseModel)


class WorkloadIntake:
    """The function's handler; it keeps the bindings between events."""

    def __init__(self) -> None:
        self._bindings = BindingCache()

    def handle(self, event: Event, work: UnitOfWork) -> Sequence[Outgoing]:
        """One plan.proposed, one workload.rejected, or nothing where there is nothing to do."""
        data = event.data if isinstance(event.data, dict) else None
        try:
            if data is None:
                raise OperationRefused("", "must be a JSON object")
            plan = _carry_out(event, data, work, self._bindings.current(work))
        except OperationRefused as refused:
            return [_rejection(event, data or {}, refused, work)]
        return [] if plan is None else [proposal(plan)]


def _carry_out(event: Event, data: dict[str, JsonValue], work: UnitOfWork, bindings: Bindings) -> ActionPlan | None:
    cause, actor = f"{event.source}\n{event.id}", Actor.event_source(event.source)
    if event.type == CATALOGUE.name_of(WorkloadSubmitted):
        spec = _parsed(WorkloadSpec, data)
        check_source(bindings, event.source, SourceAction.SUBMIT, spec.team, spec.namespace)
        return submit(work, SubmitWorkload(spec, cause), actor, bindings)
    which = _parsed(WorkloadWithdrawn, data)
    check_source(bindings, event.source, SourceAction.WITHDRAW, which.team, which.namespace)
    command = WithdrawWorkload(which.team, which.namespace, which.name, cause, which.generation)
    return withdraw(work, command, actor)


def _parsed(model: type[M], data: dict[str, JsonValue]) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first, *others = bad_fields(error)
        raise OperationRefused(*first, *others) from None


def _rejection(event: Event, data: dict[str, JsonValue], refused: OperationRefused, work: UnitOfWork) -> Outgoing:
    name, team, namespace = (data.get(key, "default") for key in ("name", "team", "namespace"))
    named = all(isinstance(part, str) for part in (name, team, namespace)) and "name" in data
    identity = workload_id(str(team), str(namespace), str(name)) if named else None
    subject = str(identity or event.subject or uuid.uuid5(uuid.NAMESPACE_URL, f"{event.source}\n{event.id}"))
    record_rejection(work, subject, refused.errors, Actor.event_source(event.source))
    errors = tuple(BadField(field=field, message=message) for field, message in refused.errors[:MAX_ERRORS])
    return Outgoing(
        WorkloadRejected(workload=identity, name=str(name)[:MAX_NAME] if named else "", errors=errors), subject
    )
