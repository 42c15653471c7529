"""The application: its routes, and what answers every error."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi_offline import FastAPIOffline

from functions.api import openapi, problems
from functions.api.requests import RequestFrame, StrictRoute

if TYPE_CHECKING:
    from fastapi import FastAPI

    from functions.api.session import Services

PREFIX = "/api/v1"
RESOURCES = (
    "auth",
    "workloads",
    "workload_changes",
    "action_plans",
    "policies",
    "backtests",
    "clusters",
    "nodes",
    "gpus",
    "ledger",
    "prices",
    "cost",
    "dead_letters",
    "stream",
    "users",
    "service_accounts",
    "role_bindings",
    "bindings",
    "audit_logs",
)
"""The modules of functions.api.routes whose paths begin with PREFIX, in the order of /docs."""

OUTSIDE = ("jwks", "health", "console")
"""Those with paths of their own."""


def build(services: Services) -> FastAPI:
    """The ASGI application on a store."""
    app = FastAPIOffline(
        static_url="/docs/static",
        title="Sentinel",
        version="1",
        summary="Delivers AI workloads onto Kubernetes.",
        redirect_slashes=False,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.services = services
    app.router.route_class = StrictRoute
    problems.install(app)
    app.add_middleware(RequestFrame, prefix=PREFIX)
    api = APIRouter(prefix=PREFIX, route_class=StrictRoute)
    for name in RESOURCES:
        api.include_router(_router(name))
    app.include_router(api)
    for name in OUTSIDE:
        app.include_router(_router(name))
    openapi.install(app)
    return app


def _router(name: str) -> APIRouter:
    found: APIRouter = import_module(f"functions.api.routes.{name}").router
    return found
