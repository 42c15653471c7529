"""Who may call a function: brokers that show a token, as Knative Eventing has them do (Sender Identity).

A broker's dispatcher calls the subscriber of a Trigger with a token of the Trigger's own service account, in the
Trigger's namespace, when the subscriber has an audience. Any pod of the cluster can get a token with any audience for
its own service account, so the subject decides: it says which account that is, and in which namespace.

What a broker is refused with 401 goes to the dead letters at once, and is kept there. What the function of the dead
letters refuses would be lost, so it answers 503: the broker asks again for days, and somebody mends the settings.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from shared.errors import EventError, Unauthenticated
from shared.identity.oidc import ExternalIssuers, Fetch, IssuerUnavailable
from shared.settings import OidcIssuer

if TYPE_CHECKING:
    from shared.settings import CallerSettings

MAX_REMEMBERED: Final = 256
"""Tokens. A broker has one for each Trigger, and a new one every hour."""
_SCHEME: Final = "bearer "


class CallerRefused(EventError):
    """A caller that shows no token that counts; or nobody can tell now, and the caller asks again."""

    def __init__(self, message: str, status: HTTPStatus) -> None:
        super().__init__(message)
        self.status = status


class CallerCheck:
    """Checks the token of each request. One that was verified is remembered until it expires. Thread-safe."""

    def __init__(
        self,
        settings: CallerSettings,
        fetch: Fetch,
        refusal: HTTPStatus = HTTPStatus.UNAUTHORIZED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """fetch: gets documents of the issuer. refusal: the status for what does not count. clock: Unix time."""
        self._subjects = settings.subjects
        self._issuers = ExternalIssuers([OidcIssuer(settings.issuer, settings.audience)], lambda _: fetch)
        self._refusal = refusal
        self._clock = clock
        self._lock = threading.Lock()
        self._verified: dict[str, int] = {}

    def __call__(self, headers: Mapping[str, str]) -> None:
        """headers: of a request, with lower-case names. Raises CallerRefused, whose message holds no token."""
        header = headers.get("authorization", "")
        token = header[len(_SCHEME) :].strip() if header[: len(_SCHEME)].lower() == _SCHEME else ""
        if not token:
            raise self._refused("the caller shows no token: see CALLER_AUDIENCE")
        now = self._clock()
        if self._verified.get(token, 0) > now:
            return
        try:
            claims = self._issuers.claims(token, datetime.fromtimestamp(now, UTC))
        except Unauthenticated:
            raise self._refused("the caller's token is expired, or not of CALLER_ISSUER for CALLER_AUDIENCE") from None
        except IssuerUnavailable as error:
            raise CallerRefused(str(error), HTTPStatus.SERVICE_UNAVAILABLE) from None
        if not any(_fits(claims["sub"], pattern) for pattern in self._subjects):
            raise self._refused(f"the caller {claims['sub']} is none of CALLER_SUBJECTS")
        self._remember(token, claims["exp"], now)

    def _refused(self, said: str) -> CallerRefused:
        return CallerRefused(said, self._refusal)

    def _remember(self, token: str, expires_at: int, now: float) -> None:
        with self._lock:
            if len(self._verified) >= MAX_REMEMBERED:
                live = {known: until for known, until in self._verified.items() if until > now}
                self._verified = live if len(live) < MAX_REMEMBERED else {}
            self._verified[token] = expires_at


def _fits(subject: str, pattern: str) -> bool:
    """pattern: a subject, or the beginning of one before a `*`."""
    return subject.startswith(pattern[:-1]) if pattern.endswith("*") else subject == pattern
