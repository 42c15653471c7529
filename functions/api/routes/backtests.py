"""The reports of backtests; see POST /policies/backtest."""

from __future__ import annotations

import uuid

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from functions.api import backtesting
from functions.api.problems import responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession, Services
from shared.models.identity import Permission
from shared.models.stored_backtest import BacktestState
from shared.operations import backtest_runs
from shared.operations.authorize import require

router = new_router("policies")


@router.get("/backtests/{backtest_id}", responses=responses("not-found"))
def read_backtest(backtest_id: uuid.UUID, request: Request, session: CurrentSession) -> Response:
    """A backtest with its report; while its state is `running`, how many differences were found up to now."""
    with session.read() as work:
        require(session.principal, Permission.WRITE_POLICIES, None)
        found = backtest_runs.get(work, backtest_id)
    headers = {}
    if found.state is BacktestState.RUNNING:
        services: Services = request.app.state.services
        backtesting.start(services.store, found.id)
        headers = {"retry-after": "1"}
    return JSONResponse(found.as_json(), 200, headers)


@router.post("/backtests/{backtest_id}/cancel", responses=responses("not-found", "conflict"))
def cancel_backtest(backtest_id: uuid.UUID, session: CurrentSession) -> Response:
    """Ends a backtest that is running. Its report then holds what was found up to now."""
    with session.begin() as work:
        require(session.principal, Permission.WRITE_POLICIES, None)
        cancelled = backtest_runs.cancel(work, backtest_id, session.principal.actor)
    return JSONResponse(cancelled.as_json())
