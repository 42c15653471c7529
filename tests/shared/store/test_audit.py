"""The audit chains: appended by many, verified, and any later change shows."""

from datetime import UTC, datetime
from functools import partial

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from shared.eventing import strict_json
from shared.store import audit
from shared.store.unit_of_work import Store
from tests.support.builders import TESTS, connection_of, in_parallel, rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def append(store: Store, *subjects: str) -> None:
    with store.begin() as work:
        for subject in subjects:
            work.audit("tested", subject, TESTS, number=1)


def problems(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return audit.verify(connection)


def tamper(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        assert connection.execute(sa.text(statement)).rowcount > 0


@pytest.fixture
def chain(store: Store) -> Store:
    """Five rows in the chain of one subject."""
    for _ in range(5):
        append(store, "w")
    return store


def test_what_was_appended_is_read_in_order_and_verifies(store: Store, owner_engine: sa.Engine) -> None:
    for number in range(3):
        with store.begin() as work:
            work.audit("counted", "w", TESTS, number=number, text="ä\n")
            work.audit("other", "x", TESTS)
    with store.begin() as work:
        found = audit.entries(connection_of(work), "w")
        assert [(e.action, e.subject, e.detail["number"], e.detail["text"]) for e in found] == [
            ("counted", "w", number, "ä\n") for number in range(3)
        ]
        assert [e.recorded_at for e in found] == sorted(e.recorded_at for e in found)
        assert found[0].detail["at"] <= found[0].recorded_at.isoformat()
    assert problems(owner_engine) == []


def test_a_detail_cannot_replace_what_the_row_is_about(store: Store, owner_engine: sa.Engine) -> None:
    with store.begin() as work:
        detail = {"action": "forged", "subject": "y", "actor": "nobody", "at": "never"}
        audit.append(connection_of(work), audit.NewEntry("real", "w", TESTS, {**detail}), NOW)
    assert problems(owner_engine) == []
    with store.begin() as work:
        [entry] = audit.entries(connection_of(work), "w")
    assert (entry.action, entry.actor, entry.detail) == ("real", str(TESTS), {"at": NOW.isoformat()})


def test_a_row_of_an_earlier_release_says_system_and_verifies(store: Store, owner_engine: sa.Engine) -> None:
    append(store, "w")
    with owner_engine.begin() as connection:
        body = strict_json.canonical({"action": "old", "subject": "w", "at": NOW.isoformat()})
        connection.execute(
            sa.text("SELECT audit_append(CAST(:shard AS smallint), 'old', 'w', :body)"),
            {"shard": audit.shard_of("w"), "body": body},
        )
    with store.begin() as work:
        assert [entry.actor for entry in audit.entries(connection_of(work), "w")] == [str(TESTS), "system"]
    assert problems(owner_engine) == []


def test_an_actor_that_was_changed_shows(chain: Store, owner_engine: sa.Engine) -> None:
    tamper(owner_engine, "UPDATE audit_log SET actor = 'user:mallory' WHERE sequence = 3")
    assert problems(owner_engine) == [f"shard {audit.shard_of('w')}: row 3 was changed"]


def test_an_empty_log_verifies(store: Store, owner_engine: sa.Engine) -> None:
    assert problems(owner_engine) == []


def test_a_transaction_that_fails_leaves_no_gap(chain: Store, owner_engine: sa.Engine) -> None:
    def fail() -> None:
        with chain.begin() as work:
            work.audit("lost", "w", TESTS)
            work.write_audits()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    append(chain, "w")
    assert problems(owner_engine) == []
    assert sorted(row["sequence"] for row in rows(owner_engine, "audit_log")) == [1, 2, 3, 4, 5, 6]


def test_appending_at_once_keeps_every_chain_whole_and_never_deadlocks(store: Store, owner_engine: sa.Engine) -> None:
    subjects = [f"w-{n}" for n in range(40)]
    jobs = [partial(append, store, *subjects[start:], *subjects[:start]) for start in range(0, 40, 5)]
    in_parallel(*jobs)
    assert problems(owner_engine) == []
    assert len(rows(owner_engine, "audit_log")) == 8 * 40


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET body = set_byte(body, 5, 0) WHERE sequence = 3",
        "UPDATE audit_log SET body = convert_to('{}', 'UTF8') WHERE sequence = 3",
        "UPDATE audit_log SET hash = set_byte(hash, 5, (get_byte(hash, 5) + 1) % 256) WHERE sequence = 3",
        "UPDATE audit_log SET previous_hash = set_byte(previous_hash, 0, 7) WHERE sequence = 3",
        "UPDATE audit_log SET action = 'forged' WHERE sequence = 3",
        "UPDATE audit_log SET subject = 'someone else' WHERE sequence = 3",
        "UPDATE audit_log SET recorded_at = recorded_at - interval '1 microsecond' WHERE sequence = 3",
        """UPDATE audit_log a SET body = b.body, hash = b.hash, recorded_at = b.recorded_at FROM audit_log b
            WHERE a.sequence IN (2, 3) AND b.sequence = 5 - a.sequence""",
    ],
    ids=["body", "emptied", "hash", "previous", "action", "subject", "moment", "swapped"],
)
def test_a_changed_row_shows(chain: Store, owner_engine: sa.Engine, statement: str) -> None:
    tamper(owner_engine, statement)
    assert f"shard {audit.shard_of('w')}: row 3 was changed" in problems(owner_engine)


@pytest.mark.parametrize("sequence", [1, 3, 4])
def test_a_deleted_row_shows(chain: Store, owner_engine: sa.Engine, sequence: int) -> None:
    tamper(owner_engine, f"DELETE FROM audit_log WHERE sequence = {sequence}")
    assert f"shard {audit.shard_of('w')}: row {sequence} is missing" in problems(owner_engine)


def test_a_row_that_was_put_in_shows(chain: Store, owner_engine: sa.Engine) -> None:
    tamper(
        owner_engine,
        """INSERT INTO audit_log (shard, sequence, action, subject, body, previous_hash, hash)
           SELECT shard, 6, action, subject, body, hash, sha256(hash || body) FROM audit_log WHERE sequence = 5""",
    )
    assert problems(owner_engine) == [f"shard {audit.shard_of('w')}: row 6 was changed"]


def test_a_body_that_is_no_json_under_a_right_hash_shows(chain: Store, owner_engine: sa.Engine) -> None:
    with owner_engine.begin() as connection:
        connection.execute(sa.text("SELECT audit_append(CAST(:shard AS smallint), 'a', 'w', '{')"), {
            "shard": audit.shard_of("w")})  # fmt: skip
    assert problems(owner_engine) == [f"shard {audit.shard_of('w')}: row 6 was changed"]


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit_log SET shard = 77 WHERE sequence = 5", "shard 77: row 5 was changed"),
        ("UPDATE audit_log SET shard = -1", "shard -1: row 1 was changed"),
        ("UPDATE audit_log SET recorded_at = 'infinity' WHERE sequence = 5", "row 5 was changed"),
        ("UPDATE audit_log SET recorded_at = '20000-01-01' WHERE sequence = 5", "row 5 was changed"),
        ("UPDATE audit_log SET team = 'ads' WHERE sequence = 5", "row 5 was changed"),
        ("UPDATE audit_log SET team = 'ads', transaction_id = 0 WHERE sequence = 5", "row 5 was changed"),
        ("UPDATE audit_log SET transaction_id = transaction_id + 1000000", "row 5 is of a transaction to come"),
        ("UPDATE audit_log SET transaction_id = -1", "row 5 is of a transaction to come"),
    ],
    ids=["shard", "whole chain", "infinity", "far year", "team", "team of earlier", "hidden", "before all"],
)
def test_a_row_that_was_hidden_shows(store: Store, owner_engine: sa.Engine, statement: str, problem: str) -> None:
    for _ in range(5):
        with store.begin() as work:
            work.audit("tested", "w", TESTS, team="search")
    tamper(owner_engine, statement)
    assert any(one.find(problem) >= 0 for one in problems(owner_engine)), problems(owner_engine)


@pytest.mark.parametrize("body", ["[]", "[" * 200_000, '{"action": "tested"}', "7"], ids=["list", "deep", "bare", "7"])
def test_a_body_under_a_right_hash_may_be_anything_and_shows(chain: Store, owner_engine: sa.Engine, body: str) -> None:
    with owner_engine.begin() as connection:
        append_as = sa.text("SELECT audit_append(CAST(:shard AS smallint), 'tested', 'w', convert_to(:body, 'UTF8'))")
        connection.execute(append_as, {"shard": audit.shard_of("w"), "body": body})
    assert problems(owner_engine) == [f"shard {audit.shard_of('w')}: row 6 was changed"]
    with chain.begin() as work:
        assert len(audit.entries(connection_of(work), "w")) == 6


def test_what_was_restored_into_another_database_verifies_once_its_order_is_reset(
    chain: Store, owner_engine: sa.Engine
) -> None:
    tamper(owner_engine, "UPDATE audit_log SET transaction_id = 0")
    append(chain, "w")
    assert problems(owner_engine) == []


def test_of_a_log_that_somebody_else_wrote_the_first_problems_are_listed(
    chain: Store, owner_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_PROBLEMS", 2)
    tamper(owner_engine, "UPDATE audit_log SET actor = 'user:mallory'")
    found = problems(owner_engine)
    assert (len(found), found[-1]) == (3, "and more: only the first are listed")


@given(st.text())
def test_a_subject_is_always_in_one_chain(subject: str) -> None:
    encodable = subject.encode(errors="ignore").decode()
    assert 0 <= audit.shard_of(encodable) < audit.SHARDS
