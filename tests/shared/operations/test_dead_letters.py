"""Dead letters: stored, listed, and redriven with an audit row that names the actor."""

import uuid
from dataclasses import replace

import pytest

from shared.errors import MalformedEvent, NotFound
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
        return dead_letters.list_letters(work, 100).letters


def test_a_letter_is_audited_under_its_subject_or_its_source(store: Store) -> None:
    kept(store, LETTER, replace(LETTER, event_id="2", subject=None), replace(LETTER, event_id="3", subject="x" * 900))
    with store.begin() as work:
        [by_subject], [by_source] = work.audit_entries("w"), work.audit_entries("/s")
        third = dead_letters.list_letters(work, 100).letters[-1]
    assert (by_subject.action, by_subject.actor, by_subject.detail["reason"]) == (
        "event.dead_lettered",
        str(TESTS),
        "no",
    )
    assert by_source.detail["id"] == "2"
    assert third.subject == "x" * 900, "a subject that no index could hold is stored whole"


def test_all_open_letters_are_redriven_but_malformed_ones(store: Store) -> None:
    first, second, bad = kept(
        store, LETTER, replace(LETTER, destination="http://g"), replace(LETTER, event_id="2", body=b"{")
    )
    with store.begin() as work:
        redriven = dead_letters.redrive(work, None, decode, ADA)
    assert [one.id for one in redriven.letters] == [first.id, second.id]
    assert [(one.id, why) for one, why in redriven.malformed] == [(bad.id, "bad JSON")]
    assert not redriven.more
    with store.begin() as work:
        assert [one.id for one in dead_letters.list_letters(work, 100).letters] == [bad.id]
        assert len(dead_letters.list_letters(work, 100, include_redriven=True).letters) == 3
        rows = [row for row in work.audit_entries("w") if row.action == "event.redriven"]
    assert [(row.actor, row.detail["destination"]) for row in rows] == [
        ("operator:ada", "http://f"),
        ("operator:ada", "http://g"),
    ]


def test_one_letter_is_redriven_by_its_id(store: Store) -> None:
    first, second = kept(store, LETTER, replace(LETTER, event_id="2"))
    with store.begin() as work:
        assert [one.id for one in dead_letters.redrive(work, second.id, decode, ADA).letters] == [second.id]
        with pytest.raises(NotFound, match="there is no dead letter"):
            dead_letters.redrive(work, uuid.uuid4(), decode, ADA)
        assert [one.id for one in dead_letters.list_letters(work, 100).letters] == [first.id]


def test_a_page_says_whether_there_are_more(store: Store) -> None:
    first, _ = kept(store, LETTER, replace(LETTER, event_id="2"))
    with store.begin() as work:
        page = dead_letters.list_letters(work, 1)
        assert ([one.id for one in page.letters], page.more) == ([first.id], True)
        assert not dead_letters.list_letters(work, 2).more
