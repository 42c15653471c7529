"""Kept answers: one transaction at a time has a key, and an answer is there if and only if its change is."""

from contextlib import suppress

import pytest
import sqlalchemy as sa

from shared.errors import AlreadyInProgress
from shared.models.retention import Retention
from shared.store.idempotency import KeptAnswer
from shared.store.unit_of_work import Store
from tests.support.builders import connection_of

ANSWER = KeptAnswer(b"digest", 202, {"location": "/x"}, b"{}\n")


def claim(store: Store, owner: str = "ada", *, keep: bool = False) -> KeptAnswer | None:
    with store.begin() as work:
        found = work.idempotency.claim(owner, "k")
        if keep:
            work.idempotency.keep(owner, "k", ANSWER)
    return found


def test_an_answer_is_kept_with_the_transaction_that_gave_it(store: Store) -> None:
    with suppress(ZeroDivisionError), store.begin() as work:
        work.idempotency.keep("ada", "k", ANSWER)
        raise ZeroDivisionError
    assert claim(store, keep=True) is None
    assert claim(store) == ANSWER
    assert claim(store, "bob") is None


def test_nobody_waits_for_a_key_that_is_in_use(store: Store) -> None:
    with store.begin() as first:
        first.idempotency.claim("ada", "k")
        with pytest.raises(AlreadyInProgress, match="is being carried out"):
            claim(store)


def test_a_key_that_was_used_between_its_claim_and_its_answer_is_refused(store: Store) -> None:
    with store.begin() as late:
        assert claim(store, keep=True) is None
        with pytest.raises(AlreadyInProgress):
            late.idempotency.keep("ada", "k", ANSWER)


def test_answers_are_forgotten_with_the_events_of_their_time(store: Store) -> None:
    with store.begin() as work:
        for key in ("old", "new"):
            work.idempotency.keep("ada", key, ANSWER)
        aged = "UPDATE idempotency_keys SET created_at = now() - interval '8 days' WHERE key = 'old'"
        connection_of(work).execute(sa.text(aged))
        work.forget_old(Retention(), 10)
    with store.begin() as work:
        assert work.idempotency.claim("ada", "old") is None
        assert work.idempotency.claim("ada", "new") == ANSWER
