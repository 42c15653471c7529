"""Passwords as argon2id hashes (RFC 9106). A hash takes 64 MiB and a core for some 50 ms, so few are made at once."""

import os
import secrets
import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH = 12
MAX_BYTES = 1024
_GENERATED_BYTES = 18


class Passwords:
    """Hashes and checks passwords, at most as many at once as there are cores. Thread-safe."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._cores = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._nobody: str | None = None

    def hash(self, password: str) -> str:
        """The hash to store, with its salt and its parameters."""
        with self._cores:
            return self._hasher.hash(password)

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether a password is the stored one. For no stored one it takes as long, and is False.

        Otherwise the time of an answer would tell which names exist.
        """
        with self._cores:
            if stored is None:
                if self._nobody is None:
                    self._nobody = self._hasher.hash(secrets.token_hex())
                self._matches(self._nobody, password)
                return False
            return self._matches(stored, password)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False


def problem_of(password: str) -> str | None:
    """Why a password may not be chosen; None for one that may."""
    if len(password) < MIN_LENGTH:
        return f"must have at least {MIN_LENGTH} characters"
    if len(password.encode(errors="surrogatepass")) > MAX_BYTES:
        return f"must have at most {MAX_BYTES} bytes"
    return None


def generated() -> str:
    """A random password of 144 bits."""
    return secrets.token_urlsafe(_GENERATED_BYTES)
