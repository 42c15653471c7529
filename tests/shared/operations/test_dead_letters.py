"""Dead letters: stored, listed, and redriven with an audit row that names the actor."""

import uuid
from dataclasses import replace

import pytest

from shared.errors import MalformedEvent, NotFound, WrongState
from shared.models.actor import Actor
from shared.models.dead_letter import DeadLetter
from shared.operations import dead_letters
from shared.store.unit_of_work import Store
from tests.support.builders import TESTS

ADA = Actor.operator("ada")
LETTER = DeadLetter("http://f", "/s", "1", "t", "w", {"id": "1"}, b"{}", 422, "no")


def decode(letter: DeadLetter) -> None:
    """Takes everything but a body that is no object."""
    if letter.body != b"{}":
        raise MalformedEvent("bad JSON")


def kept(store: Store, *letters: DeadLetter) -> list[DeadLetter]:
    for letter in letters:
        with store.begin() as work:
            dead_letters.keep(work, letter, TESTS)
    with store.begin() as work:
        return work.dead_letters.find()


def test_a_letter_is_audited_under_its_subject_or_its_source(store: Store) -> None:
    kept(store, LETTER, replace(LETTER, event_id="2", subject=None), replace(LETTER, event_id="3", subject="x" * 900))
    with store.begin() as work:
        [by_subject], [by_source] = work.audit_entries("w"), work.audit_entries("/s")
        third = work.dead_letters.find()[-1]
    assert (by_subject.action, by_subject.actor, by_subject.detail["reason"]) == (
        "event.dead_lettered",
        str(TESTS),
        "no",
    )
    assert by_source.detail["id"] == "2"
    assert third.subject == "x" * 900, "a subject that no index could hold is stored whole"


def test_the_same_letter_again_is_a_change_of_the_first(store: Store) -> None:
    kept(store, LETTER, replace(LETTER, reason="still no"))
    with store.begin() as work:
        first, again = (row.detail["changes"] for row in work.audit_entries("w"))
    assert (first["before"], first["changed"]) == (None, [])
    assert {"field": "deliveries", "before": 1, "after": 2} in again["changed"]


def test_one_letter_is_redriven_by_its_id(store: Store) -> None:
    first, second = kept(store, LETTER, replace(LETTER, destination="http://g"))
    assert second.id is not None
    with store.begin() as work:
        assert dead_letters.redrive(work, second.id, decode, ADA).id == second.id
        with pytest.raises(NotFound, match="there is no dead letter"):
            dead_letters.redrive(work, uuid.uuid4(), decode, ADA)
    with store.begin() as work:
        assert [one.id for one in work.dead_letters.find()] == [first.id]
        assert len(work.dead_letters.find(include_redriven=True)) == 2
        [row] = [row for row in work.audit_entries("w") if row.action == "event.redriven"]
    assert (row.actor, row.detail["destination"]) == ("operator:ada", "http://g")
    [changed] = row.detail["changes"]["changed"]
    assert (changed["field"], changed["before"]) == ("redriven_at", None)


def test_a_letter_that_no_consumer_could_read_stays(store: Store) -> None:
    [bad] = kept(store, replace(LETTER, body=b"{"))
    assert bad.id is not None
    with pytest.raises(WrongState, match="is malformed, and would only come back: bad JSON"), store.begin() as work:
        dead_letters.redrive(work, bad.id, decode, ADA)
    with store.begin() as work:
        assert [one.id for one in work.dead_letters.find()] == [bad.id]
