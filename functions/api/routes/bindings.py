"""Which event sources may act for which teams, and which namespaces teams may use. Both belong to no team."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import Field

from functions.api.paging import Listing, ListQuery, sorts
from functions.api.preconditions import PRECONDITIONS, MayMatch, etag
from functions.api.problems import responses
from functions.api.requests import Body
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.models.bindings import MAX_PATTERN, MAX_PATTERNS, NamespaceBinding, SourceAction, SourceBinding
from shared.models.identity import Permission
from shared.operations import bindings
from shared.operations.authorize import require

router = new_router("bindings")

_BY_NAME = sorts(name=(str,))
_BY_TEAM = sorts(team=(str,))
_CHANGES = PRECONDITIONS[:1]

Pattern = Annotated[str, Field(max_length=MAX_PATTERN)]
Patterns = Annotated[list[Pattern], Field(max_length=MAX_PATTERNS)]


class SourceBindingBody(Body):
    """For which teams and namespaces events are taken whose `source` fits a pattern, in which `*` is any text.

    `propose`: plans from outside, as a decision service makes them.
    """

    source: Pattern = Field(examples=["https://ci.example/*"])
    teams: Patterns = Field(examples=[["search"]])
    namespaces: Patterns = Field(["*"], examples=[["*"]])
    actions: Annotated[list[SourceAction], Field(max_length=len(SourceAction))] = Field(
        [SourceAction.SUBMIT, SourceAction.WITHDRAW], examples=[["submit", "withdraw"]]
    )


class SourceBindingAnswer(SourceBindingBody):
    """A source binding."""

    name: str = Field(examples=["ci"])


class NamespaceBindingBody(Body):
    """The namespaces that a team may use, in place of the one that is named like it."""

    namespaces: Patterns = Field(examples=[["search", "search-*"]])


class NamespaceBindingAnswer(NamespaceBindingBody):
    """A namespace binding. team: may be a pattern."""

    team: str = Field(examples=["search"])


@router.get("/source-bindings", response_model=Listing, responses=responses())
def list_source_bindings(session: CurrentSession, page: Annotated[ListQuery, _BY_NAME]) -> Response:
    """Every source binding. An event may do what any of them allows."""
    with session.read() as work:
        require(session.principal, Permission.READ_IDENTITY, None)
        found = bindings.list_sources(work, page.request)
    return page.answer(found, SourceBinding.as_json)


@router.get("/source-bindings/{name}", response_model=SourceBindingAnswer, responses=responses("not-found"))
def read_source_binding(name: str, session: CurrentSession) -> Response:
    """One source binding."""
    with session.read() as work:
        require(session.principal, Permission.READ_IDENTITY, None)
        found = bindings.get_source(work, name)
    return _answer(found)


@router.put(
    "/source-bindings/{name}",
    response_model=SourceBindingAnswer,
    responses={201: {"model": SourceBindingAnswer, "description": "It is new"}, **responses(*_CHANGES)},
)
def put_source_binding(name: str, body: SourceBindingBody, session: CurrentSession, match: MayMatch) -> Response:
    """Binds event sources, or replaces the binding of that name. It counts for the next event."""
    actions = tuple(dict.fromkeys(body.actions))
    binding = SourceBinding(name, body.source, tuple(body.teams), tuple(body.namespaces), actions)
    with session.begin() as work:
        require(session.principal, Permission.WRITE_IDENTITY, None)
        known = bindings.find_source(work, name, lock=True)
        match.check(_etag(known))
        bindings.put_source(work, binding, session.principal.actor)
    return _answer(binding, 201 if known is None else 200)


@router.delete("/source-bindings/{name}", status_code=204, responses=responses("not-found", *_CHANGES))
def delete_source_binding(name: str, session: CurrentSession, match: MayMatch) -> Response:
    """Unbinds event sources. What they asked for before stays."""
    with session.begin() as work:
        require(session.principal, Permission.WRITE_IDENTITY, None)
        match.check(_etag(bindings.get_source(work, name, lock=True)))
        bindings.delete_source(work, name, session.principal.actor)
    return Response(status_code=204)


@router.get("/namespace-bindings", response_model=Listing, responses=responses())
def list_namespace_bindings(session: CurrentSession, page: Annotated[ListQuery, _BY_TEAM]) -> Response:
    """Every namespace binding. A team that none of them names may use the namespace of its name."""
    with session.read() as work:
        require(session.principal, Permission.READ_IDENTITY, None)
        found = bindings.list_namespaces(work, page.request)
    return page.answer(found, NamespaceBinding.as_json)


@router.get("/namespace-bindings/{team}", response_model=NamespaceBindingAnswer, responses=responses("not-found"))
def read_namespace_binding(team: str, session: CurrentSession) -> Response:
    """What is bound to one team, or to one pattern of teams."""
    with session.read() as work:
        require(session.principal, Permission.READ_IDENTITY, None)
        found = bindings.get_namespaces(work, team)
    return _answer(found)


@router.put(
    "/namespace-bindings/{team}",
    response_model=NamespaceBindingAnswer,
    responses={201: {"model": NamespaceBindingAnswer, "description": "It is new"}, **responses(*_CHANGES)},
)
def put_namespace_binding(team: str, body: NamespaceBindingBody, session: CurrentSession, match: MayMatch) -> Response:
    """Binds namespaces to a team. Those of Kubernetes, Knative and Sentinel are no team's, whatever is bound."""
    binding = NamespaceBinding(team, tuple(body.namespaces))
    with session.begin() as work:
        require(session.principal, Permission.WRITE_IDENTITY, None)
        known = bindings.find_namespaces(work, team, lock=True)
        match.check(_etag(known))
        bindings.put_namespaces(work, binding, session.principal.actor)
    return _answer(binding, 201 if known is None else 200)


@router.delete("/namespace-bindings/{team}", status_code=204, responses=responses("not-found", *_CHANGES))
def delete_namespace_binding(team: str, session: CurrentSession, match: MayMatch) -> Response:
    """Leaves a team the namespace of its name. What runs elsewhere stays, and can be withdrawn."""
    with session.begin() as work:
        require(session.principal, Permission.WRITE_IDENTITY, None)
        match.check(_etag(bindings.get_namespaces(work, team, lock=True)))
        bindings.delete_namespaces(work, team, session.principal.actor)
    return Response(status_code=204)


def _answer(found: SourceBinding | NamespaceBinding, status: int = 200) -> Response:
    return JSONResponse(found.as_json(), status, {"etag": _etag(found)})


def _etag(found: SourceBinding | NamespaceBinding | None) -> str:
    """An ETag of what is shown; of what is not there, one that no ETag equals."""
    return "" if found is None else etag(found.as_json())
