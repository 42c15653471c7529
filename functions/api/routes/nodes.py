"""Nodes of clusters: their GPUs, their faults, and whether pods may be given to them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import Field

from functions.api.paging import Listing, ListQuery, sorts
from functions.api.problems import responses
from functions.api.requests import Body
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.models.fields import DnsLabel, DnsSubdomain
from shared.models.identity import Permission
from shared.models.node import Node, NodeFilter
from shared.operations import nodes as operations
from shared.operations.authorize import require

router = new_router("nodes")

_SORTS = sorts(name=(str, str))


class Exclusion(Body):
    """Why a node is excluded: for the audit log, and for whoever finds it so."""

    reason: Annotated[str, Field(max_length=500, examples=["its fans are being replaced"])] = ""


@router.get("/nodes", response_model=Listing, responses=responses())
def list_nodes(
    session: CurrentSession,
    page: Annotated[ListQuery, _SORTS],
    cluster: DnsLabel | None = None,
    name: DnsSubdomain | None = None,
    excluded: bool | None = None,
) -> Response:
    """The nodes with GPUs, by cluster and name, with their faults and what excludes them."""
    with session.read() as work:
        require(session.principal, Permission.READ_CLUSTERS, None)
        found = operations.page(work, NodeFilter(cluster, excluded, name), page.request)
    return page.answer(found, Node.as_json)


@router.get("/nodes/{cluster_name}/{node_name}", responses=responses("not-found"))
def read_node(cluster_name: DnsLabel, node_name: DnsSubdomain, session: CurrentSession) -> Response:
    """One node."""
    with session.read() as work:
        require(session.principal, Permission.READ_CLUSTERS, None)
        found = operations.get(work, cluster_name, node_name)
    return JSONResponse(found.as_json())


@router.post("/nodes/{cluster_name}/{node_name}/exclude", responses=responses("not-found"))
def exclude_node(cluster_name: DnsLabel, node_name: DnsSubdomain, body: Exclusion, session: CurrentSession) -> Response:
    """Gives a node no new pods until it is cleared. What runs there stays."""
    with session.begin() as work:
        require(session.principal, Permission.WRITE_CLUSTERS, None)
        found = operations.exclude(work, cluster_name, node_name, body.reason, session.principal.actor)
    return JSONResponse(found.as_json())


@router.post("/nodes/{cluster_name}/{node_name}/clear", responses=responses("not-found"))
def clear_node(cluster_name: DnsLabel, node_name: DnsSubdomain, session: CurrentSession) -> Response:
    """Gives a node pods again, whether an operator or a fault has excluded it. A new fault excludes it anew."""
    with session.begin() as work:
        require(session.principal, Permission.WRITE_CLUSTERS, None)
        found = operations.clear(work, cluster_name, node_name, session.principal.actor)
    return JSONResponse(found.as_json())
