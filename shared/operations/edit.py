"""Create a workload, or change one that there is: as a whole, in named fields, or by restarting its pods.

Each change is a submission of the whole workload as it is then, so everything holds that holds for a submission.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import OperationRefused, WrongState
from shared.models.merge_patch import merge
from shared.models.workload import WorkloadSpec
from shared.operations.submit import SubmitWorkload, submit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.models.bindings import Bindings
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class ReplaceWorkload:
    """What a workload, which the caller has locked, should be instead. cause: as in SubmitWorkload."""

    workload: Workload
    spec: WorkloadSpec
    cause: str


@dataclass(frozen=True)
class PatchWorkload:
    """What should change in a workload, which the caller has locked: a JSON merge patch of its wire form."""

    workload: Workload
    patch: Mapping[str, JsonValue]
    cause: str


@dataclass(frozen=True)
class RestartWorkload:
    """A workload, which the caller has locked, whose pods should all be replaced. A Job runs once more."""

    workload: Workload
    cause: str


def create(work: UnitOfWork, command: SubmitWorkload, actor: Actor, bindings: Bindings) -> ActionPlan | None:
    """As `submit`, of a workload that there is not yet, or not any more. Raises WrongState for one that there is."""
    known = work.workloads.get(command.spec.id, lock=True)
    if known is not None and not known.withdrawn:
        raise WrongState(f"workload {known.spec.full_name} is there, with the id {known.id}: replace or patch it")
    return submit(work, command, actor, bindings)


def replace(work: UnitOfWork, command: ReplaceWorkload, actor: Actor, bindings: Bindings) -> ActionPlan | None:
    """As `submit`. Raises WrongState for a workload that was withdrawn."""
    spec, known = command.spec, command.workload
    if known.withdrawn:
        raise WrongState(f"workload {known.spec.full_name} was withdrawn; create it again")
    fields = ("team", "namespace", "name")
    errors = [(name, f"cannot be changed: it is {_get(known, name)}") for name in fields if _moves(spec, known, name)]
    if errors:
        raise OperationRefused(*errors[0], *errors[1:])
    return submit(work, SubmitWorkload(spec, command.cause), actor, bindings)


def patch(work: UnitOfWork, command: PatchWorkload, actor: Actor, bindings: Bindings) -> ActionPlan | None:
    """As `submit`. Raises ValidationError for what is no workload, and WrongState as `replace` does."""
    wire = command.workload.spec.model_dump(mode="json", by_alias=True, exclude={"generation"})
    spec = WorkloadSpec.model_validate(merge(wire, dict(command.patch)))
    return replace(work, ReplaceWorkload(command.workload, spec, command.cause), actor, bindings)


def restart(work: UnitOfWork, command: RestartWorkload, actor: Actor, bindings: Bindings) -> ActionPlan | None:
    """As `submit`: the newest submission is applied again, with new pods. Raises WrongState as `replace` does."""
    spec = command.workload.spec.model_copy(update={"restarted_at": work.now, "generation": None})
    return replace(work, ReplaceWorkload(command.workload, spec, command.cause), actor, bindings)


def _moves(spec: WorkloadSpec, known: Workload, name: str) -> bool:
    return bool(getattr(spec, name) != _get(known, name))


def _get(known: Workload, name: str) -> str:
    return str(getattr(known.spec, name))
