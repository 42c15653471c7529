"""Passwords as argon2id hashes (RFC 9106). A hash takes 64 MiB and a core for some 100 ms, so few are made at once."""

import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.errors import SentinelError

MIN_LENGTH = 12
MAX_BYTES = 1024
_GENERATED_BYTES = 18
_MOST_AT_ONCE = 4
_WAIT_SECONDS = 3.0


class PasswordsBusy(SentinelError):
    """Too many passwords are being checked; the caller asks again."""


class Passwords:
    """Hashes and checks passwords, a few at once; see `at_once`. Thread-safe. Every method raises PasswordsBusy."""

    def __init__(self, hasher: PasswordHasher | None = None, wait_seconds: float = _WAIT_SECONDS) -> None:
        """hasher: by default RFC 9106's parameters for little memory, with one thread for each hash."""
        self._hasher = hasher or PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)
        self._places = threading.BoundedSemaphore(at_once())
        self._wait_seconds = wait_seconds
        self._nobody: str | None = None

    def hash(self, password: str) -> str:
        """The hash to store, with its salt and its parameters."""
        with self._place():
            return self._hasher.hash(password)

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether a password is the stored one. For no stored one it takes as long, and is False.

        Otherwise the time of an answer would tell which names exist.
        """
        with self._place():
            if stored is None:
                if self._nobody is None:
                    self._nobody = self._hasher.hash(secrets.token_hex())
                self._matches(self._nobody, password)
                return False
            return self._matches(stored, password)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(timeout=self._wait_seconds):
            raise PasswordsBusy("too many passwords are being checked; try again in a moment")
        try:
            yield
        finally:
            self._places.release()

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


def at_once() -> int:
    """How many passwords are hashed at the same time: one for each processor of this process, and at most four."""
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(present, _MOST_AT_ONCE)
