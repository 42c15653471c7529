"""Workloads: what users want to run, and how it stands."""

from __future__ import annotations

import uuid
from typing import Any

from functions.api.problems import responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.errors import NotFound
from shared.models.identity import Permission
from shared.operations import workloads
from shared.operations.authorize import require_of_team
from shared.operations.workloads import WorkloadReference

router = new_router("workloads")


@router.get("/workloads/{workload_id}", responses=responses("not-found"))
def read_workload(workload_id: uuid.UUID, session: CurrentSession) -> dict[str, Any]:
    """One workload, with its spec."""
    with session.read() as work:
        workload = workloads.get(work, WorkloadReference(str(workload_id)))
        absent = NotFound(f"there is no workload {workload_id}")
        read = Permission.READ_WORKLOADS
        require_of_team(session.principal, read, read, workload.spec.team, absent)
    return workload.as_json(spec=True)
