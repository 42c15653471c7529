"""What the routes of workloads have in common: who may see or change one, and how it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Response
from fastapi.responses import JSONResponse

from functions.api.preconditions import etag
from shared.errors import NotFound
from shared.models.identity import Permission
from shared.operations import workloads as operations
from shared.operations.authorize import require_of_team
from shared.operations.workloads import WorkloadReference

if TYPE_CHECKING:
    import uuid

    from functions.api.session import Session
    from shared.models.stored import Workload
    from shared.store.unit_of_work import UnitOfWork


def readable_workload(work: UnitOfWork, session: Session, workload_id: uuid.UUID) -> Workload:
    """Raises NotFound where there is none, or where the caller may not know of it."""
    workload = operations.get(work, WorkloadReference(str(workload_id)))
    require_on_workload(session, Permission.READ_WORKLOADS, workload)
    return workload


def require_on_workload(session: Session, permission: Permission, workload: Workload) -> None:
    """Raises NotFound for who may not read the workload, and Forbidden for who lacks the permission alone."""
    absent = NotFound(f"there is no workload {workload.id}")
    require_of_team(session.principal, Permission.READ_WORKLOADS, permission, workload.spec.team, absent)


def workload_answer(workload: Workload, status: int = 200) -> Response:
    """The workload with its spec and its ETag."""
    return JSONResponse(workload.as_json(spec=True), status, {"etag": workload_etag(workload)})


def workload_etag(workload: Workload) -> str:
    """Changes with every change of the workload."""
    return etag(workload.id, workload.updated_at)
