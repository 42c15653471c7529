"""Logging in and out at a server, and what keeps a login going."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functions.cli.credentials import LoginTokens

if TYPE_CHECKING:
    from functions.cli.client import Client


def log_in(client: Client, server: str, user: str, password: str) -> LoginTokens:
    """Raises ServerAway and ProblemAnswer."""
    answer = client.send_unauthenticated("/auth/login", {"name": user, "password": password})
    return _tokens(server, user, answer.document)


def refresh(client: Client, tokens: LoginTokens) -> LoginTokens:
    """The next tokens of a login; those that were given do not count any more. Raises ServerAway and ProblemAnswer."""
    answer = client.send_unauthenticated("/auth/refresh", {"refreshToken": tokens.refresh})
    return _tokens(tokens.server, tokens.user, answer.document)


def log_out(client: Client, tokens: LoginTokens) -> None:
    """Ends a login at its server. Raises ServerAway and ProblemAnswer."""
    client.send_unauthenticated("/auth/logout", {"refreshToken": tokens.refresh})


def _tokens(server: str, user: str, document: Any) -> LoginTokens:
    return LoginTokens(server, user, document["accessToken"], document["refreshToken"])
