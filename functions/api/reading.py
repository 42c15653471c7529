"""Workloads with their phase.

GET /workloads?team=&namespace=&name=&phase=&limit=    {"items": [...], "more": false}
GET /workloads/{id}                                    one workload, with its spec and the decisions on its plans
"""

import json
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus

from pydantic import JsonValue

from shared.errors import EventError, NotFound
from shared.eventing.processing import HttpAnswer, problem
from shared.models.lifecycle import Phase
from shared.operations import workloads
from shared.operations.workloads import WorkloadFilter
from shared.store.unit_of_work import Store

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
_FILTERS = ("team", "namespace", "name", "phase", "limit")


def reader(store: Store) -> Callable[[str, Mapping[str, str]], HttpAnswer]:
    """Answers (path, query parameters)."""

    def read(path: str, query: Mapping[str, str]) -> HttpAnswer:
        parts = [part for part in path.split("/") if part]
        try:
            match parts:
                case ["workloads"]:
                    return _list(store, query)
                case ["workloads", text]:
                    return _one(store, text)
        except EventError as error:
            return problem(error)
        return _refused(HTTPStatus.NOT_FOUND, "there is /workloads and /workloads/{id}")

    return read


def _list(store: Store, query: Mapping[str, str]) -> HttpAnswer:
    if unknown := sorted(set(query) - set(_FILTERS)):
        names = ", ".join(_FILTERS)
        return _refused(HTTPStatus.BAD_REQUEST, f"unknown parameter {unknown[0][:60]!r}; there are {names}")
    if any(not value.isprintable() for value in query.values()):
        return _refused(HTTPStatus.BAD_REQUEST, "parameters must not hold control characters")
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if not limit.isdecimal() or len(limit) > 9 or not 1 <= int(limit) <= MAX_LIMIT:
        return _refused(HTTPStatus.BAD_REQUEST, f"limit must be a number from 1 to {MAX_LIMIT}")
    if (phase := query.get("phase")) is not None and phase not in list(Phase):
        return _refused(HTTPStatus.BAD_REQUEST, f"phase must be one of {', '.join(Phase)}")
    wanted = WorkloadFilter(
        team=query.get("team"),
        namespace=query.get("namespace"),
        name=query.get("name"),
        phase=Phase(phase) if phase else None,
    )
    with store.begin() as work:
        page = workloads.list_workloads(work, wanted, int(limit))
    items: list[JsonValue] = [workload.as_json() for workload in page.workloads]
    return _answer(HTTPStatus.OK, {"items": items, "more": page.more})


def _one(store: Store, text: str) -> HttpAnswer:
    try:
        workload_id = uuid.UUID(text)
    except ValueError:
        return _refused(HTTPStatus.BAD_REQUEST, f"{text[:60]!r} is not a workload's id; find it with /workloads?name=")
    try:
        with store.begin() as work:
            found = workloads.get_with_decisions(work, workload_id)
    except NotFound as error:
        return _refused(HTTPStatus.NOT_FOUND, str(error))
    decisions: list[JsonValue] = [
        {
            "plan": str(one.plan_id),
            "approved": one.approved,
            "violations": [dict(violation) for violation in one.violations],
            "warnings": [*one.warnings],
        }
        for one in found.decisions
    ]
    return _answer(HTTPStatus.OK, {**found.workload.as_json(spec=True), "decisions": decisions})


def _answer(status: HTTPStatus, document: dict[str, JsonValue]) -> HttpAnswer:
    return HttpAnswer(status, {"content-type": "application/json"}, json.dumps(document).encode(), "read")


def _refused(status: HTTPStatus, reason: str) -> HttpAnswer:
    return _answer(status, {"error": reason})
