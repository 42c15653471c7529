"""Clusters that workloads may be placed on. Their credentials are files that only functions read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, Field

from functions.api.idempotency import IDEMPOTENCY, IdempotencyKey
from functions.api.paging import Listing, ListQuery, sorts
from functions.api.preconditions import PRECONDITIONS, MayMatch, MustMatch, etag
from functions.api.problems import responses
from functions.api.requests import Body
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.models.cluster import Cluster, ClusterStatus
from shared.models.fields import DnsLabel, LabelKey, LabelValue
from shared.models.gpu import normalise_sku
from shared.models.identity import Permission
from shared.operations import clusters as operations
from shared.operations.authorize import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.models.actor import Actor
    from shared.models.identity import Principal
    from shared.store.unit_of_work import UnitOfWork

router = new_router("clusters")

_SORTS = sorts(name=(str,))
_Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=100, examples=[{"region": "eu"}])]
_Count = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]


def _by_sku(counts: dict[str, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for given, count in counts.items():
        sku = normalise_sku(given)
        if sku in found:
            raise ValueError(f"names {sku} twice, in different spellings")
        found[sku] = count
    return found


_Gpus = Annotated[dict[LabelValue, _Count], Field(max_length=100, examples=[{"H100": 16}]), AfterValidator(_by_sku)]


class ClusterUpdate(Body):
    """What an operator says of a cluster. gpus: its capacity by SKU; null when it is not known."""

    labels: Annotated[_Labels, Field(default_factory=dict)]
    gpus: _Gpus | None = None


class ClusterRegistration(ClusterUpdate):
    """A cluster. name: that of its kubeconfig in CLUSTERS_DIR."""

    name: Annotated[DnsLabel, Field(examples=["eu-west-1"])]


@router.get("/clusters", response_model=Listing, responses=responses())
def list_clusters(session: CurrentSession, page: Annotated[ListQuery, _SORTS]) -> Response:
    """The clusters with their capacity, what is reserved of it, and when they answered last."""
    with session.read() as work:
        require(session.principal, Permission.READ_CLUSTERS, None)
        found = operations.page(work, page.request)
    return page.answer(found, ClusterStatus.as_json)


@router.post("/clusters", status_code=201, responses=responses("conflict", *IDEMPOTENCY))
def register_cluster(body: ClusterRegistration, session: CurrentSession, key: IdempotencyKey) -> Response:
    """Registers a cluster. It may have room for plans that wait, so the queue is looked at."""
    with session.begin() as work:
        require(session.principal, Permission.WRITE_CLUSTERS, None)
        if (earlier := key.earlier(work, session.principal)) is not None:
            return earlier
        operations.create(work, Cluster(body.name, body.labels, body.gpus), session.principal.actor)
        return key.keep(work, _answer(operations.get_status(work, body.name), 201))


@router.get("/clusters/{cluster_name}", responses=responses("not-found"))
def read_cluster(cluster_name: DnsLabel, session: CurrentSession) -> Response:
    """One cluster. Its ETag stands for what an operator has said of it."""
    with session.read() as work:
        require(session.principal, Permission.READ_CLUSTERS, None)
        found = operations.get_status(work, cluster_name)
    return _answer(found)


@router.put("/clusters/{cluster_name}", responses=responses("not-found", *PRECONDITIONS))
def update_cluster(cluster_name: DnsLabel, body: ClusterUpdate, session: CurrentSession, match: MustMatch) -> Response:
    """Replaces the labels and the capacity of a cluster."""
    with session.begin() as work:
        require(session.principal, Permission.WRITE_CLUSTERS, None)
        match.check(_etag(operations.get_cluster(work, cluster_name, lock=True)))
        operations.register(work, Cluster(cluster_name, body.labels, body.gpus), session.principal.actor)
        found = operations.get_status(work, cluster_name)
    return _answer(found)


@router.post("/clusters/{cluster_name}/cordon", responses=responses("not-found", "conflict", PRECONDITIONS[0]))
def cordon_cluster(cluster_name: DnsLabel, session: CurrentSession, match: MayMatch) -> Response:
    """Places no more workloads on a cluster. What runs there stays, and can be edited, scaled and removed."""
    return _change(cluster_name, session, match, operations.cordon)


@router.post("/clusters/{cluster_name}/uncordon", responses=responses("not-found", PRECONDITIONS[0]))
def uncordon_cluster(cluster_name: DnsLabel, session: CurrentSession, match: MayMatch) -> Response:
    """Places workloads on a cluster again, also on one that was declared lost."""
    return _change(cluster_name, session, match, operations.uncordon)


@router.delete(
    "/clusters/{cluster_name}", status_code=204, responses=responses("not-found", "conflict", PRECONDITIONS[0])
)
def remove_cluster(cluster_name: DnsLabel, session: CurrentSession, match: MayMatch) -> Response:
    """Forgets a cluster that holds no workloads. Its prices stay, and its kubeconfig is yours to delete."""
    with session.begin() as work:
        require(session.principal, Permission.WRITE_CLUSTERS, None)
        match.check(_etag(operations.get_cluster(work, cluster_name)))
        operations.remove(work, cluster_name, session.principal.actor)
    return Response(status_code=204)


def _change(
    cluster_name: str, session: CurrentSession, match: MayMatch, change: Callable[[UnitOfWork, str, Actor], bool]
) -> Response:
    with session.begin() as work:
        principal: Principal = session.principal
        require(principal, Permission.WRITE_CLUSTERS, None)
        match.check(_etag(operations.get_cluster(work, cluster_name, lock=True)))
        change(work, cluster_name, principal.actor)
        found = operations.get_status(work, cluster_name)
    return _answer(found)


def _answer(found: ClusterStatus, status: int = 200) -> Response:
    headers = {"etag": _etag(found.cluster)}
    if status == 201:
        headers["location"] = f"/api/v1/clusters/{found.cluster.name}"
    return JSONResponse(found.as_json(), status, headers)


def _etag(cluster: Cluster) -> str:
    gpus = None if cluster.gpus is None else sorted(cluster.gpus.items())
    return etag(cluster.name, cluster.state, sorted(cluster.labels.items()), gpus)
