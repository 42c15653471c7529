"""How workloads stand.

GET /workloads?team=&namespace=&name=&phase=&limit=    {"items": [...], "more": false}
GET /workloads/{id}                                    one workload, with its spec and the verdicts on its plans
"""

import json
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus

from pydantic import JsonValue

from shared.errors import EventError
from shared.eventing.processing import Answer, problem
from shared.models.lifecycle import Phase
from shared.store.unit_of_work import Store

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
_FILTERS = ("team", "namespace", "name", "phase", "limit")


def reader(store: Store) -> Callable[[str, Mapping[str, str]], Answer]:
    """Answers (path, query parameters)."""

    def read(path: str, query: Mapping[str, str]) -> Answer:
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


def _list(store: Store, query: Mapping[str, str]) -> Answer:
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
    with store.begin() as work:
        found = work.workloads.find(
            team=query.get("team"),
            namespace=query.get("namespace"),
            name=query.get("name"),
            phase=Phase(phase) if phase else None,
            limit=int(limit) + 1,
        )
    items: list[JsonValue] = [workload.as_json() for workload in found[: int(limit)]]
    return _answer(HTTPStatus.OK, {"items": items, "more": len(found) > int(limit)})


def _one(store: Store, text: str) -> Answer:
    try:
        workload_id = uuid.UUID(text)
    except ValueError:
        return _refused(HTTPStatus.BAD_REQUEST, f"{text[:60]!r} is not a workload's id; find it with /workloads?name=")
    with store.begin() as work:
        workload = work.workloads.get(workload_id)
        decisions = work.plans.decisions_on(workload_id) if workload else []
    if workload is None:
        return _refused(HTTPStatus.NOT_FOUND, f"there is no workload {workload_id}")
    told: list[JsonValue] = [
        {
            "plan": str(one.plan_id),
            "approved": one.approved,
            "violations": [dict(violation) for violation in one.violations],
            "warnings": [*one.warnings],
        }
        for one in decisions
    ]
    return _answer(HTTPStatus.OK, {**workload.as_json(spec=True), "decisions": told})


def _answer(status: HTTPStatus, document: dict[str, JsonValue]) -> Answer:
    return Answer(status, {"content-type": "application/json"}, json.dumps(document).encode(), "read")


def _refused(status: HTTPStatus, reason: str) -> Answer:
    return _answer(status, {"error": reason})
