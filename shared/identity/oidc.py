"""External OpenID Connect issuers: whose ID tokens count as a login.

An issuer is known by configuration alone: the `iss` of a token chooses among those, and never says where to look. Keys
come from the issuer's discovery document (OpenID Connect Discovery 1.0) over HTTPS, are remembered for some minutes,
and are asked for again when a token names another one, but not more often than once in half a minute. Each key has one
algorithm, and a symmetric key is none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt
from jwt import PyJWK

from shared.errors import SentinelError, Unauthenticated
from shared.eventing import strict_json
from shared.identity.tokens import check_times

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from shared.settings import OidcIssuer

MAX_TOKEN_BYTES: Final = 16 * 1024
MAX_SUBJECT: Final = 255
"""Characters; OpenID Connect Core 1.0, section 2."""
_DISCOVERY: Final = "/.well-known/openid-configuration"
_REMEMBERED_SECONDS: Final = 600.0
_ASKED_AGAIN_SECONDS: Final = 30.0
_ALGORITHMS: Final[Mapping[str, str]] = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
"""What a key without `alg` is used with, by its type."""
_ALLOWED: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
_REFUSED: Final = "the ID token does not count: it is expired, or not one of a configured issuer for this server"
_OPTIONS: Final[Any] = {
    "require": ["iss", "aud", "sub", "exp", "iat"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}

logger = logging.getLogger("sentinel.identity")

Fetch = Callable[[str], bytes]
"""The body at an HTTPS URL. Raises IssuerUnavailable."""


class IssuerUnavailable(SentinelError):
    """An issuer does not answer, or answers with what is not its keys; the caller asks again."""


@dataclass(frozen=True)
class ExternalUser:
    """Whom an ID token is of: `sub` at `iss`. may_be_new: whether a first login makes the user."""

    issuer: str
    subject: str
    may_be_new: bool


class ExternalIssuers:
    """Verifies ID tokens of the issuers that are configured. Thread-safe."""

    def __init__(
        self,
        issuers: Sequence[OidcIssuer],
        fetch_for: Callable[[OidcIssuer], Fetch],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """fetch_for: how to fetch the documents of an issuer. clock: seconds, which only go up."""
        self._issuers = {one.issuer: (one, _Keys(one.issuer, fetch_for(one), clock)) for one in issuers}

    def verify(self, token: str, now: datetime) -> ExternalUser:
        """Whom a token is of. Raises Unauthenticated, which holds nothing of the token, and IssuerUnavailable."""
        claims = self.claims(token, now)
        issuer, _ = self._issuers[claims["iss"]]
        return ExternalUser(issuer.issuer, claims["sub"], issuer.create_users)

    def claims(self, token: str, now: datetime) -> Mapping[str, Any]:
        """What a token claims, whose issuer, audience, times and subject are right. Raises as `verify` does."""
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise Unauthenticated(_REFUSED)
        try:
            said: Any = jwt.decode(token, options={"verify_signature": False})
            header = jwt.get_unverified_header(token)
            named, kid = said.get("iss"), header.get("kid", "")
            if not isinstance(named, str) or named not in self._issuers:
                raise Unauthenticated(_REFUSED)
            issuer, keys = self._issuers[named]
            key = keys.get(kid)
            if key is None:
                raise Unauthenticated(_REFUSED)
            claims: Mapping[str, Any] = jwt.decode(
                token, key, [key.algorithm_name], _OPTIONS, audience=issuer.audience, issuer=issuer.issuer
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise Unauthenticated(_REFUSED) from None
        check_times(claims, now)
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
            raise Unauthenticated(_REFUSED)
        return claims


class _Keys:
    """The keys of one issuer."""

    def __init__(self, issuer: str, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Mapping[str, PyJWK] = {}
        self._asked_at: float | None = None

    def get(self, kid: str) -> PyJWK | None:
        """A key by its id. One caller asks the issuer; the others wait for what it finds. Raises IssuerUnavailable.

        While the issuer is away, the keys that it gave last are used.
        """
        with self._lock:
            age = None if self._asked_at is None else self._clock() - self._asked_at
            if age is None or age > _REMEMBERED_SECONDS or (kid not in self._found and age > _ASKED_AGAIN_SECONDS):
                try:
                    self._ask()
                except IssuerUnavailable as error:
                    logger.warning("%s", error)
            if not self._found:
                raise IssuerUnavailable(
                    "the issuer of the ID token cannot be asked for its keys; try again in a minute"
                )
            return self._found.get(kid)

    def _ask(self) -> None:
        self._asked_at = self._clock()  # also of a failure: an issuer that hangs is not asked by every login
        try:
            discovered = strict_json.parse(self._fetch(self._issuer.rstrip("/") + _DISCOVERY))
            if not isinstance(discovered, dict) or discovered.get("issuer") != self._issuer:
                raise IssuerUnavailable(f"the discovery document of {self._issuer} is of another issuer")
            listed = strict_json.parse(self._fetch(str(discovered.get("jwks_uri"))))
            if not isinstance(listed, dict) or not isinstance(keys := listed.get("keys"), list):
                raise IssuerUnavailable(f"the keys of {self._issuer} are no JSON Web Key Set")
        except strict_json.InvalidJson as error:
            raise IssuerUnavailable(f"what {self._issuer} says is not JSON: {error}") from None
        self._found = dict(usable for key in keys if (usable := _usable(key)) is not None)


def _usable(jwk: Any) -> tuple[str, PyJWK] | None:
    """A key that verifies signatures, by its id; None for any other."""
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or not isinstance(kid := jwk.get("kid"), str):
        return None
    kind = jwk.get("kty")
    algorithm = jwk.get("alg") or (_ALGORITHMS.get(kind) if isinstance(kind, str) else None)
    if not isinstance(algorithm, str) or algorithm not in _ALLOWED or kind not in _ALGORITHMS:
        return None
    try:
        return kid, PyJWK(jwk, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
