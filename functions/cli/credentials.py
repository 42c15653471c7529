"""What a command shows a server to say who asks: a token that was given, or the tokens of a login.

A login's tokens lie in one file a context, beside config.toml and readable by the user alone. They are sent to the
server that gave them and to no other, wherever the context points meanwhile. A refresh token counts once: two commands
that rotated it side by side would look like a thief, so rotation holds a lock and reads the file again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple, Protocol

from functions.cli import contexts
from functions.cli.private_files import locked, write_private


class LoginTokens(NamedTuple):
    """What a login gives. server: whose tokens these are."""

    server: str
    user: str
    access: str
    refresh: str


Rotate = Callable[[LoginTokens], LoginTokens]
"""Exchanges a refresh token at its server. Raises SentinelError."""


class Credentials(Protocol):
    """Whoever asks. remedy: what to do when the server does not take the token."""

    remedy: str

    def token(self) -> str | None:
        """The token to send; None when there is none."""
        ...

    def replaced(self, rejected: str, rotate: Rotate) -> str | None:
        """The token in place of one that the server did not take; None when there is none."""
        ...


class GivenToken:
    """A token that somebody else made and keeps, or none at all."""

    def __init__(self, token: str | None, remedy: str) -> None:
        self._token, self.remedy = token, remedy

    def token(self) -> str | None:
        return self._token

    def replaced(self, rejected: str, rotate: Rotate) -> str | None:
        return None


class Login:
    """The tokens of a login in a context."""

    def __init__(self, context: str, server: str) -> None:
        self._file = contexts.directory() / "credentials" / f"{context}.json"
        self._server = server
        self.remedy = f"log in with `sentinel --context {context} login`"

    def token(self) -> str | None:
        tokens = self.read()
        return None if tokens is None else tokens.access

    def replaced(self, rejected: str, rotate: Rotate) -> str | None:
        with locked(self._file):
            tokens = self.read()
            if tokens is None:
                return None
            if tokens.access == rejected:
                tokens = rotate(tokens)
                self._write(tokens)
            return tokens.access

    def read(self) -> LoginTokens | None:
        """The tokens for this server; None when there are none, or none that this release can read."""
        try:
            tokens = LoginTokens(**json.loads(self._file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return tokens if tokens.server == self._server else None

    def keep(self, tokens: LoginTokens) -> None:
        """Keeps the tokens of a new login."""
        with locked(self._file):
            self._write(tokens)

    def forget(self) -> None:
        """Removes the tokens from this machine."""
        with locked(self._file):
            self._file.unlink(missing_ok=True)

    def _write(self, tokens: LoginTokens) -> None:
        write_private(self._file, json.dumps(tokens._asdict()))
