"""Policies: what plans are held against, and what policies would decide, now and on the plans of the past."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from events.policy import PolicyChanged
from functions.api import backtesting
from functions.api.idempotency import IDEMPOTENCY, IdempotencyKey
from functions.api.paging import Listing, ListQuery, sorts
from functions.api.preconditions import PRECONDITIONS, MayMatch, MustMatch, etag
from functions.api.problems import RequestRefused, responses
from functions.api.requests import Body
from functions.api.requests import router as new_router
from functions.api.routes.action_plans import finding_as_json, suggestion_as_json
from functions.api.session import CurrentSession, Services
from shared.eventing.event import Outgoing
from shared.models.fields import DnsLabel
from shared.models.identity import Permission
from shared.models.moments import rfc3339
from shared.models.workload import WorkloadSpec
from shared.operations import backtest_runs
from shared.operations import policies as operations
from shared.operations import simulate as simulation
from shared.operations.authorize import require
from shared.operations.backtest import BacktestCommand
from shared.policy.documents import PolicyDocument
from shared.policy.vocabulary import Window

if TYPE_CHECKING:
    from pydantic import JsonValue

    from shared.operations.policies import ChangedPolicy, HistoryEntry
    from shared.operations.simulate import Outlook, SimulatedWorkload
    from shared.policy.policy_set import StoredPolicy
    from shared.store.unit_of_work import UnitOfWork

router = new_router("policies")

_SORTS = sorts(name=(str,))


class BacktestRequest(Body):
    """Candidate policies to try on the decisions of the past.

    Candidates replace the policies of today of the same name, as if they had always been in force; with `only` they
    stand alone. limit: how many differences the report lists.
    """

    policies: Annotated[tuple[PolicyDocument, ...], Field(min_length=1, max_length=1000)]
    since: Window = timedelta(days=30)
    only: bool = False
    limit: Annotated[int, Field(ge=0, le=10_000)] = 100


@router.get("/policies", response_model=Listing, responses=responses())
def list_policies(session: CurrentSession, page: Annotated[ListQuery, _SORTS]) -> Response:
    """The policies. One that can no longer be read says why, and whether it denies."""
    with session.read() as work:
        require(session.principal, Permission.READ_POLICIES, None)
        found = operations.page(work, page.request)
    return page.answer(found, _as_json)


@router.post("/policies", status_code=201, responses=responses("conflict", *IDEMPOTENCY))
def create_policy(body: PolicyDocument, session: CurrentSession, key: IdempotencyKey) -> Response:
    """Adds a policy. What waits in the queue is decided again."""
    with session.begin() as work:
        require(session.principal, Permission.WRITE_POLICIES, None)
        if (earlier := key.earlier(work, session.principal)) is not None:
            return earlier
        actor = session.principal.actor
        _announce(work, session, operations.create(work, body, str(actor), actor))
        return key.keep(work, _answer(operations.get(work, body.name).policy, 201))


@router.post("/policies/simulate", responses=responses())
def simulate_policies(body: WorkloadSpec, session: CurrentSession) -> Response:
    """What the policies would decide on a workload now, on every cluster that could take it. Leaves no trace."""
    with session.read() as work:
        require(session.principal, Permission.READ_WORKLOADS, body.team)
        [simulated] = simulation.simulate(work, [body])
    return JSONResponse(_simulated(simulated))


@router.post("/policies/backtest", status_code=202, responses=responses("too-many-requests", *IDEMPOTENCY))
def backtest_policies(
    body: BacktestRequest, request: Request, session: CurrentSession, key: IdempotencyKey
) -> Response:
    """Replays the decisions of the past under other policies. Poll the report where `Location` says."""
    services: Services = request.app.state.services
    with session.begin() as work:
        require(session.principal, Permission.WRITE_POLICIES, None)
        if (earlier := key.earlier(work, session.principal)) is not None:
            return earlier
        backtesting.check_room()
        command = BacktestCommand(body.policies, body.since, body.only, body.limit)
        stored = backtest_runs.ask(work, uuid.uuid4(), command, session.principal.actor)
        location = {"location": f"/api/v1/backtests/{stored.id}", "retry-after": "1"}
        answer = JSONResponse(stored.as_json(), 202, location)
        key.keep(work, answer)
    backtesting.start(services.store, stored.id)
    return answer


@router.get("/policies/{policy_name}", responses=responses("not-found"))
def read_policy(policy_name: DnsLabel, session: CurrentSession) -> Response:
    """One policy: a document that can be put again."""
    with session.read() as work:
        require(session.principal, Permission.READ_POLICIES, None)
        policy = operations.get(work, policy_name).policy
    return _answer(policy)


@router.put("/policies/{policy_name}", responses=responses("not-found", *PRECONDITIONS))
def replace_policy(policy_name: DnsLabel, body: PolicyDocument, session: CurrentSession, match: MustMatch) -> Response:
    """Replaces a policy as a whole."""
    if body.name != policy_name:
        said = f"must be {policy_name}, as in the path: a policy cannot be renamed"
        raise RequestRefused("invalid", f"name: {said}", ("name", said))
    with session.begin() as work:
        require(session.principal, Permission.WRITE_POLICIES, None)
        match.check(_etag(operations.lock(work, policy_name)))
        actor = session.principal.actor
        _announce(work, session, operations.put(work, body, str(actor), actor))
        policy = operations.get(work, policy_name).policy
    return _answer(policy)


@router.post("/policies/{policy_name}/disable", responses=responses("not-found", PRECONDITIONS[0]))
def disable_policy(policy_name: DnsLabel, session: CurrentSession, match: MayMatch) -> Response:
    """Takes a policy out of force; it is kept, with its history."""
    with session.begin() as work:
        require(session.principal, Permission.WRITE_POLICIES, None)
        match.check(_etag(operations.lock(work, policy_name)))
        actor = session.principal.actor
        _announce(work, session, operations.disable(work, policy_name, str(actor), actor))
        policy = operations.get(work, policy_name).policy
    return _answer(policy)


@router.post("/policies/{policy_name}/enable", responses=responses("not-found", "conflict", PRECONDITIONS[0]))
def enable_policy(policy_name: DnsLabel, session: CurrentSession, match: MayMatch) -> Response:
    """Puts a policy into force again."""
    with session.begin() as work:
        require(session.principal, Permission.WRITE_POLICIES, None)
        match.check(_etag(operations.lock(work, policy_name)))
        actor = session.principal.actor
        _announce(work, session, operations.enable(work, policy_name, str(actor), actor))
        policy = operations.get(work, policy_name).policy
    return _answer(policy)


@router.get("/policies/{policy_name}/history", responses=responses("not-found"))
def read_policy_history(policy_name: DnsLabel, session: CurrentSession) -> Response:
    """Every version of a policy, oldest first: when, who, and what became different."""
    with session.read() as work:
        require(session.principal, Permission.READ_POLICIES, None)
        entries = operations.history(work, policy_name)
    return JSONResponse({"items": [_entry(one) for one in entries], "next": None})


def _announce(work: UnitOfWork, session: CurrentSession, changed: ChangedPolicy | None) -> None:
    if changed is not None:
        data = PolicyChanged(name=changed.name, version=changed.version, change=changed.change, author=changed.author)
        session.tell(work, Outgoing(data, f"policy/{changed.name}"))


def _answer(policy: StoredPolicy, status: int = 200) -> Response:
    headers = {"etag": _etag(policy)}
    if status == 201:
        headers["location"] = f"/api/v1/policies/{policy.name}"
    return JSONResponse(_as_json(policy), status, headers)


def _etag(policy: StoredPolicy) -> str:
    return etag(policy.id, policy.version)


def _as_json(policy: StoredPolicy) -> dict[str, JsonValue]:
    """The document; of one that cannot be read the problem, and what is stored."""
    if policy.document is None:
        return {
            "name": policy.name,
            "enabled": policy.enabled,
            "problem": policy.problem,
            "document": policy.as_json(),
        }
    return policy.as_json()


def _entry(entry: HistoryEntry) -> dict[str, JsonValue]:
    version = entry.version
    return {
        "version": version.version,
        "changedAt": rfc3339(version.changed_at),
        "author": version.author,
        "change": version.change.value,
        "differences": list(entry.differences),
        "document": version.document,
    }


def _simulated(one: SimulatedWorkload) -> dict[str, JsonValue]:
    return {
        "workload": one.spec.full_name,
        "id": str(one.spec.id),
        "unchanged": one.unchanged,
        "rejection": one.rejection or None,
        "outlooks": [_outlook(outlook) for outlook in one.outlooks],
    }


def _outlook(outlook: Outlook) -> dict[str, JsonValue]:
    decision, plan = outlook.decision, outlook.proposal.plan if outlook.proposal else None
    return {
        "cluster": outlook.cluster,
        "placed": outlook.chosen,
        "outcome": outlook.outcome.value,
        "verb": plan.decision.verb.value if plan else None,
        "generation": plan.generation if plan else None,
        "replicas": plan.amounts.replicas if plan else None,
        "gpus": plan.amounts.gpus if plan else None,
        "usdPerHour": str(plan.amounts.usd_per_hour) if plan else None,
        "violations": [finding_as_json(finding) for finding in decision.violations],
        "warnings": list(decision.warnings),
        "dryRun": [finding_as_json(finding) for finding in decision.dry_run],
        "determining": list(decision.determining),
        "couldWait": outlook.could_wait,
        "suggestions": [suggestion_as_json(suggestion) for suggestion in outlook.suggestions],
    }
