"""Access tokens: JWTs (RFC 9068) that the API signs and verifies.

A token says which account it is of, and which login it comes from; what the account may do is read from the database
with every request. PyJWT checks signature, issuer and audience. The times are checked here: against PostgreSQL's clock,
and as whole numbers alone, where PyJWT takes text as well and fails on infinity.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import jwt

from shared.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.identity.keys import KeySet

AUDIENCE: Final = "sentinel"
ACCESS_LIFE: Final = timedelta(minutes=15)
MAX_TOKEN_BYTES: Final = 4096
_REMEMBERED: Final = 1024
_TYPE: Final = "at+jwt"
_HEADERS: Final = {"alg", "kid", "typ"}
"""No other header is looked at, so a token that has one (jku, jwk, x5u, crit) means something else and is refused."""
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_CLOCKS_DIFFER: Final = timedelta(seconds=30)
"""By how much the clock of a database may be ahead of the one that takes over from it."""
_OPTIONS: Final[Any] = {
    "require": ["iss", "aud", "sub", "jti", "exp", "nbf", "iat"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}
_REFUSED: Final = "the token does not count; log in again"


@dataclass(frozen=True)
class Claims:
    """What a verified token says. login: the family of the login that it comes from; token: the id of a service
    account's token. Either may have been revoked since.
    """

    account: uuid.UUID
    login: uuid.UUID | None
    token: uuid.UUID | None
    expires_at: datetime


class Tokens:
    """Signs and verifies the tokens of one issuer. issuer: what they name as `iss`, the same for all replicas."""

    def __init__(self, issuer: str, keys: Callable[[], KeySet]) -> None:
        self._issuer = issuer
        self._keys = keys
        self._signed = lru_cache(maxsize=_REMEMBERED)(self._check_signature)

    def sign(
        self,
        account: uuid.UUID,
        now: datetime,
        expires_at: datetime,
        *,
        login: uuid.UUID | None = None,
        token: uuid.UUID | None = None,
    ) -> str:
        """A token of a login, or a service account's own; it counts until `expires_at`, rounded down to a second."""
        key = self._keys().signing
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": str(account),
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int(expires_at.timestamp()),
            "jti": str(token or uuid.uuid4()),
            **({} if login is None else {"sid": str(login)}),
        }
        return jwt.encode(claims, key.private, key.algorithm, {"kid": key.kid, "typ": _TYPE})

    def verify(self, token: str, now: datetime) -> Claims:
        """What a token says. Raises Unauthenticated, whose message holds nothing of the token."""
        if len(token) > MAX_TOKEN_BYTES or not _SHAPE.fullmatch(token):
            raise Unauthenticated(_REFUSED)
        claims = self._signed(token, self._keys())
        check_times(claims, now)
        try:
            account, jti = uuid.UUID(claims["sub"]), uuid.UUID(claims["jti"])
            login = uuid.UUID(claims["sid"]) if "sid" in claims else None
            expires_at = datetime.fromtimestamp(claims["exp"], UTC)
        except (ValueError, TypeError, AttributeError, OverflowError):
            raise Unauthenticated(_REFUSED) from None
        return Claims(account, login, None if login else jti, expires_at)

    def public_keys(self) -> Mapping[str, Any]:
        """The public halves of the live keys (RFC 7517), for others who verify tokens."""
        return self._keys().jwks

    def _check_signature(self, token: str, keys: KeySet) -> Mapping[str, Any]:
        """The claims of a token that one of the keys has signed, whatever its times. Remembered: it stays true."""
        try:
            header = jwt.get_unverified_header(token)
            key = keys.verifying.get(header.get("kid", ""))
            if key is None or header.get("typ") != _TYPE or not header.keys() <= _HEADERS:
                raise Unauthenticated(_REFUSED)
            found: Mapping[str, Any] = jwt.decode(
                token, key, [key.algorithm_name], _OPTIONS, audience=AUDIENCE, issuer=self._issuer
            )
        except jwt.PyJWTError:
            raise Unauthenticated(_REFUSED) from None
        return found


def check_times(claims: Mapping[str, Any], now: datetime) -> None:
    """Raises Unauthenticated for a token outside its time, and for times that are not plain whole numbers."""
    times = [claims.get(name) for name in ("exp", "nbf", "iat") if name in claims]
    if "exp" not in claims or not all(type(time) is int for time in times):
        raise Unauthenticated(_REFUSED)
    if claims["exp"] <= now.timestamp():
        raise Unauthenticated("the token has expired; refresh it, or log in again")
    if claims.get("nbf", 0) > (now + _CLOCKS_DIFFER).timestamp():
        raise Unauthenticated("the token does not count yet")
