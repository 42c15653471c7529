"""Passwords: argon2id, a few at once, and the same work for a name that nobody has."""

import threading

import pytest
from argon2 import PasswordHasher

from shared.identity import passwords
from shared.identity.passwords import Passwords, PasswordsBusy

QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


def test_a_password_is_checked_against_its_hash() -> None:
    checker = Passwords(QUICK)
    stored = checker.hash("correct horse battery")
    assert stored.startswith("$argon2id$")
    assert "correct" not in stored
    assert checker.verify(stored, "correct horse battery")
    assert not checker.verify(stored, "correct horse batterz")
    assert not checker.verify("no hash", "correct horse battery")


def test_the_password_of_nobody_is_checked_too_and_never_right(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | bytes] = []

    def right(hasher: PasswordHasher, hashed: str | bytes, password: str | bytes) -> bool:
        asked.append(hashed)
        return True

    monkeypatch.setattr(PasswordHasher, "verify", right)
    assert not Passwords(QUICK).verify(None, "whatever")
    assert len(asked) == 1


def test_no_more_are_hashed_at_once_than_there_are_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "at_once", lambda: 1)
    entered, leave = threading.Event(), threading.Event()

    class Slow(PasswordHasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            entered.set()
            leave.wait()
            return "done"

    checker = Passwords(Slow(), wait_seconds=0.0)
    first = threading.Thread(target=checker.hash, args=("one",))
    first.start()
    entered.wait()
    with pytest.raises(PasswordsBusy):
        checker.hash("two")
    leave.set()
    first.join()
    assert checker.hash("three") == "done"


def test_the_shipped_parameters_are_argon2id_with_64_mib() -> None:
    assert Passwords().hash("correct horse battery").startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert 1 <= passwords.at_once() <= 4
