"""The REST face on a loopback port, and a client that asks it as somebody with roles of a test's choice."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI

from functions.api.app import build
from shared.errors import Unauthenticated
from shared.models.actor import Actor, ActorKind
from shared.models.identity import Principal, Role, RoleBinding
from shared.store.unit_of_work import UnitOfWork

NO_SERVICES: Any = None
ADMIN = Principal(Actor(ActorKind.USER, "root"), None, (RoleBinding(Role.ADMIN),))


@dataclass(frozen=True)
class Answer:
    """What the API said. headers: lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Rest:
    """Asks the API. Tokens stand for principals here; how tokens are made is tested elsewhere."""

    port: int
    principals: dict[str, Principal] = field(default_factory=lambda: {"admin": ADMIN})

    def bind(self, name: str, role: Role, team: str | None = None) -> None:
        """Makes `name`, as a token, a user with one more role."""
        known = self.principals.get(name, Principal(Actor(ActorKind.USER, name)))
        self.principals[name] = Principal(known.actor, known.id, (*known.bindings, RoleBinding(role, team)))

    def authenticate(self, work: UnitOfWork, token: str) -> Principal:
        """See functions.api.session.Authenticate."""
        if token not in self.principals:
            raise Unauthenticated("the token does not count")
        return self.principals[token]

    def __call__(
        self, method: str, path: str, body: Any = None, *, user: str | None = "admin", **headers: str
    ) -> Answer:
        """Sends a request under /api/v1 (or a path from the root that begins with `//`). body: JSON, or bytes."""
        target = path[1:] if path.startswith("//") else f"/api/v1{path}"
        made = {name.replace("_", "-"): value for name, value in headers.items()}
        if user is not None:
            made = {"authorization": f"Bearer {user}", **made}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            made = {"content-type": "application/json", **made}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, body, made)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()


@contextmanager
def serving() -> Iterator[tuple[FastAPI, int]]:
    """The API in a thread: the application, whose services a test sets, and its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = build(NO_SERVICES)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield app, listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
