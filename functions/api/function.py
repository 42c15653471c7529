"""The function api, built from its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functions.api.app import build as build_app
from functions.api.session import Services
from shared.errors import Unauthenticated

if TYPE_CHECKING:
    from fastapi import FastAPI

    from functions.runtime import Ports
    from shared.models.identity import Principal
    from shared.store.unit_of_work import UnitOfWork


def _nobody(work: UnitOfWork, token: str) -> Principal:
    raise Unauthenticated("no token counts yet")


def build(ports: Ports) -> FastAPI:
    """The application on what its environment says."""
    return build_app(Services(ports.store, _nobody, ports.publish_after_commit()))
