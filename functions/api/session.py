"""What every route works with: a transaction, and whoever asks.

The token is resolved in the request's own transaction, so a disabled user and a changed role count at once. A
transaction commits before the answer is made; what it left in the outbox is sent right after. A request that no role
permits is for the audit log, whether the caller is told so, or that there is no such object, or gets an empty list; and
so is one of a caller whom nobody knows. See shared.operations.denials. The request's own transaction is rolled back, so
that has another.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from events import CATALOGUE
from functions.api.metrics import MetricsPage
from shared.errors import Forbidden, NotFound, Unauthenticated
from shared.eventing.event import Outgoing, WireEvent
from shared.eventing.processing import wire_event
from shared.models.actor import Actor, ActorKind
from shared.operations import denials
from shared.operations.authorize import denied
from shared.operations.bindings import BindingCache
from shared.operations.denials import Denial
from shared.operations.identity.login import network_of
from shared.settings import DEFAULT_FUNCTION_POOL

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from pydantic import JsonValue

    from functions.api.identity import Identity
    from shared.eventing.event import Queued
    from shared.eventing.publishing import PublisherAfterCommit
    from shared.models.bindings import Bindings
    from shared.models.identity import Permission, Principal
    from shared.store.unit_of_work import Store, UnitOfWork

SOURCE = "/sentinel/api"
_SCHEME = "bearer "
_LONGEST_PATH = 400

Authenticate = Callable[["UnitOfWork", str], "Principal"]
"""(open transaction, token) -> whoever the token stands for, with the roles of now. Raises Unauthenticated."""


@dataclass(frozen=True)
class Services:
    """What all requests share. publish: sends the outbox after a commit; None leaves it to the relay.

    audit_key: signs exports of the audit log, where there is one. identity: what logins need; None where nobody can.
    """

    store: Store
    authenticate: Authenticate
    publish: PublisherAfterCommit | None = None
    audit_key: Ed25519PrivateKey | None = None
    identity: Identity | None = None
    bindings: BindingCache = field(default_factory=BindingCache)
    threads: int = DEFAULT_FUNCTION_POOL
    metrics: MetricsPage = field(default_factory=MetricsPage)


class Session:
    """One request's way to the store. `principal` is known inside the transaction alone."""

    principal: Principal

    def __init__(self, request: Request) -> None:
        self.request_id: str = request.scope["request_id"]
        self._method = request.method
        self._network = network_of(request.client.host if request.client else "")
        self._path: str = request.scope["raw_path"].decode("ascii", "backslashreplace")[:_LONGEST_PATH]
        self._services: Services = request.app.state.services
        self._token = _bearer(request.headers.get("authorization", ""))
        self._queued: list[Queued] = []
        self._known = False
        self._hidden: Forbidden | None = None
        self._hidden_recorded = False
        self.cause = f"{SOURCE}\n{uuid.uuid4()}"
        """Names this request: the ids of what it leads to follow from this. The caller has no say in it."""

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        """A transaction that may write. Raises Unauthenticated, and StoreUnavailable."""
        with self._denials_recorded(), self._services.store.begin() as work:
            work.cause = {"request": self.request_id}
            self._resolve(work)
            yield work
        if self._services.publish is not None:
            self._services.publish(self._queued)
        self._queued = []

    @contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        """A transaction that sees one moment and writes nothing. Raises Unauthenticated, and StoreUnavailable."""
        with self._denials_recorded(), self._services.store.read() as work:
            self._resolve(work)
            yield work

    @contextmanager
    def anonymous(self) -> Iterator[UnitOfWork]:
        """A transaction that may write, of somebody who is not known yet. Raises StoreUnavailable."""
        with self._services.store.begin() as work:
            work.cause = {"request": self.request_id}
            yield work

    def bindings(self, work: UnitOfWork) -> Bindings:
        """Which namespaces belong to which teams."""
        return self._services.bindings.current(work)

    def tell(self, work: UnitOfWork, *events: Outgoing) -> None:
        """Announces events, if the transaction commits."""
        self.send(work, [self._wire(work, event) for event in events])

    def send(self, work: UnitOfWork, events: Sequence[WireEvent]) -> None:
        """Announces events as they are, such as those of dead letters, if the transaction commits."""
        self._queued += work.add_to_outbox(events)

    def teams(self, permission: Permission, team: str | None = None) -> frozenset[str] | None:
        """The teams whose objects a list may show; None for all. Raises Forbidden for a caller who may see none.

        team: whose objects were asked for. A caller who may not see them gets an empty list, and that is a denial too.
        """
        teams = self.principal.teams(permission)
        if teams is not None and not teams:
            raise denied(self.principal, permission, team)
        if teams is not None and team is not None and team not in teams:
            self._hidden = denied(self.principal, permission, team)
        return teams

    @contextmanager
    def _denials_recorded(self) -> Iterator[None]:
        """Records a denial, after the transaction inside has ended. Raises StoreUnavailable."""
        try:
            yield
        except (Forbidden, NotFound) as error:
            denial = error if isinstance(error, Forbidden) else error.__cause__
            if isinstance(denial, Forbidden):
                self._record(denial)
            raise
        except Unauthenticated as error:
            if not self._known:
                self._record(error)
            raise
        if self._hidden is not None and not self._hidden_recorded:  # a stream reads again and again
            self._record(self._hidden)
            self._hidden_recorded = True

    def _record(self, error: Forbidden | Unauthenticated) -> None:
        detail: dict[str, JsonValue] = {"method": self._method, "reason": str(error), "address": self._network}
        if isinstance(error, Forbidden):
            actor, caller, permission = self.principal.actor, str(self.principal.actor), error.permission
            detail["team"] = error.team
        else:
            actor, caller, permission = Actor(ActorKind.USER, ""), self._network, ""
        denial = Denial(actor, caller, permission, self._path, detail)
        with self._services.store.begin() as work:
            work.cause = {"request": self.request_id}
            denials.record(work, denial)

    def _wire(self, work: UnitOfWork, event: Outgoing) -> WireEvent:
        return wire_event(CATALOGUE, SOURCE, event, uuid.uuid4(), work.now)

    def _resolve(self, work: UnitOfWork) -> None:
        if self._token is None:
            raise Unauthenticated("send `Authorization: Bearer <token>`; POST /api/v1/auth/login gives a token")
        self.principal = self._services.authenticate(work, self._token)
        self._known = True


CurrentSession = Annotated[Session, Depends(Session)]
"""The parameter of a route that asks who is there."""


def _bearer(header: str) -> str | None:
    return header[len(_SCHEME) :].strip() or None if header[: len(_SCHEME)].lower() == _SCHEME else None
