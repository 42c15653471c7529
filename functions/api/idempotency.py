"""Idempotency-Key: a request that is sent again under its key is carried out once.

    @router.post("/things", status_code=202, responses=responses(*IDEMPOTENCY))
    def create_thing(body: Thing, session: CurrentSession, key: IdempotencyKey) -> Response:
        with session.begin() as work:
            if (earlier := key.earlier(work, session.principal)) is not None:
                return earlier
            ...
            return key.keep(work, JSONResponse(...))

The answer is kept in the request's own transaction, so it is there if and only if the change is. Only what was done is
kept: a request that was refused changed nothing, and its key is free. Keys belong to the principal.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request, Response

from functions.api.problems import RequestRefused
from shared.models.identity import Principal
from shared.store.idempotency import KeptAnswer
from shared.store.unit_of_work import UnitOfWork

IDEMPOTENCY = ("conflict",)
"""The problems of a route that takes `IdempotencyKey`, beside those of every route."""

_PATTERN = r"^[\x21-\x7e]{1,255}$"
_KEPT = ("content-type", "location", "etag", "link")


@dataclass
class Idempotency:
    """What Idempotency-Key asks. key: None without. digest: of the method, the path, the query and the body."""

    key: str | None
    digest: bytes
    _owner: str = ""

    def earlier(self, work: UnitOfWork, principal: Principal) -> Response | None:
        """The answer that the same request was given before, byte for byte; None for one that is to be carried out.

        Raises RequestRefused (422) when another request had this key, and AlreadyInProgress (409) while it is carried
        out.
        """
        if self.key is None:
            return None
        self._owner = str(principal.actor)
        kept = work.idempotency.claim(self._owner, self.key)
        if kept is None:
            return None
        if kept.digest != self.digest:
            said = "was used for another request: send a new key with a new request"
            raise RequestRefused("invalid", f"Idempotency-Key {said}", ("Idempotency-Key", said))
        return Response(kept.body, kept.status, dict(kept.headers))

    def keep(self, work: UnitOfWork, answer: Response) -> Response:
        """Keeps the answer for a repeated request, if the transaction commits; returns it."""
        if self.key is not None:
            headers = {name: value for name in _KEPT if (value := answer.headers.get(name)) is not None}
            kept = KeptAnswer(self.digest, answer.status_code, headers, bytes(answer.body))
            work.idempotency.keep(self._owner, self.key, kept)
        return answer


async def _read(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            pattern=_PATTERN,
            description="A text of your own, 1 to 255 characters: the same request under the same key is carried out "
            "once, and gets the first answer again.",
        ),
    ] = None,
) -> Idempotency:
    target = "\n".join((request.method, request.url.path, request.url.query, ""))
    return Idempotency(idempotency_key, hashlib.sha256(target.encode() + await request.body()).digest())


IdempotencyKey = Annotated[Idempotency, Depends(_read)]
