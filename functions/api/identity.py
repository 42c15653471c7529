"""What the routes of identity work with: tokens, passwords, and the password of the first admin."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request

from shared.identity.tokens import ACCESS_LIFE
from shared.models.moments import rfc3339

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from pydantic import JsonValue

    from shared.identity.oidc import ExternalIssuers
    from shared.identity.passwords import Passwords
    from shared.identity.tokens import Tokens
    from shared.operations.identity.login import LoggedIn


@dataclass(frozen=True)
class Identity:
    """What all requests share.

    first_password: a file with the password that the first admin gets, if there is none. issuers: external ones.
    """

    tokens: Tokens
    passwords: Passwords
    first_password: Path | None = None
    issuers: ExternalIssuers | None = None

    def first_admin_password(self) -> str | None:
        """The password that the first admin gets; None where no file gives one."""
        if self.first_password is not None:
            with suppress(OSError, ValueError):
                return self.first_password.read_text(encoding="utf-8").strip() or None
        return None

    def answer(self, found: LoggedIn, now: datetime) -> dict[str, JsonValue]:
        """What a login and a refresh are answered with."""
        account = found.account.id
        expires_at = min(now + ACCESS_LIFE, found.refresh_expires_at)
        return {
            "accessToken": self.tokens.sign(account, now, expires_at, login=found.family),
            "tokenType": "Bearer",
            "expiresIn": int((expires_at - now).total_seconds()),
            "refreshToken": found.refresh_token,
            "refreshExpiresAt": rfc3339(found.refresh_expires_at),
        }


def _identity(request: Request) -> Identity:
    services: Any = request.app.state.services
    found: Identity = services.identity
    return found


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


CurrentIdentity = Annotated[Identity, Depends(_identity)]
ClientAddress = Annotated[str, Depends(_address)]
"""The client's address, as uvicorn sees it: FORWARDED_ALLOW_IPS says whose X-Forwarded-For it believes."""
