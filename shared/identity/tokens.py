"""Access tokens: JSON Web Tokens (RFC 7519), signed with Ed25519 (RFC 8037), as RFC 8725 wants them checked.

The algorithm belongs to the key and never comes from the token. A key is looked up by its `kid` among those that are
known; nothing in a token's header names a file, an address or a key of its own.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt
from jwt.algorithms import OKPAlgorithm

from shared.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.identity.keys import SigningKeys

ALGORITHM = "EdDSA"
AUDIENCE = "sentinel"
ACCESS_LIFE = timedelta(minutes=15)
MAX_LENGTH = 8192
_LEEWAY = timedelta(seconds=30)
_REQUIRED = ["iss", "aud", "sub", "exp", "nbf", "jti"]
_REFUSED = "the token does not count: it is expired, or not one of this server; log in again"


@dataclass(frozen=True)
class Claims:
    """What a token that counts says. token: the id of a service account's token, which may have been revoked since."""

    account: uuid.UUID
    token: uuid.UUID | None
    expires_at: datetime


class Tokens:
    """Signs and checks the tokens of one issuer. issuer: the URL that clients know this server by."""

    def __init__(self, issuer: str, keys: Callable[[], SigningKeys]) -> None:
        self._issuer = issuer
        self._keys = keys

    def sign(self, account: uuid.UUID, now: datetime, expires_at: datetime, token: uuid.UUID | None = None) -> str:
        """A token for an account. token: of a service account."""
        keys = self._keys()
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": str(account),
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int(expires_at.timestamp()),
            "jti": str(token or uuid.uuid4()),
            "use": "service" if token else "access",
        }
        kid = keys.newest
        return jwt.encode(claims, keys.keys[kid], ALGORITHM, {"kid": kid})

    def verify(self, token: str) -> Claims:
        """What a token says. Raises Unauthenticated, with the same words for whatever is wrong with it."""
        if len(token) > MAX_LENGTH or not token.isascii():
            raise Unauthenticated(_REFUSED)
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            keys = self._keys().keys
            if not isinstance(kid, str) or kid not in keys:
                raise Unauthenticated(_REFUSED)
            claims = jwt.decode(
                token,
                keys[kid].public_key(),
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                leeway=_LEEWAY,
                options={"require": _REQUIRED},
            )
            return _claims(claims)
        # A token that a caller has made fails in many ways: 1e400 with OverflowError, deep nesting with another.
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError, KeyError):
            raise Unauthenticated(_REFUSED) from None

    def public_keys(self) -> dict[str, Any]:
        """A JSON Web Key Set (RFC 7517) with which others may check tokens."""
        found = []
        for kid, key in self._keys().keys.items():
            jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
            found.append({**jwk, "kid": kid, "alg": ALGORITHM, "use": "sig"})
        return {"keys": found}


def _claims(claims: dict[str, Any]) -> Claims:
    token = uuid.UUID(claims["jti"]) if claims["use"] == "service" else None
    return Claims(uuid.UUID(claims["sub"]), token, datetime.fromtimestamp(claims["exp"], UTC))
